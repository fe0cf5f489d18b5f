"""What all instruments of a station share: its queue, its clock and whether that is synchronised, its events."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from daq.host.clock import NANOSECONDS, ahead_ns
from daq.road.reading import Event, EventKind
from daq.spool.file import SpoolFull

if TYPE_CHECKING:
    from collections.abc import Callable

    from daq.host.clock import Clock
    from daq.road.reading import Reading, Record

log = logging.getLogger(__name__)

STEP = 0.050
"""A wall clock that moves by more than this many seconds against the monotonic clock was set."""
_ROUTINE = {EventKind.START, EventKind.STOP, EventKind.CONNECT, EventKind.RELOAD, EventKind.REPLAY}


class Queue(Protocol):
    """Where records go: the spool."""

    def put(self, record: Record, *, urgent: bool = False) -> int:
        """Take a record and give its number; SpoolFull where it takes none but urgent ones."""


@dataclass(slots=True)
class Station:
    """What all instruments of a station share."""

    name: str
    queue: Queue
    clock: Clock
    on_reading: Callable[[Reading], None] = lambda _: None
    clock_steps: int = 0
    """Counts the steps of the wall clock: after each one every follower aligns its grid again."""
    last_run_stamp: int = 0
    """Latest stamp (UTC ns) of the runs before: every reading is stamped after it."""
    synchronised: bool | None = None
    _latest_stamps: dict[tuple[EventKind, str], int] = field(default_factory=dict, init=False)
    _refused: tuple[int, int, str] | None = field(default=None, init=False)  # since (UTC ns), how many, why

    def keep(self, record: Record) -> bool:
        """Put a record into the queue; gives whether it was taken.

        Records that a full spool or a failed disk refuses are counted; when records are taken again, an event says how
        many were refused.
        """
        try:
            self.queue.put(record)
        except SpoolFull as error:
            self._count_refused(str(error))
            return False
        if self._refused is not None:
            self.end_refusal("taken again")
        return True

    def _count_refused(self, why: str) -> None:
        if self._refused is None:
            self._refused = (self.clock.utc_ns(), 1, why)
            text = f"new records are refused: {why}"
            log.critical("%s", text)
            self.queue.put(Event(self.name, EventKind.REFUSE, text, self.clock.utc_ns()), urgent=True)
        else:
            since, count, why = self._refused
            self._refused = (since, count + 1, why)

    def end_refusal(self, how: str) -> None:
        """Record how many records were refused, if any were."""
        if self._refused is None:
            return
        (since, count, why), self._refused = self._refused, None
        text = f"{count} records refused: {why}; {how}"
        log.warning("%s", text)
        event = Event(self.name, EventKind.GAP, text, since, "", self.clock.utc_ns(), count)
        self.queue.put(event, urgent=True)

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
        # Two events of one kind never share a stamp: the database would keep only the later one.
        stamp = max(self.clock.utc_ns() if at is None else at, self._latest_stamps.get((kind, instrument), 0) + 1)
        self._latest_stamps[kind, instrument] = stamp
        self.keep(Event(self.name, kind, text, stamp, instrument, until, missed, raw))

    def notice_synchronisation(self) -> None:
        """Ask whether the wall clock follows a time server, and record an event when that has changed."""
        now = self.clock.synchronised()
        if now is not self.synchronised and False in {now, self.synchronised}:
            what = "follows no time server: readings are marked" if now is False else "follows a time server"
            self.event(EventKind.CLOCK_SYNC, f"the wall clock {what}")
        self.synchronised = now


async def watch_clock(station: Station) -> None:
    """Report when the wall clock is set or the machine has slept, and let every follower align its grid again."""
    clock = station.clock
    offset = ahead_ns(clock)
    asleep, rounds = clock.asleep(), 0
    while True:
        await clock.sleep_until(clock.monotonic() + 1.0)
        now, sleep = ahead_ns(clock), clock.asleep()
        slept, asleep = sleep - asleep, sleep
        step, offset = (now - offset) / NANOSECONDS - slept, now
        if slept > STEP:
            since = clock.utc_ns() - round((slept + 1.0) * NANOSECONDS)
            text = f"the machine was suspended for {slept:.1f} s"
            station.event(EventKind.GAP, text, at=since, until=clock.utc_ns())
        if abs(step) > STEP:
            station.event(EventKind.CLOCK_STEP, f"the wall clock was set by {step:+.3f} s")
        if slept > STEP or abs(step) > STEP:
            station.clock_steps += 1
        rounds += 1
        if rounds % 10 == 0:
            station.notice_synchronisation()
