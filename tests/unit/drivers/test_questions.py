"""What each command set sends by its manual: questions, time-outs, factory settings of the line, and its options."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import pytest

from drivers import catalogue
from drivers.driver import Driver, Registers, Sample, SerialLine, Text


def driver(name: str, **options: Any) -> Driver[Any]:
    return catalogue.factory(name)(**options)


def ends(pattern: object, raw: bytes) -> bool:
    """Whether a many-line answer is complete with the last byte of `raw`, and not before it."""
    assert isinstance(pattern, re.Pattern)
    found = pattern.search(raw)
    return found is not None and found.end() == len(raw)


@pytest.mark.parametrize(
    ("name", "line", "port"),
    [
        ("mt-sics", SerialLine(9600, 8, "N", 1, "xonxoff"), 8001),
        ("sartorius-sbi", SerialLine(9600, 8, "O", 1, "rtscts"), 49155),
        ("scpi-dmm", SerialLine(9600, 8, "N", 2), 5025),
        ("milli-k", SerialLine(9600, 8, "N", 1), 1000),
        ("digiquartz", SerialLine(9600, 8, "N", 1), None),
        ("vaisala-ptu", SerialLine(4800, 7, "E", 1), None),
        ("vaisala-hmp", SerialLine(19200, 8, "N", 2), 502),
        ("keller-33x", SerialLine(9600, 8, "N", 1), 502),
        ("modbus-singles", SerialLine(19200, 8, "E", 1), 502),
    ],
)
def test_the_line_and_the_port_are_those_of_the_factory(name: str, line: SerialLine, port: int | None) -> None:
    assert (driver(name).serial_line, driver(name).port) == (line, port)


@pytest.mark.parametrize(
    ("name", "options", "slowest", "settle"),
    [
        ("mt-sics", {}, 1.0, 1.0),
        ("mt-sics", {"wait_for_stability": True}, 60.0, 60.0),
        ("sartorius-sbi", {}, 1.0, 1.0),
        ("sartorius-sbi", {"wait_for_stability": True}, 60.0, 60.0),
        ("scpi-dmm", {}, 10.0, 10.0),
        ("scpi-dmm", {"slowest_s": 25}, 25.0, 25.0),
        ("milli-k", {}, 5.0, 5.0),
        ("digiquartz", {}, 3.0, 3.0),
        ("vaisala-ptu", {}, 2.0, 2.0),
        ("vaisala-hmp", {}, 1.0, 1.0),
    ],
)
def test_a_value_has_the_time_that_the_manual_allows_and_so_have_late_answers(
    name: str, options: dict[str, Any], slowest: float, settle: float
) -> None:
    made = driver(name, **options)
    assert {poll.query.timeout for poll in made.polls} == {slowest}
    assert made.settle == settle


def test_questions_that_are_slower_or_faster_than_the_value_have_time_outs_of_their_own() -> None:
    def timeout(name: str) -> float:
        identity = driver(name).identity
        assert identity is not None
        return identity.query.timeout  # type: ignore[no-any-return]

    assert timeout("scpi-dmm") == 3.0, "an identification takes no integration"
    assert [one.query.timeout for one in driver("scpi-dmm").controls] == [3.0]
    assert timeout("milli-k") == 5.0
    assert timeout("vaisala-ptu") == 3.0, "18 lines at 4800 baud take one second"
    assert timeout("digiquartz") == 3.0
    assert timeout("mt-sics") == timeout("sartorius-sbi") == 1.0


@pytest.mark.parametrize(
    ("name", "end"),
    [("mt-sics", b"\r\n"), ("sartorius-sbi", b"\r\n"), ("digiquartz", b"\r\n"), ("scpi-dmm", b"\n")],
)
def test_an_answer_of_one_line_ends_with_it(name: str, end: bytes) -> None:
    made = driver(name)
    steps = [made.identity, *made.polls, *made.setup, *made.controls]
    assert [step.query.end for step in steps if step] == [end] * len(steps)


@pytest.mark.parametrize("name", ["mt-sics", "sartorius-sbi"])
def test_a_balance_weighs_in_grams_unless_another_unit_is_set(name: str) -> None:
    assert [channel.unit for channel in driver(name).channels] == ["g"]
    assert [channel.unit for channel in driver(name, unit="mg").channels] == ["mg"]
    assert {(channel.name, channel.quantity) for channel in driver(name).channels} == {("mass", "mass")}


def test_mt_sics_asks_for_the_weight_at_once_or_when_it_is_stable() -> None:
    at_once, stable = driver("mt-sics").polls[0], driver("mt-sics", wait_for_stability=True).polls[0]
    assert (at_once.query.command, at_once.stamp) == (b"SI\r\n", "middle")
    assert (stable.query.command, stable.stamp) == (b"S\r\n", "answer")


def test_sbi_has_one_question_and_the_balance_decides_when_it_prints() -> None:
    """A balance that prints at stability only has weighed when it answers, and not in the middle."""
    at_once, stable = driver("sartorius-sbi").polls[0], driver("sartorius-sbi", wait_for_stability=True).polls[0]
    assert (at_once.query.command, at_once.stamp) == (b"\x1bP\r\n", "middle")
    assert (stable.query.command, stable.stamp) == (b"\x1bP\r\n", "answer")


def test_sbi_asks_no_control_question_that_older_balances_do_not_know() -> None:
    """BP 3100 P, p. 62: x1_ and x2_ only, and what it does not know it does not answer: for ever untrusted."""
    assert driver("sartorius-sbi").controls == ()
    identity = driver("sartorius-sbi").identity
    assert identity is not None
    assert identity.query.command == b"\x1bx2_\r\n"


def test_a_digiquartz_is_asked_by_its_address() -> None:
    first, other = driver("digiquartz"), driver("digiquartz", address=7)
    for made, head in ((first, b"*0100"), (other, b"*0700")):
        assert made.identity is not None
        asked = [made.identity.query, made.setup[0].query, made.polls[0].query, made.controls[0].query, *made.quieting]
        assert [one.command for one in asked] == [head + end + b"\r\n" for end in (b"SN", b"UN", b"P3", b"VR", b"P3")]


def test_a_milli_k_is_told_all_its_settings_with_each_question() -> None:
    one, both = driver("milli-k"), driver("milli-k", channels="1,2", range_ohm=460, wires=3, root2=True)
    assert [channel.name for channel in one.channels] == ["resistance-1"]
    assert [channel.name for channel in both.channels] == ["resistance-1", "resistance-2"]
    assert [poll.query.command for poll in both.polls] == [
        f"SENSE:CHANNEL {channel};SENSE:FUNCTION RESISTANCE;SENSE:RESISTANCE:RANGE 460;"
        "SENSE:RESISTANCE:WIRES 3;SENSE:CURRENT ROOT2;READ?\r".encode()
        for channel in (1, 2)
    ]
    assert {poll.query.end for poll in both.polls} == {b"\r"}
    (remote,) = one.setup
    assert (remote.query.command, remote.query.end, remote.proves) == (b"MILLIK:REMOTE\r", b"", False)


def test_the_list_of_a_milli_k_ends_with_its_own_line() -> None:
    identity = driver("milli-k").identity
    assert identity is not None
    box, own = b"Isothermal Technology,millisKanner,21-P2593,2.01\r", b"Isothermal Technology,milliK,21-P2460,4.0.0\r"
    assert ends(identity.query.end, box + own)
    assert ends(identity.query.end, own)
    assert not ends(identity.query.end, box)
    assert not ends(identity.query.end, own[:-1])


FORMS = {
    "ptu300": b'FORM "P=" 8.3 P " " U4 "T=" 7.3 T " " U3 "RH=" 6.2 RH " " U4 STAT ERR CS2 #r #n\r',
    "ptb330": b'FORM "P=" 8.3 P " " U4 CS2 #r #n\r',
}


@pytest.mark.parametrize(
    ("model", "last", "channels"),
    [("ptu300", b"2", ["pressure", "temperature", "humidity"]), ("ptb330", b"4", ["pressure"])],
)
def test_a_vaisala_is_given_its_format(model: str, last: bytes, channels: list[str]) -> None:
    made = driver("vaisala-ptu", model=model)
    assert [channel.name for channel in made.channels] == channels
    echo, form = made.setup
    assert (echo.query.command, form.query.command) == (b"echo off\r", FORMS[model])
    assert not echo.proves
    assert not form.proves, "it sets something: it is not repeated with each proof"
    assert ends(echo.query.end, b"Echo           : OFF\r\n")
    assert ends(form.query.end, b"OK\r\n>")
    assert ends(form.query.end, b"OK\r\n")
    assert ends(form.query.end, b'Output format  : "P=" 8.3 P " " U4 CS2 \\r \\n\r\n')
    assert made.identity is not None
    lines = [b"Module %d       : BARO-1\r\n" % number for number in range(1, 5)]
    assert not ends(made.identity.query.end, b"".join(lines[: int(last) - 1]))
    assert ends(made.identity.query.end, b"".join(lines[: int(last)]))
    assert ends(made.identity.query.end, b"".join(lines[: int(last)]) + b">")


def test_a_vaisala_is_a_ptu300_and_its_run_mode_is_left_alone_unless_the_config_says_otherwise() -> None:
    assert driver("vaisala-ptu").polls[0].query == Text(b"SEND\r", timeout=2.0)
    assert len(driver("vaisala-ptu").channels) == 3
    assert driver("vaisala-ptu").quieting == ()


def test_a_keller_with_older_firmware_is_asked_for_two_registers_at_a_time() -> None:
    """Protocol Series 30/40, 4.5: at most 4 in one question from firmware 5.20-10.XX on, 2 before."""
    assert max(poll.query.count for poll in driver("keller-33x").polls) <= 4
    pressure, temperature = driver("keller-33x", registers=2).polls
    assert (pressure.query, temperature.query) == (Registers(0x0002, 2), Registers(0x0008, 2))
    assert pressure.decode(bytes.fromhex("3F75E3D2")) == (Sample(Decimal("0.9605075"), "bar"),)
    assert temperature.decode(bytes.fromhex("41B61C20")) == (Sample(Decimal("22.763733"), "Cel"),)
    assert driver("keller-33x", registers=2).channels == driver("keller-33x").channels


def test_registers_by_the_tables_of_the_manuals() -> None:
    assert [poll.query for poll in driver("keller-33x").polls] == [Registers(0x0100, 4)]
    assert driver("vaisala-hmp").polls[0].query == Registers(0x0000, 4)
    words, online, states = Registers(0x1F01, 2), Registers(0x0201, 1), Registers(0x0207, 2)
    steps = {status: driver("vaisala-hmp", status=status).setup for status in ("hmp", "hmt330", "none")}
    assert driver("vaisala-hmp").setup == steps["hmp"]
    assert {status: [step.query for step in setup] for status, setup in steps.items()} == {
        "hmp": [words, online, states],
        "hmt330": [words, online],
        "none": [words],
    }
    assert all(step.proves for step in steps["hmp"])
    assert [step.query for step in driver("vaisala-hmp", prove_words=False).setup] == [online, states]
    assert driver("vaisala-hmp", prove_words=False, status="none").setup == ()
    assert driver("modbus-singles").polls[0].query == Registers(0, 2, "holding")
    made = driver("modbus-singles", address=256, count=3, table="input", quantity="pressure", unit="Pa")
    assert made.polls[0].query == Registers(256, 6, "input")
    assert [(one.name, one.quantity, one.unit) for one in made.channels] == [
        (f"v{number}", "pressure", "Pa") for number in (1, 2, 3)
    ]
    (value,) = driver("modbus-singles").channels
    assert (value.quantity, value.unit) == ("value", "1")
