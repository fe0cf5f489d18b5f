"""What a running station does for a person at its own machine: tell, show, and send again."""

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
"""Rows in one answer at most: the station reads on while it writes it."""


class Questions:
    """Answers the questions of `daq quarantine`, `daq verify` and `daq replay`."""

    def __init__(self, station: Station, spool: Spool, publisher: Publisher, monitor: Monitor) -> None:
        self._station = station
        self._spool = spool
        self._publisher = publisher
        self._monitor = monitor

    def handlers(self) -> dict[str, Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]]:
        """Give each question's name and who answers it."""
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
        first, last = int(asked["first"]), int(asked["last"])
        count = await _or_denied(self._spool.release(first, last))
        if count:
            text = f"{count} records of {first} to {last} were taken out of quarantine to be sent again"
            self._station.event(EventKind.REPLAY, text)
            self._publisher.look_again()
        return {"released": count}

    async def _replay(self, asked: dict[str, Any]) -> dict[str, Any]:
        start, end = int(asked["start"]), int(asked["end"])
        count = await _or_denied(self._spool.recall(start, end))
        if count:
            self._station.event(EventKind.REPLAY, f"{count} stored records are sent again", at=None, missed=0)
            self._publisher.look_again()
        return {"recalled": count}

    async def _bounds(self, _: dict[str, Any]) -> dict[str, Any]:
        bounds = await _or_denied(self._spool.do(lambda file: file.bounds))
        return {
            "epoch": bounds.epoch,
            "start": bounds.start,
            "start_digest": bounds.start_digest.hex(),
            "head": bounds.head,
            "head_digest": bounds.head_digest.hex(),
            "dropped": [[first, last, link.hex() if link else None] for first, last, link in bounds.dropped],
            "stored": list(await _or_denied(self._spool.do(lambda file: list(file.stored)))),
        }

    async def _rows(self, asked: dict[str, Any]) -> dict[str, Any]:
        after, start, end = int(asked["after"]), int(asked["start"]), int(asked["end"])
        found = await _or_denied(self._spool.do(lambda file: file.rows(after, ROWS, start, end)))
        return {
            "rows": [
                [row.seq, row.at, row.line.decode("latin-1"), row.crc, row.digest.hex() if row.digest else None]
                for row in found
            ]
        }


def row_of(seq: int, at: int, reason: str, line: bytes | None) -> dict[str, Any]:
    """Put a row of the quarantine into words for JSON; `line` is None where the record itself is lost."""
    return {"seq": seq, "at_ns": at, "reason": reason, "line": line.decode(errors="replace") if line else None}


async def _or_denied(work: Awaitable[Any]) -> Any:  # noqa: ANN401  # whatever the spool gives
    try:
        return await work
    except SpoolError as error:
        raise Denied(str(error)) from error
