"""What is to be sent next, and what is under way: in order, what was sent in vain first, the newest beside a backlog.

The window of batches under way follows the road: it grows with each acknowledgement and is halved by lateness.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from daq.road.ranges import Ranges

if TYPE_CHECKING:
    from daq.host.clock import Clock
    from daq.road.batch import Ack
    from daq.spool.queue import Spool

log = logging.getLogger(__name__)

WINDOW = 16
"""Batches under way at once, to begin with: each one acknowledged allows one more, one that is late halves it."""
SMALLEST_WINDOW, LARGEST_WINDOW = 8, 64
LIVE_WINDOW = 4
"""Batches of them that are kept for the newest records while a backlog is sent."""
BACKLOG = 8_000
"""Unsent records that make a backlog: older ones then give way to new ones."""
BATCH_LINES = 500
BATCH_BYTES = 200_000
RESEND = 5.0
"""Seconds without acknowledgement after which a batch is sent again; doubled each time, up to `LONGEST_RESEND`."""
LONGEST_RESEND = 30.0
PROGRESS = 10.0
"""Seconds between two log lines that say how a backlog is getting on."""


@dataclass(frozen=True, slots=True)
class Run:
    """Records first..last that are to be sent, or are under way; `tries` counts how often they were."""

    first: int
    last: int
    live: bool = False
    tries: int = 0
    due: float = 0.0


@dataclass(slots=True)
class Backfill:
    """How a backlog is getting on: records that it still has, and records a second."""

    started: float
    begun_with: int
    left: int
    rate: float = 0.0
    logged: float = 0.0

    def move_on(self, now: float, left: int) -> None:
        """Note what is left; say it from time to time."""
        self.rate = (self.begun_with - left) / max(0.001, now - self.started)
        self.left = left
        if now - self.logged >= PROGRESS:
            self.logged = now
            ahead = f", about {left / self.rate:.0f} s more" if self.rate > 0 else ""
            log.info("backlog: %d of %d records left, %.0f a second%s", left, self.begun_with, self.rate, ahead)


class Outgoing:
    """The runs of records that one station sends; knows the spool, and nothing of a connection."""

    def __init__(self, spool: Spool, clock: Clock) -> None:
        self.resent = 0
        self.window = WINDOW
        self.backfill: Backfill | None = None
        self._spool = spool
        self._clock = clock
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Forget what was sent: the spool has another epoch."""
        self._next = 1
        self._newest: tuple[int, int] | None = None  # while there is a backlog: where the newest began, and the next
        self._again: deque[Run] = deque()
        self._under_way: dict[int, Run] = {}
        self._sent = Ranges()
        self._look_again = False

    def look_again(self) -> None:
        """Send from the first waiting record on: some that were stored wait again."""
        self._look_again = True  # done by the sender, which may be reading from the disk at this moment

    def take_back_all(self) -> None:
        """Let whatever is under way be sent again: it may have died with the connection."""
        self._again.extend(Run(one.first, one.last, one.live) for one in self._under_way.values())
        self._under_way.clear()

    @property
    def has_room(self) -> bool:
        """Whether one more batch may be under way."""
        return len(self._under_way) < self.window

    def sending(self, run: Run) -> None:
        """Note that a run goes out now."""
        self._under_way[run.first] = run
        self._sent.add(run.first, run.last)

    def first_unsent(self, first: int, last: int) -> int | None:
        """Give the first record of first..last that was never sent; None where all were."""
        unsent = self._sent.next_missing(first)
        return unsent if unsent <= last else None

    def settle(self, ack: Ack) -> None:
        """Take what is stored or rejected off the road, and let the window follow."""
        done = [*ack.stored, *((one.seq, one.seq) for one in ack.rejected)]
        soon = self._clock.monotonic() + RESEND
        for first, run in list(self._under_way.items()):
            if self._spool.is_done(first, run.last) and any(a <= run.last and first <= b for a, b in done):
                del self._under_way[first]
                self.window = min(self.window + 1, LARGEST_WINDOW)
            elif run.due > soon:  # the road works again: what was sent in vain meanwhile need not wait any longer
                self._under_way[first] = Run(first, run.last, run.live, 1, soon)

    def take_back_late(self) -> None:
        """Let what nobody acknowledged in time be sent again, and halve the window."""
        now = self._clock.monotonic()
        late = [run for run in self._under_way.values() if run.due <= now]
        for run in late:
            del self._under_way[run.first]
            self._again.append(run)
        if late:
            self.resent += len(late)
            self.window = max(self.window // 2, SMALLEST_WINDOW)

    def note_backfill(self) -> None:
        """Note how a backlog gets on, where there is one."""
        now = self._clock.monotonic()
        if self._newest is None:
            if self.backfill is not None:
                took = now - self.backfill.started
                log.info("backlog of %d records sent in %.1f s", self.backfill.begun_with, took)
            self.backfill = None
            return
        left = self._spool.waiting_until(self._newest[0])
        if self.backfill is None:
            self.backfill = Backfill(now, left, left)
        self.backfill.move_on(now, left)

    async def next_run(self) -> tuple[Run, list[bytes]] | None:
        """Give what is to be sent next: what was sent in vain, then the newest of all, then the oldest."""
        if (found := await self._next_again()) is not None:
            return found
        if self._look_again:
            self._next, self._newest, self._look_again = 1, None, False
        self._divide()
        return await (self._next_in_order() if self._newest is None else self._next_of_two_lanes(*self._newest))

    async def _next_again(self) -> tuple[Run, list[bytes]] | None:
        while again := self._again:
            old = again[0]  # stays there while it is read: a connection or a disk that breaks meanwhile costs no run
            found = await self._run(old.first, old.last, live=old.live, tries=old.tries + 1)
            again.popleft()
            if found is not None:
                if found[0].last < old.last:
                    again.appendleft(Run(found[0].last + 1, old.last, old.live, old.tries))
                return found
        return None

    async def _next_in_order(self) -> tuple[Run, list[bytes]] | None:
        found = await self._run(self._next, self._spool.committed)
        if found is not None:
            self._next = found[0].last + 1
        return found

    async def _next_of_two_lanes(self, begin: int, after: int) -> tuple[Run, list[bytes]] | None:
        """Give the newest records from `after` on their share of the window, and the rest to those before `begin`."""
        live = sum(run.live for run in self._under_way.values())
        if live < LIVE_WINDOW and (found := await self._run(after, self._spool.committed, live=True)) is not None:
            self._newest = (begin, found[0].last + 1)
            return found
        if len(self._under_way) - live >= self.window - LIVE_WINDOW:
            return None
        if (found := await self._run(self._next, begin - 1)) is not None:
            self._next = found[0].last + 1
            return found
        if self._newest is not None:  # it is None where the spool has begun another epoch meanwhile
            self._next, self._newest = after, None  # the backlog has caught up with the newest
        return await self._next_in_order()

    def _divide(self) -> None:
        """Where too much waits to be sent in order, let the newest records begin a queue of their own."""
        if self._newest is None and self._spool.waiting_from(self._next) > BACKLOG:
            begin = self._spool.committed - BATCH_LINES + 1
            self._newest = (begin, begin)

    async def _run(
        self, first: int, last: int, *, live: bool = False, tries: int = 0
    ) -> tuple[Run, list[bytes]] | None:
        """Give the first waiting records of first..last that fit into one batch."""
        found = await self._spool.run_from(first, min(BATCH_LINES, max(1, last - first + 1)))
        if found is None or found[0] > last:
            return None
        start, lines = found
        lines = lines[: last - start + 1]
        size = 0
        for count, line in enumerate(lines, 1):
            size += len(line) + 1
            if size > BATCH_BYTES:
                lines = lines[:count]
                break
        wait = min(LONGEST_RESEND, RESEND * 2.0**tries) * random.uniform(0.9, 1.1)  # noqa: S311  # spreads stations
        due = self._clock.monotonic() + (wait if tries else RESEND)
        return Run(start, start + len(lines) - 1, live, tries, due), lines
