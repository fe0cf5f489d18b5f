"""What a running station does for commands on its own machine: report its state, give rows, send records again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daq.road.reading import EventKind
from daq.spool.queue import SpoolError
from daq.station.control import Denied

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from daq.spool.queue import Spool
    from daq.station.health import Monitor
    from daq.station.publisher import Publisher
    from daq.station.records import Station

ROWS = 2_000
"""Rows in one answer at most: writing a longer one would delay the readings."""


class Questions:
    """Answers the questions of `daq quarantine`, `daq verify` and `daq replay`."""

    def __init__(self, station: Station, spool: Spool, publisher: Publisher, monitor: Monitor) -> None:
        self._station = station
        self._spool = spool
        self._publisher = publisher
        self._monitor = monitor

    def handlers(self) -> dict[str, Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]]:
        """Give the handler of each question by its name."""
        return {
            "status": self._status,
            "quarantine": self._quarantine,
            "release": self._release,
            "replay": self._replay,
            "bounds": self._bounds,
            "rows": self._rows,
        }

    async def _status(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"status": self._monitor.status()}

    async def _quarantine(self, _: dict[str, Any]) -> dict[str, Any]:
        found = await _or_denied(self._spool.do(lambda file: file.quarantine_rows()))
        return {"rows": [row_of(*one) for one in found]}

    async def _release(self, asked: dict[str, Any]) -> dict[str, Any]:
        first, last = _numbers(asked, "first", "last")
        count = await _or_denied(self._spool.release(first, last))
        if count:
            text = f"{count} records of {first} to {last} were taken out of quarantine to be sent again"
            self._station.event(EventKind.REPLAY, text)
            self._publisher.rescan()
        return {"released": count}

    async def _replay(self, asked: dict[str, Any]) -> dict[str, Any]:
        start, end = _numbers(asked, "start", "end")
        count = await _or_denied(self._spool.recall(start, end))
        if count:
            self._station.event(EventKind.REPLAY, f"{count} stored records are sent again")
            self._publisher.rescan()
        return {"recalled": count}

    async def _bounds(self, _: dict[str, Any]) -> dict[str, Any]:
        bounds = await _or_denied(self._spool.do(lambda file: file.bounds))
        return {
            "epoch": bounds.epoch,
            "start": bounds.start,
            "start_digest": bounds.start_digest.hex(),
            "head": bounds.head,
            "head_digest": bounds.head_digest.hex(),
            "dropped": [[first, last, digest.hex() if digest else None] for first, last, digest in bounds.dropped],
            "stored": list(await _or_denied(self._spool.do(lambda file: list(file.stored)))),
        }

    async def _rows(self, asked: dict[str, Any]) -> dict[str, Any]:
        after, start, end = _numbers(asked, "after", "start", "end")
        found = await _or_denied(self._spool.do(lambda file: file.rows(after, ROWS, start, end)))
        return {
            "rows": [
                [row.seq, row.at, row.line.decode("latin-1"), row.crc, row.digest.hex() if row.digest else None]
                for row in found
            ]
        }


def row_of(seq: int, at: int, reason: str, line: bytes | None) -> dict[str, Any]:
    """Give a row of the quarantine as a JSON object; `line` is None where the record itself is lost."""
    return {"seq": seq, "at_ns": at, "reason": reason, "line": line.decode(errors="replace") if line else None}


def _numbers(asked: dict[str, Any], *keys: str) -> list[int]:
    """Give the whole numbers of a question; Denied where one is missing, is none, or has more than 64 bits."""
    try:
        numbers = [int(asked[key]) for key in keys]
    except (KeyError, TypeError, ValueError, OverflowError):
        numbers = []
    if not numbers or not all(-(2**63) <= one < 2**63 for one in numbers):
        raise Denied(f"not understood: this question has the whole numbers {', '.join(keys)}")
    return numbers


async def _or_denied(work: Awaitable[Any]) -> Any:  # noqa: ANN401  # any result of the spool
    try:
        return await work
    except SpoolError as error:
        raise Denied(str(error)) from error
