"""What a simulated instrument is: an answer to a request at an instant, and the true values that the answer carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

Values = Mapping[str, str | None]
"""Digits of each channel exactly as sent; None where the instrument says that it has no value."""
Choices = Mapping[str, tuple[str, ...]]
"""What a person can set at an instrument: the names of the settings, and the values that each one may have."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One reply; `delay` is the time in seconds that the instrument needs for it, without the time on the wire.

    `then` is what it sends by itself after that (its delay counts from this reply). With `cancels`, replies of the
    instrument that are not sent yet are dropped. An empty reply means that nothing is sent.

    For the truth file: `units` are the units (UCUM) in which the values really are, whether the reply shows them or
    not. `states` are the channels that are not plainly good: "unstable", "over", "under" or "none" (no value).
    `measured` is when the values were measured, in seconds after the request (negative: before it). `registers` are
    the bytes of Modbus registers in the reply, `serial` is the serial number of the instrument that answers.
    """

    reply: bytes
    values: Values = field(default_factory=dict)
    delay: float = 0.0
    then: Answer | None = None
    cancels: bool = False
    units: Mapping[str, str] = field(default_factory=dict)
    states: Mapping[str, str] = field(default_factory=dict)
    measured: float = 0.0
    registers: bytes = b""
    serial: str = ""


class TextSimulator(Protocol):
    """An instrument with requests in text.

    `ends` are the terminators of a request, the longest first. `greeting` is sent when it is switched on. While `every`
    is above zero, the instrument sends without a request once in that many seconds.
    """

    @property
    def ends(self) -> tuple[bytes, ...]: ...  # noqa: D102  # described by the class
    @property
    def line(self) -> str: ...  # noqa: D102
    @property
    def greeting(self) -> bytes: ...  # noqa: D102
    @property
    def every(self) -> float: ...  # noqa: D102
    @property
    def serial(self) -> str: ...  # noqa: D102

    def answer(self, request: bytes, now: float) -> Answer | None:
        """Answer a request that came without its terminator; None where it sends no answer."""

    def unasked(self, now: float) -> Answer:
        """Give what it sends by itself at this instant."""

    def power_on(self) -> None:
        """Forget what is lost when the power goes, and be as after switching on."""

    def change(self, name: str, value: str) -> None:
        """Set something, as a person does at the keys of the instrument."""


class RegisterSimulator(Protocol):
    """An instrument that is read in Modbus registers; `units` are the units (UCUM) of its channels.

    It refuses a question for more than `most` registers as an illegal address.
    """

    @property
    def line(self) -> str: ...  # noqa: D102  # described by the class
    @property
    def units(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def most(self) -> int: ...  # noqa: D102

    @property
    def places(self) -> Mapping[int, str]:
        """Give the channel of each address at which a single begins."""

    def registers(self, now: float) -> Mapping[int, int]:
        """Give all registers of this instant, by address of the PDU."""

    def values(self, now: float) -> Values:
        """Give the digits of what the registers of this instant hold."""

    def states(self, now: float) -> Mapping[str, str]:
        """Give the state of each channel that is not plainly good at this instant."""


@dataclass(slots=True)
class Spoken:
    """What most text instruments have in common."""

    settings: ClassVar[Choices] = {}
    """What can be set at the instrument while it is read (fault `set` of a lab file)."""

    ends: tuple[bytes, ...] = (b"\r\n", b"\n", b"\r")
    line: str = "9600 8N1"
    greeting: bytes = b""
    every: float = 0.0

    def unasked(self, now: float) -> Answer:  # noqa: ARG002  # some instruments need it
        """Send nothing: most instruments only answer requests."""
        return Answer(b"")

    def power_on(self) -> None:
        """Send nothing without a request any more."""
        self.every = 0.0

    def change(self, name: str, value: str) -> None:
        """Refuse: a lab file is checked against `settings`."""
        raise ValueError(f"{name} = {value!r} cannot be set at this instrument")
