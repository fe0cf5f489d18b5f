"""What all instruments of a station share: its queue, its clock and whether that is synchronised, its events."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from daq.road.reading import Doubt, Event, EventKind
from daq.spool.file import SpoolFull

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from daq.host.clock import Clock
    from daq.road.reading import Reading, Record, Series

log = logging.getLogger(__name__)

_ROUTINE = {EventKind.START, EventKind.STOP, EventKind.CONNECT, EventKind.RELOAD, EventKind.REPLAY}


REMEMBERED = 100
"""Stamps of events that are compared with the next ones."""


_TELLS_MISSED = {EventKind.GAP, EventKind.MISSED}


class Queue(Protocol):
    """Where records go: the spool."""

    def put(self, record: Record, *, urgent: bool = False) -> int:
        """Take a record and give its number; SpoolFull where it takes none but urgent ones."""


class Nowhere:
    """A queue that keeps nothing."""

    def put(self, record: Record, *, urgent: bool = False) -> int:
        """Forget the record."""
        del record, urgent
        return 0


@dataclass(slots=True)
class Refusal:
    """A time in which the queue takes nothing: since when (UTC ns), why, and what it refused."""

    since: int
    why: str
    records: int = 0
    polls: int = 0


@dataclass(slots=True)
class Station:
    """What all instruments of a station share."""

    name: str
    queue: Queue
    clock: Clock
    on_reading: Callable[[Reading], None] = lambda _: None
    last_run_stamp: int = 0
    """Latest stamp (UTC ns) of the runs before: every reading is stamped after it."""
    synchronised: bool | None = None
    missed: int = 0
    """Polls that were due and not taken since the start, of all instruments, also those that are gone by now."""
    doubts: int = 0
    """Doubts that were recorded since the start."""
    _stamps: dict[Series, int] = field(default_factory=dict, init=False)
    _event_stamps: dict[tuple[str, str], dict[int, None]] = field(default_factory=dict, init=False)
    _refusal: Refusal | None = field(default=None, init=False)

    def stamp(self, series: Series, at: int) -> int:
        """Give the stamp of a reading taken at `at` (UTC ns): later than every one before it of the series.

        The last stamp belongs to the station: another config or a restarted follower does not begin anew.
        """
        stamp = max(at, self._stamps.get(series, self.last_run_stamp) + 1)
        self._stamps[series] = stamp
        return stamp

    def keep_answer(self, readings: Iterable[Reading]) -> int:
        """Put the readings of one poll into the queue; gives how many were taken.

        A poll of which the queue refuses any is missed, and counted here.
        """
        taken, polls = 0, 1
        for reading in readings:
            if self.keep(reading, polls):
                taken += 1
            elif polls:
                self.missed += polls
                polls = 0  # counted once, however many channels it has
            self.on_reading(reading)
        return taken

    def keep(self, record: Record, polls: int = 0) -> bool:
        """Put a record into the queue; gives whether it was taken. Where it is refused, so many polls are missed.

        Records that a full spool or a failed disk refuses are counted; when records are taken again, an event says how
        many were refused.
        """
        try:
            self.queue.put(record)
        except SpoolFull as error:
            self._count_refused(str(error), polls)
            return False
        if self._refusal is not None:
            self.end_refusal("taken again")
        return True

    def _count_refused(self, why: str, polls: int) -> None:
        if self._refusal is None:
            self._refusal = Refusal(self.clock.utc_ns(), why)
            text = f"new records are refused: {why}"
            log.critical("%s", text)
            self.queue.put(Event(self.name, EventKind.REFUSE, text, self.clock.utc_ns()), urgent=True)
        self._refusal.records += 1
        self._refusal.polls += polls

    def end_refusal(self, how: str) -> None:
        """Record how many records were refused, if any were."""
        if self._refusal is None:
            return
        refusal = self._refusal
        text = f"{refusal.records} records of {refusal.polls} polls refused: {refusal.why}; {how}"
        log.warning("%s", text)
        event = Event(self.name, EventKind.GAP, text, refusal.since, "", self.clock.utc_ns(), refusal.polls)
        self.queue.put(event, urgent=True)
        self._refusal = None

    def doubt(self, instrument: str, channel: str, kind: str, text: str, at: int, until: int) -> None:
        """Record that the readings of a channel from `at` to `until` (UTC ns) may be wrong."""
        log.warning("%s %s: doubt (%s): %s", instrument, channel, kind, text)
        self.doubts += 1
        start = self._free_stamp(instrument, channel, at, -1)  # one that begins earlier covers the same readings
        self.queue.put(Doubt(self.name, instrument, channel, kind, text, start, until), urgent=True)

    def _free_stamp(self, instrument: str, kind: str, at: int, step: int) -> int:
        """Give a stamp that no other record of this kind has: the database keeps only one of two with the same."""
        stamps = self._event_stamps.setdefault((instrument, kind), {})
        while at in stamps:
            at += step
        stamps[at] = None
        if len(stamps) > REMEMBERED:
            del stamps[next(iter(stamps))]
        return at

    def event(
        self,
        kind: EventKind,
        text: str,
        *,
        instrument: str = "",
        at: int | None = None,
        until: int | None = None,
        missed: int = 0,
        raw: str = "",
    ) -> None:
        """Put an event into the queue and into the log."""
        level = logging.INFO if kind in _ROUTINE else logging.WARNING
        log.log(level, "%s%s: %s", f"{instrument}: " if instrument else "", kind, text)
        stamp = self._free_stamp(instrument, kind, self.clock.utc_ns() if at is None else at, 1)
        taken = self.keep(Event(self.name, kind, text, stamp, instrument, until, missed, raw))
        if not taken and self._refusal is not None and kind in _TELLS_MISSED:
            self._refusal.polls += missed  # the event that ends the refusal tells them

    def silenced(self) -> Station:
        """Give one that keeps nothing, for who was left alone."""
        return Station(self.name, Nowhere(), self.clock)

    def notice_synchronisation(self) -> None:
        """Ask whether the wall clock follows a time server, and record an event when that has changed."""
        now = self.clock.synchronised()
        if now is not self.synchronised and False in {now, self.synchronised}:
            what = "follows no time server: readings are marked" if now is False else "follows a time server"
            self.event(EventKind.CLOCK_SYNC, f"the wall clock {what}")
        self.synchronised = now
