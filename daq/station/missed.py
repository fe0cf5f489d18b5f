"""Counts the polls of one instrument that were due and not taken, and tells each of them in exactly one event.

A poll is one question with all the channels that its reply feeds. What is missed while a poll fails is told when it can
be read again, as an event `gap`; what is missed because an answer took longer than the period, as an event `missed`.
At any moment the sum of `missed` over the events and over what is still open here equals `total`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from daq.road.reading import EventKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from daq.station.records import Station

THE_STOP = "the station stops"
"""Why the reading of an instrument ends where the whole station does."""
REPORT = 60.0
"""Seconds between two events that say how many ticks a slow instrument missed."""


@dataclass(slots=True)
class Gap:
    """A time in which some polls are not taken: since when (UTC ns), why, which, and how many were missed."""

    since: int
    cause: str
    polls: set[int]
    missed: int = 0


class Missed:
    """The account of one instrument with so many polls."""

    def __init__(self, station: Station, instrument: str, polls: int) -> None:
        self.total = 0
        self._station = station
        self._instrument = instrument
        self._polls = polls
        self._gaps: list[Gap] = []
        self._slow = 0
        self._slow_since = self._slow_until = 0
        self._reported = station.clock.monotonic()
        self._closed = False
        self._untold: list[tuple[EventKind, str, int, int, int]] = []

    @property
    def failing(self) -> bool:
        """Whether any poll is in a gap."""
        return bool(self._gaps)

    def is_failing(self, poll: int) -> bool:
        """Whether this poll is in a gap."""
        return any(poll in gap.polls for gap in self._gaps)

    def failed(self, polls: Iterable[int], cause: str) -> None:
        """Count these polls of one tick as missed; those that were well until now begin a gap with this cause."""
        for poll in polls if not self._closed else ():
            gap = next((one for one in self._gaps if poll in one.polls), None)
            if gap is None:
                gap = self._gap_since_now(cause)
                gap.polls.add(poll)
            gap.missed += 1
            self._count(1)

    def read(self, poll: int, how: str = "read again") -> None:
        """Note that this poll was taken; ends its gap."""
        for gap in [one for one in self._gaps if poll in one.polls]:
            gap.polls.discard(poll)
            if not gap.polls:
                self._end(gap, how)

    def passed(self, ticks: int, since: int, cause: str = "") -> None:
        """Count ticks from `since` (UTC ns) on at which nothing was asked; with a `cause` they are told at once."""
        if self._closed:
            return
        if ticks <= 0:
            self._tell_slow_in_time()
            return
        if cause:
            self._put_slow(EventKind.MISSED, "passed while an answer was awaited")
        self._slow_until = self._station.clock.utc_ns()
        for poll in range(self._polls):
            gap = next((one for one in self._gaps if poll in one.polls), None)
            if gap is not None:
                gap.missed += ticks
            else:
                self._slow_since = self._slow_since or since
                self._slow += ticks
            self._count(ticks)
        if cause:
            self._tell_slow(EventKind.GAP, cause)
        else:
            self._tell_slow_in_time()

    def close(self, how: str) -> None:
        """Tell everything that is still open."""
        for gap in list(self._gaps):
            self._end(gap, how)
        self._tell_slow(EventKind.MISSED, "passed while an answer was awaited")

    def close_for_good(self, how: str) -> None:
        """Tell everything that is still open, and count nothing any more: others account for what comes later."""
        try:
            self.close(how)
        finally:
            self._closed = True

    def _tell_slow_in_time(self) -> None:
        if self._slow and self._station.clock.monotonic() - self._reported >= REPORT:
            self._tell_slow(EventKind.MISSED, "passed while an answer was awaited")

    def _gap_since_now(self, cause: str) -> Gap:
        now = self._station.clock.utc_ns()
        same = next((one for one in self._gaps if (one.since, one.cause) == (now, cause)), None)
        if same is None:
            same = Gap(now, cause, set())
            self._gaps.append(same)
        return same

    def _count(self, polls: int) -> None:
        self.total += polls
        self._station.missed += polls

    def _end(self, gap: Gap, how: str) -> None:
        text = f"{gap.missed} polls not taken: {gap.cause}; {how}"
        self._tell(EventKind.GAP, text, gap.since, self._station.clock.utc_ns(), gap.missed)
        self._gaps.remove(gap)  # only now: what could not be told is told later

    def _put_slow(self, kind: EventKind, cause: str) -> None:
        if self._slow:
            text = f"{self._slow} polls not taken: {cause}"
            self._untold.append((kind, text, self._slow_since, self._slow_until, self._slow))
            self._slow = self._slow_since = 0

    def _tell_slow(self, kind: EventKind, cause: str) -> None:
        self._put_slow(kind, cause)
        while self._untold:
            self._tell(*self._untold[0])
            del self._untold[0]  # only now: what could not be told is told later
            self._reported = self._station.clock.monotonic()

    def _tell(self, kind: EventKind, text: str, since: int, until: int, missed: int) -> None:
        until = max(since, until)  # the wall clock may have been set back meanwhile
        self._station.event(kind, text, instrument=self._instrument, at=since, until=until, missed=missed)
