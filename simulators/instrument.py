"""What a simulated instrument is: an answer to a request at an instant, and the true values that the answer carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

Values = Mapping[str, str | None]
"""Digits of each channel exactly as sent; None where the instrument says that it has no value."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One reply; `delay` is the time in seconds that the instrument needs for it, beyond the wire."""

    reply: bytes
    values: Values = field(default_factory=dict)
    delay: float = 0.0


class TextSimulator(Protocol):
    """An instrument that is asked in text.

    `ends` are the terminators of a request, the longest first. Where `restarts` is true, a new request makes the
    instrument forget the answer it was working on. `greeting` is sent when it is switched on.
    """

    ends: tuple[bytes, ...]
    restarts: bool
    line: str
    greeting: bytes

    def answer(self, request: bytes, now: float) -> Answer | None:
        """Answer a request that came without its terminator; None for silence."""


class RegisterSimulator(Protocol):
    """An instrument that is read in Modbus registers."""

    line: str

    def registers(self, now: float) -> Mapping[int, int]:
        """Give all registers of this instant, by address of the PDU."""

    def values(self, now: float) -> Values:
        """Give the digits of what the registers of this instant hold."""


@dataclass(slots=True)
class Spoken:
    """What most text instruments have in common."""

    ends: tuple[bytes, ...] = (b"\r\n", b"\n", b"\r")
    restarts: bool = False
    line: str = "9600 8N1"
    greeting: bytes = b""
