"""A Driver as a value: what to ask an instrument, on which kind of wire, and how to read its answers."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, Literal, TypeAlias, TypeVar

from drivers.errors import Unreadable
from drivers.sample import Sample, Status

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Channel",
    "Control",
    "Driver",
    "Identity",
    "Listen",
    "Poll",
    "Proof",
    "Query",
    "Registers",
    "Sample",
    "SerialLine",
    "Setup",
    "Status",
    "Text",
    "Unreadable",
    "with_timeout",
]


@dataclass(frozen=True, slots=True)
class Text:
    """Send `command` as it is and read up to and including `end`.

    `end` is the terminator of the answer, or a pattern that matches where a many-line answer is complete.
    An empty `end` means that the instrument acknowledges nothing: the question is sent and no answer awaited.
    `timeout` is in seconds: longer than the slowest answer that the manual allows.
    """

    command: bytes
    end: bytes | re.Pattern[bytes] = b"\r\n"
    timeout: float = 1.0

    @staticmethod
    def show(raw: bytes) -> str:
        """Show the bytes of an answer as text; bytes that are not printable, and backslashes, as escape sequences."""
        return raw.decode("latin-1").encode("unicode_escape").decode("ascii")


@dataclass(frozen=True, slots=True)
class Listen:
    """Send nothing; read the next complete line that the instrument sends by itself."""

    end: bytes = b"\r\n"
    timeout: float = 2.0

    show = staticmethod(Text.show)


@dataclass(frozen=True, slots=True)
class Registers:
    """Read `count` contiguous 16-bit registers from `address` (as in the PDU, counted from 0).

    The answer is their bytes in the order of the wire: two for each register, high byte first.
    """

    address: int
    count: int
    table: Literal["holding", "input"] = "holding"
    timeout: float = 1.0

    @staticmethod
    def show(raw: bytes) -> str:
        """Write registers in groups of four hex digits, as the manuals print them."""
        return raw.hex(" ", 2).upper()


Query: TypeAlias = Text | Listen | Registers

T = TypeVar("T")
Q = TypeVar("Q", bound=Query)


@dataclass(frozen=True, slots=True)
class SerialLine:
    """Factory settings of a serial line: used where the config gives only the port."""

    baud: int = 9600
    bits: Literal[7, 8] = 8
    parity: Literal["N", "E", "O"] = "N"
    stop: Literal[1, 2] = 1
    flow: Literal["none", "xonxoff", "rtscts"] = "none"

    @classmethod
    def parse(cls, text: str) -> SerialLine:
        """Read "9600 8N1", "4800 7E1 xonxoff"; ValueError says what would be right."""
        match = re.fullmatch(r"(\d+)[ -]([78])([NEO])([12])(?: (xonxoff|rtscts))?", text.strip())
        if match is None:
            raise ValueError(
                f'"{text}" is no line setting; write baud, bits, parity, stop as in "9600 8N1" or "4800 7E1 xonxoff"'
            )
        baud, bits, parity, stop, flow = match.groups()
        return cls(int(baud), int(bits), parity, int(stop), flow or "none")  # type: ignore[arg-type]  # the pattern holds the literals

    def __str__(self) -> str:
        flow = "" if self.flow == "none" else f" {self.flow}"
        return f"{self.baud} {self.bits}{self.parity}{self.stop}{flow}"

    @property
    def seconds_per_character(self) -> float:
        """Time of one character on the wire: start, data, parity and stop bits."""
        return (1 + self.bits + (self.parity != "N") + self.stop) / self.baud


@dataclass(frozen=True, slots=True)
class Channel:
    """One quantity that an instrument measures; `unit` (UCUM) is the only one accepted from the wire."""

    name: str
    quantity: str
    unit: str


@dataclass(frozen=True, slots=True)
class Poll(Generic[Q]):
    """One query and the channels whose values are in its reply.

    `decode` gives one Sample for each channel, in their order, and raises Unreadable for a reply unknown to the manual.
    `stamp` is the instant of the values: the middle between question and answer, or the answer where the instrument
    itself waits (for stability) before it measures.
    """

    query: Q
    channels: tuple[Channel, ...]
    decode: Callable[[bytes], tuple[Sample, ...]]
    stamp: Literal["middle", "answer"] = "middle"


@dataclass(frozen=True, slots=True)
class Identity(Generic[Q]):
    """How to read the serial number from the wire; `decode` raises Unreadable.

    `disturbs`: by its manual the question may disturb a measurement. It is then asked at the connection, after trouble
    and after bytes that nobody asked for, and not again and again while the instrument is read.
    """

    query: Q
    decode: Callable[[bytes], str]
    disturbs: bool = False


@dataclass(frozen=True, slots=True)
class Setup(Generic[Q]):
    """A command to send before an instrument can be read; `check` raises Unreadable where the answer is wrong.

    `proves`: it is a question that changes nothing (which unit is set?) and is asked again with the identity.
    `advice` is what to do where it is refused or its answer cannot be read, as an addition to the message.
    """

    query: Q
    check: Callable[[bytes], object] = len
    proves: bool = False
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Control(Generic[Q]):
    """A harmless question whose answer cannot be taken for that of a poll; `check` raises Unreadable for any other.

    After a failure, late answers to earlier questions may still come. The answer to a control question proves that
    none is between it and the instrument any more.
    """

    query: Q
    check: Callable[[bytes], object]


Proof: TypeAlias = Literal["number", "checksum and form", "form", "length", "nothing"]
"""What shows that an answer belongs to its question: a number that it carries, its form, its length, or nothing."""


@dataclass(frozen=True, slots=True)
class Driver(Generic[Q]):
    """All that is known of one command set; a value without I/O and without state.

    `identity` is None where the driver asks for no serial number. `setup` is sent after the identity was checked,
    and holds nothing that reading does not need. `serial_line` is the factory setting of a serial port, `port` the
    usual TCP port, `settle` the seconds without a byte after which no late answer can come any more. `controls` are
    asked after a failure, beside the identity. `quieting` is sent, and its answer read, where the instrument talks
    without being asked: it ends that and changes nothing else.
    """

    title: str
    polls: tuple[Poll[Q], ...]
    identity: Identity[Q] | None = None
    setup: tuple[Setup[Q], ...] = ()
    serial_line: SerialLine = SerialLine()
    port: int | None = None
    settle: float = 1.0
    controls: tuple[Control[Q], ...] = ()
    quieting: tuple[Q, ...] = ()
    proof: Proof = "form"

    @property
    def channels(self) -> tuple[Channel, ...]:
        """Every channel, in the order in which they are asked."""
        return tuple(channel for poll in self.polls for channel in poll.channels)


def with_timeout(driver: Driver[Q], seconds: float) -> Driver[Q]:
    """Give a driver all of whose questions have this time-out, for an instrument behind something slow."""

    def slower(part: T) -> T:
        return replace(part, query=replace(part.query, timeout=seconds))  # type: ignore[attr-defined, type-var]  # all have one

    return replace(
        driver,
        polls=tuple(slower(poll) for poll in driver.polls),
        setup=tuple(slower(step) for step in driver.setup),
        controls=tuple(slower(control) for control in driver.controls),
        identity=None if driver.identity is None else slower(driver.identity),
        settle=max(driver.settle, seconds),
    )
