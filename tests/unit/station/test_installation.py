"""An Instrument is what its table says, and every mistake of the table is named with its key."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from daq.config import ConfigError, InstrumentTable
from daq.station.installation import driver_of, instrument_of, line_of, load_station
from drivers import catalogue
from drivers.driver import SerialLine
from drivers.links import Wires

if TYPE_CHECKING:
    from pathlib import Path


def table(**more: Any) -> InstrumentTable:
    given = {"driver": "mt-sics", "address": "tcp://127.0.0.1:8001", "serial": "B1", "period": "1 s"} | more
    return InstrumentTable.model_validate(given)


def made(**more: Any) -> Any:
    return instrument_of("balance", table(**more), Wires())


def test_instrument_is_what_its_table_says() -> None:
    one = made(prove_every="7 s")
    assert (one.name, one.expected_serial, one.prove_every) == ("balance", "B1", 7.0)
    assert (one.driver.title, one.driver.polls) == (driver_of(table()).title, driver_of(table()).polls)
    assert made(prove_every="never").prove_every == math.inf
    assert made().prove_every == 5.0
    assert made(identified=False, serial=None).expected_serial is None
    assert made(identified=False).expected_serial is None, "what is not compared is not expected"


def test_time_out_of_the_table_is_that_of_every_question() -> None:
    driver = made(timeout="3 s").driver
    assert {poll.query.timeout for poll in driver.polls} == {driver.identity.query.timeout} == {3.0}
    assert {poll.query.timeout for poll in made().driver.polls} == {1.0}


def test_plug_of_a_serial_port_is_watched(tmp_path: Path) -> None:
    port = tmp_path / "port"
    one = made(address=str(port))
    assert one.plugged() is None
    port.touch()
    assert one.plugged() is not None
    assert made().plugged() is None, "there is no plug at a TCP address"


@pytest.mark.parametrize(("line", "baud"), [("50 8N1", 50), ("4000000 8N1", 4_000_000)])
def test_speeds_that_there_are(line: str, baud: int) -> None:
    assert line_of(table(line=line)) == SerialLine(baud=baud)


@pytest.mark.parametrize("baud", [0, 49, 4_000_001])
def test_speeds_that_there_are_not(baud: int) -> None:
    with pytest.raises(ValueError, match=f"line: {baud} baud is not possible; it must be from 50 to 4000000"):
        line_of(table(line=f"{baud} 8N1"))


def test_line_is_that_of_the_driver_where_none_is_named() -> None:
    assert line_of(table()) is None
    with pytest.raises(ValueError, match='line: "fast" is no line setting'):
        line_of(table(line="fast"))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"driver": "mtsics"}, 'driver: "mtsics" is not installed; did you mean "mt-sics"?'),
        ({"driver": "zzz"}, 'driver: "zzz" is not installed; known are '),
        ({"driver": "digiquartz", "options": {"adress": 1}}, 'options: unknown adress; did you mean "address"?'),
        ({"driver": "digiquartz", "options": {"zzz": 1}}, "options: unknown zzz; this driver knows address, decimals"),
        ({"driver": "digiquartz", "options": {"address": 123}}, "options: address: 123 is not possible; it must be at"),
        ({"driver": "digiquartz", "options": {"address": "x"}}, "options: address: 'x' is not possible; write a whole"),
        ({"driver": "modbus-singles", "options": {"address": 65_535}}, "options: address: 1 singles from register"),
    ],
)
def test_wrong_driver_or_option_is_named_with_what_is_near(more: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError) as caught:
        driver_of(table(**more))
    assert str(caught.value).startswith(said)


def test_every_unknown_option_is_named() -> None:
    with pytest.raises(ValueError) as caught:
        driver_of(table(driver="digiquartz", options={"one": 1, "two": 2}))
    assert [line.partition(";")[0] for line in str(caught.value).splitlines()] == [
        "options: unknown one",
        "options: unknown two",
    ]


def test_driver_without_options_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "factory", lambda _: lambda: driver_of)
    with pytest.raises(ValueError, match="options: unknown a; this driver knows none"):
        driver_of(table(options={"a": 1}))


def test_wire_that_is_not_possible_is_a_mistake_of_the_address() -> None:
    with pytest.raises(ValueError, match=r"address: .*unit is for Modbus only"):
        made(unit=3)


GOOD = '[instruments.{0}]\ndriver = "mt-sics"\naddress = "tcp://127.0.0.1:{1}"\nserial = "{2}"\nperiod = "1 s"\n'


def said(folder: Path, *tables: str) -> list[str]:
    path = folder / "station.toml"
    path.write_text("\n".join(['station = "lab"', *tables]))
    try:
        load_station(path)
    except ConfigError as error:
        return [one.removeprefix(f"{path}: ") for one in error.problems]
    return []


@pytest.mark.parametrize(
    ("serial", "words"),
    [
        ('"B1"', ""),
        ('"N/A"', "serial: 'N/A' is no serial number"),
        ('""', "serial: '' is no serial number"),
        ('" B1"', "serial: ' B1' begins or ends with a space; write 'B1'"),
        ('"B1"\nidentified = false', "serial: identified = false says that it is not compared; leave out one of"),
    ],
)
def test_serial_number_that_can_be_compared(tmp_path: Path, serial: str, words: str) -> None:
    problems = said(tmp_path, GOOD.format("a", 1, "X").replace('"X"', serial))
    assert [one.startswith(f"[instruments.a] {words}") for one in problems] == ([True] if words else [])


def test_serial_number_that_is_missing(tmp_path: Path) -> None:
    without = GOOD.format("a", 1, "X").replace('serial = "X"\n', "")
    assert said(tmp_path, without)[0].startswith("[instruments.a] serial: missing; write the serial number")
    assert not said(tmp_path, without + "identified = false")


def test_one_serial_number_belongs_to_one_instrument_of_a_driver(tmp_path: Path) -> None:
    assert said(tmp_path, GOOD.format("a", 1, "B1"), GOOD.format("b", 2, "B1")) == [
        "[instruments.b] serial: 'B1' is the serial number of a already"
    ]
    assert not said(tmp_path, GOOD.format("a", 1, "B1"), GOOD.format("b", 2, "B1").replace("mt-sics", "scpi-dmm"))


def test_mistakes_of_all_kinds_are_found_in_one_pass(tmp_path: Path) -> None:
    found = said(
        tmp_path,
        "wrong = 1",
        GOOD.format("a", 1, "B1").replace('"1 s"', '"1 x"'),
        GOOD.format("b", 2, "N/A"),
        GOOD.format("c", 3, "B3").replace("mt-sics", "mt-sicks"),
        GOOD.format("d", 4, "B4"),
        "[instruments.e]\n",
    )
    assert {one.partition(":")[0] for one in found} == {
        "wrong",
        "[instruments.a] period",
        "[instruments.b] serial",
        "[instruments.c] driver",
        "[instruments.e] driver",
        "[instruments.e] address",
        "[instruments.e] period",
    }


def test_driver_of_a_third_party_that_fails_is_a_mistake_of_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong() -> None:
        raise IndexError("tuple index out of range")

    real = catalogue.factory
    monkeypatch.setattr(catalogue, "factory", lambda name: wrong if name == "other" else real(name))
    assert said(tmp_path, GOOD.format("a", 1, "B1").replace("mt-sics", "other"), GOOD.format("b", 2, "B2")) == [
        "[instruments.a] driver: other cannot be made with these options: IndexError: tuple index out of range"
    ]
