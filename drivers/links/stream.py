"""Instruments with text commands on a serial port or a TCP connection."""

from __future__ import annotations

import re
import time
from functools import partial
from typing import TYPE_CHECKING

from drivers.driver import Listen, Text
from drivers.errors import Lost, Unreadable

if TYPE_CHECKING:
    from drivers.links.connection import Measure
    from drivers.links.wire import Wire


class StreamLink:
    """One instrument on a wire of its own, or with others on one line, each with its address in its commands.

    `settle` is the time in seconds after which no late answer can come any more. `echo` is for half-duplex
    adapters that receive what they send: the echo must arrive and be correct, and is no part of the answer.
    """

    def __init__(self, wire: Wire, settle: float, *, echo: bool = False, settle_first: bool = False) -> None:
        """`settle_first` waits until no bytes come before the first question: for instruments without identity."""
        self._wire = wire
        self._settle = settle
        self._echo = echo
        self._settle_first = settle_first
        self._opening: int | None = None
        self.sent = 0.0

    async def open(self) -> None:
        """Open where it is not open."""
        if self._settle_first:
            self._settle_first = False
            self._wire.distrust(self._settle)
        self._opening = await self._wire.open(self)

    def distrust(self) -> None:
        """Let the next question wait until no late answer can come: the last answer was not believed."""
        self._wire.distrust(self._settle)

    async def ask(self, query: Text | Listen) -> bytes:
        """Give the bytes of the answer with its end; Silent, Lost or Unreadable where there is none."""
        if self._opening is None:
            await self.open()
        opening = self._opening or 0
        wire = self._wire
        async with wire.turn:
            try:
                if isinstance(query, Listen):
                    self.sent = time.monotonic()
                    return await wire.listen(opening, query.end, query.timeout)
                if not query.end:
                    await wire.tell(opening, query.command)
                    return b""
                measure = _measure(query.end, query.command if self._echo else b"")
                answer = await wire.ask(opening, query.command, measure, query.timeout, self._settle)
                self.sent = wire.sent
            except Lost:
                self._opening = None
                raise
        return answer[len(query.command) :] if self._echo else answer

    unasked = 0
    waiting = False
    suspect = False

    def proves(self, query: object) -> bool:
        """Whether an answer to this question, asked now, can only be its own."""
        del query
        return True

    def trust(self) -> None:
        """Note that control questions were answered."""

    async def close(self) -> None:
        """Release the wire; it closes when no link uses it any more."""
        self._opening = None
        self._wire.leave(self)


def _measure(end: bytes | re.Pattern[bytes], echo: bytes) -> Measure:
    if isinstance(end, re.Pattern) or echo:
        return partial(_after_echo, end, echo)
    return partial(_up_to, end)


def _up_to(end: bytes, buffer: bytearray) -> int:
    at = buffer.find(end)
    return at + len(end) if at >= 0 else 0


def _after_echo(end: bytes | re.Pattern[bytes], echo: bytes, buffer: bytearray) -> int:
    if not echo.startswith(buffer[: len(echo)]):
        raise Unreadable(
            f"the echo differs from the question {Text.show(echo)!r}: a collision, or no echo", bytes(buffer)
        )
    if isinstance(end, re.Pattern):
        match = end.search(buffer, len(echo))
        return match.end() if match else 0
    at = buffer.find(end, len(echo))
    return at + len(end) if at >= 0 else 0
