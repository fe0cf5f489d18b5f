"""Questions, serial lines and drivers as values: what they show, how they are written, what they are by default."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drivers import catalogue
from drivers.driver import (
    Channel,
    Control,
    Driver,
    Identity,
    Listen,
    Poll,
    Registers,
    SerialLine,
    Setup,
    Text,
    with_timeout,
)
from drivers.errors import Unreadable

if TYPE_CHECKING:
    from drivers.sample import Sample


def none(_: bytes) -> tuple[Sample, ...]:
    return ()


@pytest.mark.parametrize("show", [Text.show, Listen.show])
@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"S S     100.00 g", "S S     100.00 g"),
        (b"", ""),
        (b"100.00012\r", r"100.00012\r"),
        (b"\x1bP\r\n", r"\x1bP\r\n"),
        (b"21.5 \xb0C", r"21.5 \xb0C"),
        (b"a\\r", r"a\\r"),  # it can be told from a carriage return
        (b"\x00\xff", r"\x00\xff"),
    ],
)
def test_bytes_are_shown_so_that_each_text_has_one_meaning(show: object, raw: bytes, shown: str) -> None:
    assert callable(show)
    found = show(raw)
    assert found == shown
    assert found.encode("ascii").decode("unicode_escape").encode("latin-1") == raw


def test_registers_are_shown_as_manuals_print_them() -> None:
    assert Registers.show(bytes.fromhex("7ae141f4")) == "7AE1 41F4"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("9600 8N1", SerialLine(9600, 8, "N", 1)),
        ("4800 7E1 xonxoff", SerialLine(4800, 7, "E", 1, "xonxoff")),
        ("1200-7O2 rtscts", SerialLine(1200, 7, "O", 2, "rtscts")),
        (" 19200 8N2 ", SerialLine(19200, 8, "N", 2)),
    ],
)
def test_a_serial_line_is_read_and_written(text: str, line: SerialLine) -> None:
    assert SerialLine.parse(text) == line
    assert SerialLine.parse(str(line)) == line
    assert str(SerialLine(4800, 7, "E", 1, "xonxoff")) == "4800 7E1 xonxoff"
    assert str(SerialLine()) == "9600 8N1"


@pytest.mark.parametrize("text", ["", "9600", "8N1", "9600 9N1", "9600 8X1", "9600 8N3", "9600 8N1 dtr", "x 8N1"])
def test_what_is_no_serial_line_says_what_would_be_one(text: str) -> None:
    with pytest.raises(ValueError, match="9600 8N1"):
        SerialLine.parse(text)


@pytest.mark.parametrize(
    ("text", "bits"), [("9600 8N1", 10), ("9600 8O1", 11), ("9600 7E1", 10), ("9600 8N2", 11), ("9600 8E2", 12)]
)
def test_a_character_takes_its_bits_on_the_wire(text: str, bits: int) -> None:
    assert SerialLine.parse(text).seconds_per_character == pytest.approx(bits / 9600)


def test_what_a_driver_does_not_say() -> None:
    """A driver of a third party relies on it."""
    text, registers = Text(b"?"), Registers(0, 2)
    assert (text.end, text.timeout) == (b"\r\n", 1.0)
    assert (Listen().end, Listen().timeout) == (b"\r\n", 2.0)
    assert (registers.table, registers.timeout) == ("holding", 1.0)
    poll = Poll(text, (), none)
    assert poll.stamp == "middle"
    assert not Identity(text, lambda _: "").disturbs
    assert not Setup(text).proves
    Setup(text).check(b"any answer is right")
    driver = Driver("nothing", (poll,))
    assert (driver.identity, driver.setup, driver.controls, driver.quieting) == (None, (), (), ())
    assert (driver.port, driver.settle, driver.proof) == (None, 1.0, "form")
    assert driver.serial_line == SerialLine(9600, 8, "N", 1, "none")


def test_channels_stand_in_the_order_in_which_they_are_asked() -> None:
    first, second, third = (Channel(name, "mass", "g") for name in ("c", "a", "b"))
    driver = Driver("two questions", (Poll(Text(b"?"), (first, second), none), Poll(Text(b"!"), (third,), none)))
    assert driver.channels == (first, second, third)


def test_a_time_out_of_the_config_is_that_of_every_question_and_nothing_else_changes() -> None:
    asked = [Text(bytes([letter])) for letter in b"pisc"]
    driver = Driver(
        "four questions",
        (Poll(asked[0], (), none, "answer"),),
        Identity(asked[1], lambda _: "B1", disturbs=True),
        setup=(Setup(asked[2], proves=True),),
        controls=(Control(asked[3], none),),
        settle=2.0,
    )
    slower = with_timeout(driver, 7.0)
    assert slower.identity is not None
    steps = (slower.polls[0], slower.identity, slower.setup[0], slower.controls[0])
    assert [step.query for step in steps] == [Text(one.command, timeout=7.0) for one in asked]
    assert (slower.polls[0].stamp, slower.identity.disturbs, slower.setup[0].proves) == ("answer", True, True)
    assert slower.settle == 7.0
    assert with_timeout(driver, 0.5).settle == 2.0, "late answers may come as long as the manual says"
    assert with_timeout(Driver("no identity", ()), 7.0).identity is None


def test_a_driver_that_is_not_installed_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="no-such-driver"):
        catalogue.factory("no-such-driver")
    assert list(catalogue.names()) == sorted(set(catalogue.names()))


def test_an_unreadable_answer_carries_its_bytes() -> None:
    assert Unreadable("why", b"\x00").raw == b"\x00"
    assert Unreadable("why").raw == b""
