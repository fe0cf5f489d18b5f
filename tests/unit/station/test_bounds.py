"""What no driver can ask, and how often a serial line can be asked, is known before anything is opened."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import pytest

from daq.config import InstrumentTable
from daq.station.bounds import problems
from drivers.driver import Channel, Control, Driver, Identity, Listen, Poll, Registers, SerialLine, Setup, Text

if TYPE_CHECKING:
    from drivers.driver import Query

CHANNEL = Channel("mass", "mass", "g")


def nothing(_: bytes) -> Any:
    raise AssertionError("nothing is decoded here")


def driver(*queries: Query, channels: tuple[Channel, ...] | None = None, **more: Any) -> Driver[Any]:
    """Give a driver that asks these, each for a channel of its own."""
    polls = tuple(
        Poll(query, (Channel(f"c{number}", "mass", "g"),) if channels is None else channels, nothing)
        for number, query in enumerate(queries)
    )
    return Driver(title="a driver", polls=polls, **({"proof": "form"} | more))


def found(made: Driver[Any], address: str = "tcp://127.0.0.1:8001", line: str = "9600 8N1", **more: Any) -> list[str]:
    table = {"driver": "any", "address": address, "period": "1 s", "identified": False} | more
    return problems(InstrumentTable.model_validate(table), made, SerialLine.parse(line))


@pytest.mark.parametrize("count", [1, 2, 125])
def test_number_of_registers_that_modbus_allows(count: int) -> None:
    assert not found(driver(Registers(0, count)), unit=1)


@pytest.mark.parametrize("count", [-2, 0, 126, 140])
def test_number_of_registers_that_modbus_does_not_allow(count: int) -> None:
    (said,) = found(driver(Registers(0, count)), unit=1)
    assert said.startswith(f"options: {count} registers in one question are not possible; Modbus allows 1 to 125")


@pytest.mark.parametrize(("address", "count"), [(0, 2), (65_534, 2), (65_535, 1), (65_411, 125)])
def test_registers_that_modbus_has(address: int, count: int) -> None:
    assert not found(driver(Registers(address, count)), unit=1)


@pytest.mark.parametrize(("address", "count", "last"), [(-1, 2, 0), (65_535, 2, 65_536), (70_000, 1, 70_000)])
def test_registers_that_modbus_does_not_have(address: int, count: int, last: int) -> None:
    assert found(driver(Registers(address, count)), unit=1) == [
        f"options: there are no registers {address} to {last}; Modbus has 0 to 65535"
    ]


@pytest.mark.parametrize("seconds", [0.001, 3_600.0])
def test_time_out_that_is_possible(seconds: float) -> None:
    assert not found(driver(Text(b"SI\r\n", timeout=seconds)))


@pytest.mark.parametrize("seconds", [0.0, -1.0, 3_601.0, math.inf, math.nan])
@pytest.mark.parametrize("place", ["poll", "identity", "setup", "control"])
def test_time_out_that_is_not_possible_is_found_in_every_question(seconds: float, place: str) -> None:
    wrong = Text(b"X\r\n", timeout=seconds)
    places: dict[str, dict[str, Any]] = {
        "poll": {},
        "identity": {"identity": Identity(wrong, nothing)},
        "setup": {"setup": (Setup(wrong, nothing),)},
        "control": {"controls": (Control(wrong, nothing),)},
    }
    (said,) = found(driver(wrong if place == "poll" else Text(b"SI\r\n"), **places[place]))
    assert said.startswith(f"options: a time-out of {seconds:g} s is not possible")


def test_mistake_of_two_questions_is_said_once() -> None:
    assert len(found(driver(Text(b"A", timeout=0.0), Text(b"B", timeout=0.0)))) == 1


def test_driver_needs_channels_of_different_names() -> None:
    assert "no channel" in found(driver(Text(b"A"), channels=()))[0]
    assert "two of the same name" in found(driver(Text(b"A"), Text(b"B"), channels=(CHANNEL,)))[0]


@pytest.mark.parametrize(("settle", "good"), [(0.0, True), (0.5, True), (-0.5, False), (math.inf, False)])
def test_silence_after_a_failure(settle: float, good: bool) -> None:
    assert found(driver(Text(b"A"), settle=settle)) == (
        [] if good else [f"options: {settle:g} s without a byte is not possible; it must be at least 0 s"]
    )


@pytest.mark.parametrize("address", ["tcp://balance..lab:1", "rtu+tcp://balance..lab:1"])
def test_host_that_no_name_server_can_know(address: str) -> None:
    query = Registers(0, 2) if address.startswith("rtu") else Text(b"A")
    (problem,) = found(driver(query), address, unit=1)
    assert problem.startswith('address: "balance..lab" is no host name: each part between two dots has 1 to 63 ')


@pytest.mark.parametrize("address", ["rtu+tcp://127.0.0.1:1", "/nowhere/ttyUSB0"])
@pytest.mark.parametrize(("unit", "good"), [(0, False), (1, True), (247, True), (248, False), (255, False)])
def test_unit_on_an_rtu_line(address: str, unit: int, good: bool) -> None:
    said = found(driver(Registers(0, 2)), address, unit=unit)
    expected = f"unit: {unit} is no address of one device on an RTU line; it must be from 1 to 247"
    assert said == ([] if good else [expected])


@pytest.mark.parametrize("unit", [0, 1, 255])
def test_any_unit_behind_modbus_tcp(unit: int) -> None:
    assert not found(driver(Registers(0, 2)), "tcp://127.0.0.1:502", unit=unit)


@pytest.mark.parametrize(
    ("visa", "good"), [("@py", True), ("@ivi", True), ("/usr/lib/libvisa.so@ivi", True), ("@none", False), ("@", False)]
)
def test_visa_library(visa: str, good: bool) -> None:
    said = found(driver(Text(b"A")), "GPIB0::7::INSTR", visa=visa)
    expected = f'visa: "{visa}" is not installed; write "@py" for pyvisa-py, or "@ivi" for the library of a vendor'
    assert said == ([] if good else [expected])
    assert not found(driver(Text(b"A")), visa=visa), "of no importance on another wire"


SHORTEST = [
    # milliseconds of question and shortest answer at 9600 baud, ten bits a character
    (Text(b"SI\r\n"), 4 + 1 + 2),
    (Text(b"SI\r\n", end=b"\n"), 4 + 1 + 1),
    (Text(b"SIR\r\n", end=b""), 5),
    (Text(b"SI\r\n", end=re.compile(rb"\r\nOK")), 4 + 1),
    (Listen(end=b"\r\n"), 1 + 2),
    (Registers(0, 2), 8 + 5 + 4 + 7),
    (Registers(0, 100), 8 + 5 + 200 + 7),
]


@pytest.mark.parametrize(("query", "characters"), SHORTEST)
@pytest.mark.parametrize("times", [1, 3])
def test_period_is_as_long_as_question_and_answer_on_the_line(query: Query, characters: int, times: int) -> None:
    needed = characters * times * 10 / 9600 * 1000
    shortest = math.ceil(needed)
    made, unit = driver(*[query] * times), 1 if isinstance(query, Registers) else None
    assert not found(made, "/nowhere/ttyUSB0", period=f"{shortest} ms", unit=unit)
    (said,) = found(made, "/nowhere/ttyUSB0", period=f"{shortest - 1} ms", unit=unit)
    assert said.startswith(f"period: {shortest - 1} ms is shorter than question and answer take at 9600 8N1")
    assert f'at least {shortest} ms; to read as often as possible write "continuous"' in said
    assert not found(made, "/nowhere/ttyUSB0", period="continuous", unit=unit)
    assert not found(made, "/nowhere/ttyUSB0", "115200 8N1", period=f"{math.ceil(needed / 12)} ms", unit=unit)


def test_period_on_a_wire_without_a_speed() -> None:
    made = driver(Text(b"x" * 1_000))
    assert found(made, "/nowhere/ttyUSB0")
    assert not found(made, "tcp://127.0.0.1:1", period="1 ms")
    assert not found(made, "/dev/pts/99999", period="1 ms"), "a pseudo-terminal"


def test_period_is_not_judged_where_the_question_is_wrong() -> None:
    assert len(found(driver(Text(b"x" * 1_000, timeout=0.0)), "/nowhere/ttyUSB0")) == 1
