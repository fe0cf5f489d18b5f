"""Where lines are stored: the interface of a database, and how a refused batch is divided to save its good lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class SinkError(Exception):
    """The lines are not stored; the subclass says what to do with them."""


class Unavailable(SinkError):
    """Not now (time-out, connection lost, 429, 5xx): keep the lines, retry after `retry_after` seconds or a pause."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TooLarge(SinkError):
    """413: the same lines in smaller parts."""


class Refused(SinkError):
    """400 or 422: at least one line is bad; nothing is known of the others until they were sent again."""


class Misconfigured(SinkError):
    """401, 403, 404: no line can be stored until a person has corrected token, database or address."""


class Sink(Protocol):
    """A keyed store: a line with the same series and stamp replaces itself, so writing twice is harmless."""

    name: str

    async def write(self, lines: Sequence[bytes]) -> None:
        """Return when all lines are stored durably; raises a SinkError otherwise."""

    async def close(self) -> None:
        """Close all connections or files; may be called more than once."""


async def store(sink: Sink, lines: Sequence[bytes], start: int = 0) -> dict[int, str]:
    """Store every line that the sink accepts; gives the places of those that it refuses, with the sink's message.

    Raises Unavailable or Misconfigured; then some lines may be stored, and all may be sent again.
    """
    try:
        await sink.write(lines)
    except (Refused, TooLarge) as error:
        if len(lines) == 1:
            return {start: str(error)}
        middle = len(lines) // 2
        return await store(sink, lines[:middle], start) | await store(sink, lines[middle:], start + middle)
    return {}
