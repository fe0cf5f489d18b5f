"""Where the answer of a text instrument ends in what has come so far."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

from drivers.driver import Text
from drivers.errors import Unreadable

if TYPE_CHECKING:
    from drivers.links.connection import Measure

End: TypeAlias = bytes | re.Pattern[bytes]

LONGEST_MATCH = 4096
"""Bytes that the pattern of an end may span; so many are searched again when a byte comes."""


def measure_of(end: End, echo: bytes) -> Measure:
    """Give the measure for one question; `echo` must come before the answer."""
    return _Search(end, echo)


def length_up_to(end: End, data: bytearray) -> int:
    """Give the length of the first answer in `data` with its end, 0 where none is complete."""
    return _Search(end, b"")(data)


class _Search:
    """Goes on where it stopped: a peer that drips behind 64 KB would make everybody wait for each of its bytes."""

    def __init__(self, end: End, echo: bytes) -> None:
        self._end = end
        self._echo = echo
        self._searched = 0
        self._buffer: bytearray | None = None

    def __call__(self, buffer: bytearray) -> int:
        if buffer is not self._buffer or len(buffer) < self._searched:
            self._buffer = buffer
            self._searched = 0
        if self._searched < len(self._echo) and not self._echo.startswith(buffer[: len(self._echo)]):
            raise Unreadable(
                f"the echo differs from the question {Text.show(self._echo)!r}: a collision, or no echo",
                bytes(buffer[:LONGEST_MATCH]),
            )
        if isinstance(self._end, re.Pattern):
            match = self._end.search(buffer, max(len(self._echo), self._searched - LONGEST_MATCH))
            length = match.end() if match else 0
        else:
            at = buffer.find(self._end, max(len(self._echo), self._searched - len(self._end) + 1))
            length = at + len(self._end) if at >= 0 else 0
        self._searched = 0 if length else len(buffer)
        return length
