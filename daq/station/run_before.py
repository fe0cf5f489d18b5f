"""What the run before has left in the spool: whether it was asked to stop, and what it had not told where it was not.

What a run knows in its memory goes with it when it is killed: which readings no proof has followed, and which polls of
an instrument were missed since it was read last.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from daq.host.clock import NANOSECONDS, marks
from daq.road.line_protocol import tag
from daq.road.point import NoLine, parse
from daq.road.reading import EventKind
from daq.station.doubts import Doubts
from daq.station.health import in_words

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from daq.road.point import Point
    from daq.spool.file import SpoolFile
    from daq.spool.queue import Spool
    from daq.station.kept import Kept
    from daq.station.records import Station

ROWS = 1000
"""Rows of the spool that are read in one piece: some milliseconds, in which nothing is committed."""
LONG_PAUSE = 0.5
"""Seconds between two runs of a station above which the pause becomes an event."""
MOST_UNPROVEN = 100_000
"""The newest rows, in which readings are looked for that no proof has followed; reading begins after that."""
_EARLY = 0.002
"""Seconds by which a reading may be stamped before its mark: the grid follows the wall clock."""


@dataclass(frozen=True)
class RunBefore:
    """The newest record of the run before has the number `last`, the latest of its stamps is `latest` (UTC ns)."""

    station: Station
    spool: Spool
    last: int
    latest: int

    async def tell_pause(self, now: int, followers: Mapping[str, Kept]) -> bool:
        """Record the time up to `now` (UTC ns) in which no station ran; gives whether it was asked to stop."""
        stopped_at = await self.stopped_at()
        since = stopped_at or self.latest
        if since and now - since > LONG_PAUSE * NANOSECONDS:
            missed = sum(marks(since, now, one.period) * one.polls for one in followers.values() if one.period)
            self.station.missed += missed
            how = "it had been asked to stop" if stopped_at else "it had ended without a stop"
            text = f"the station did not run for {in_words((now - since) / NANOSECONDS)}: {how}"
            self.station.event(EventKind.GAP, text, at=since, until=now, missed=missed)
        elif since > now:
            ahead = in_words((since - now) / NANOSECONDS)
            text = f"the wall clock is {ahead} behind the last record: stamps are held until it has caught up"
            self.station.event(EventKind.CLOCK_STEP, text)
        return bool(stopped_at)

    async def stopped_at(self) -> int:
        """Give the stamp (UTC ns) at which it was asked to stop, 0 where it was not.

        Behind it other records may follow, such as the health of the station in the minute of its end, but no reading.
        """
        async for point in self._newest_first():
            if _kind(point) == EventKind.STOP:
                return point.time
            if point.measurement == "reading":
                break
        return 0

    async def unproven(self, windows: Mapping[str, float]) -> dict[str, Doubts]:
        """Give the readings that no proof has followed, as far as is known, by instrument.

        `windows` are the seconds before its end in which a reading of an instrument may have had none; infinite where
        it proves itself at the connection only.
        """
        since = {name: self.latest - window * NANOSECONDS for name, window in windows.items()}
        found: dict[str, Doubts] = {}
        async for point in self._newest_first(most=MOST_UNPROVEN):
            name, kind = point.tags.get("instrument", ""), _kind(point)
            if kind == EventKind.CONNECT or (point.measurement == "reading" and point.time < since.get(name, 0)):
                since.pop(name, None)
            elif point.measurement == "reading" and name in since:
                found.setdefault(name, Doubts(self.station, name)).was_stored(point.tags["channel"], point.time)
            if not since or (point.measurement == "reading" and point.time < min(since.values())):
                break
        return found

    async def account(self, followers: Mapping[str, Kept]) -> None:
        """Tell the polls of each instrument that were missed between its last reading and the end of that run."""
        followers = dict(followers)
        wanted = {name for name, kept in followers.items() if kept.period}
        known: set[str] = set()
        until: dict[str, int] = {}
        async for point in self._newest_first(wanted):
            name, kind = point.tags.get("instrument", ""), _kind(point)
            if kind == EventKind.START:
                until |= dict.fromkeys(known & wanted, point.time)
            if name not in wanted:
                continue
            known.add(name)
            if point.measurement == "reading":
                until[name] = point.time
            elif kind in {EventKind.GAP, EventKind.MISSED}:
                until[name] = int(point.fields.get("until", point.time))
            wanted -= until.keys()
            if not wanted:
                break
        for name, at in until.items():
            self._tell(name, at, followers[name])

    def _tell(self, name: str, at: int, kept: Kept) -> None:
        early = round(min(_EARLY, kept.period / 2) * NANOSECONDS)
        missed = marks(at + early, self.latest, kept.period) * kept.polls
        if missed > 0:
            self.station.missed += missed
            text = f"{missed} polls not taken, and not told before the station ended without a stop"
            self.station.event(EventKind.GAP, text, instrument=name, at=at, until=self.latest, missed=missed)

    async def _newest_first(self, wanted: set[str] | None = None, most: int = 2**63) -> AsyncIterator[Point]:
        """Give what it recorded, the newest first, and its start last; what is not whole is left out.

        With `wanted`, only events and what concerns these instruments; names may be taken away from it meanwhile.
        """
        before = self.last + 1
        while most > 0 and before > 0:
            tags = None if wanted is None else [f",instrument={tag(name)},".encode() for name in wanted]
            before, lines = await self.spool.do(partial(_lines, before=before, tags=tags))
            most -= ROWS
            for line in lines:
                try:
                    point = parse(line)
                except NoLine:
                    continue
                yield point
                if _kind(point) == EventKind.START:
                    return


def _lines(file: SpoolFile, before: int, tags: list[bytes] | None) -> tuple[int, list[bytes]]:
    def concerns(line: bytes) -> bool:
        return tags is None or line.startswith(b"event,") or any(one in line for one in tags)

    return file.lines_before(before, ROWS, concerns)


def _kind(point: Point) -> str:
    return point.tags.get("kind", "") if point.measurement == "event" else ""
