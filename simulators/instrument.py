"""What a simulated instrument is: an answer to a request at an instant, and the true values that the answer carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

Values = Mapping[str, str | None]
"""Digits of each channel exactly as sent; None where the instrument says that it has no value."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One reply; `delay` is the time in seconds that the instrument needs for it, without the time on the wire.

    `then` is what it sends by itself after that (its delay counts from this reply). With `cancels`, replies of the
    instrument that are not sent yet are dropped. An empty reply means that nothing is sent.
    """

    reply: bytes
    values: Values = field(default_factory=dict)
    delay: float = 0.0
    then: Answer | None = None
    cancels: bool = False


class TextSimulator(Protocol):
    """An instrument with requests in text.

    `ends` are the terminators of a request, the longest first. `greeting` is sent when it is switched on. While `every`
    is above zero, the instrument sends without a request once in that many seconds.
    """

    ends: tuple[bytes, ...]
    line: str
    greeting: bytes
    every: float

    def answer(self, request: bytes, now: float) -> Answer | None:
        """Answer a request that came without its terminator; None where it sends no answer."""

    def unasked(self, now: float) -> Answer:
        """Give what it sends by itself at this instant."""


class RegisterSimulator(Protocol):
    """An instrument that is read in Modbus registers."""

    line: str

    @property
    def places(self) -> Mapping[int, str]:
        """Give the channel of each address at which a single begins."""

    def registers(self, now: float) -> Mapping[int, int]:
        """Give all registers of this instant, by address of the PDU."""

    def values(self, now: float) -> Values:
        """Give the digits of what the registers of this instant hold."""


@dataclass(slots=True)
class Spoken:
    """What most text instruments have in common."""

    ends: tuple[bytes, ...] = (b"\r\n", b"\n", b"\r")
    line: str = "9600 8N1"
    greeting: bytes = b""
    every: float = 0.0

    def unasked(self, now: float) -> Answer:  # noqa: ARG002  # some instruments need it
        """Send nothing: most instruments only answer requests."""
        return Answer(b"")
