"""What is to be sent next, and what is under way (sent, and not acknowledged yet).

Records are sent in order; batches that were not acknowledged go first, and the newest records beside a backlog. The
window (how many batches may be under way) grows with each acknowledgement and is halved when a batch is late.
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
"""Batches under way at once, at the start: each one acknowledged allows one more, a late one halves the number."""
SMALLEST_WINDOW, LARGEST_WINDOW = 8, 64
LIVE_WINDOW = 4
"""Batches of the window that are reserved for the newest records while a backlog is sent."""
BACKLOG = 8_000
"""More unsent records than this are a backlog: new ones are then sent beside the older ones."""
BATCH_LINES = 500
BATCH_BYTES = 200_000
RESEND = 5.0
"""Seconds without acknowledgement after which a batch is sent again; doubled each time, up to `LONGEST_RESEND`."""
LONGEST_RESEND = 30.0
PROGRESS = 10.0
"""Seconds between two log messages with the progress of a backlog."""


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
    """Progress of a backlog: records at its start and left now, and records a second."""

    started: float
    total: int
    left: int
    rate: float = 0.0
    logged: float = 0.0

    def update(self, now: float, left: int) -> None:
        """Note what is left; log it from time to time."""
        self.rate = (self.total - left) / max(0.001, now - self.started)
        self.left = left
        if now - self.logged >= PROGRESS:
            self.logged = now
            estimate = f", about {left / self.rate:.0f} s more" if self.rate > 0 else ""
            log.info("backlog: %d of %d records left, %.0f a second%s", left, self.total, self.rate, estimate)


class Outgoing:
    """The runs of records that one station sends; it knows the spool, but no connection."""

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
        self._to_resend: deque[Run] = deque()
        self._under_way: dict[int, Run] = {}
        self._sent = Ranges()
        self._rescan = False

    def rescan(self) -> None:
        """Search from the first record on for what waits: some that were stored wait again."""
        self._rescan = True  # done by the sender, which may be reading from the disk at this moment

    def requeue_all(self) -> None:
        """Let all that is under way be sent again: it may have been lost with the connection."""
        self._to_resend.extend(Run(one.first, one.last, one.live) for one in self._under_way.values())
        self._under_way.clear()

    @property
    def has_room(self) -> bool:
        """Whether one more batch may be under way."""
        return len(self._under_way) < self.window

    def sending(self, run: Run) -> None:
        """Note that a run is sent now."""
        self._under_way[run.first] = run
        self._sent.add(run.first, run.last)

    def first_unsent(self, first: int, last: int) -> int | None:
        """Give the first record of first..last that was never sent; None where all were."""
        unsent = self._sent.next_missing(first)
        return unsent if unsent <= last else None

    def settle(self, ack: Ack) -> None:
        """Remove what is stored or rejected from what is under way, and enlarge the window."""
        done = [*ack.stored, *((one.seq, one.seq) for one in ack.rejected)]
        soon = self._clock.monotonic() + RESEND
        for first, run in list(self._under_way.items()):
            if self._spool.is_done(first, run.last) and any(a <= run.last and first <= b for a, b in done):
                del self._under_way[first]
                self.window = min(self.window + 1, LARGEST_WINDOW)
            elif run.due > soon:  # acknowledgements come again: what was sent without one need not wait for so long
                self._under_way[first] = Run(first, run.last, run.live, 1, soon)

    def requeue_late(self) -> None:
        """Let all that nobody acknowledged in time be sent again, and halve the window."""
        now = self._clock.monotonic()
        late = [run for run in self._under_way.values() if run.due <= now]
        for run in late:
            del self._under_way[run.first]
            self._to_resend.append(run)
        if late:
            self.resent += len(late)
            self.window = max(self.window // 2, SMALLEST_WINDOW)

    def note_backfill(self) -> None:
        """Note the progress of a backlog, where there is one."""
        now = self._clock.monotonic()
        if self._newest is None:
            if self.backfill is not None:
                took = now - self.backfill.started
                log.info("backlog of %d records sent in %.1f s", self.backfill.total, took)
            self.backfill = None
            return
        left = self._spool.waiting_until(self._newest[0])
        if self.backfill is None:
            self.backfill = Backfill(now, left, left)
        self.backfill.update(now, left)

    async def next_run(self) -> tuple[Run, list[bytes]] | None:
        """Give what is to be sent next: batches to resend, then (in a backlog) the newest records, then the oldest."""
        if (found := await self._next_again()) is not None:
            return found
        if self._rescan:
            self._next, self._newest, self._rescan = 1, None, False
        self._divide()
        return await (self._next_in_order() if self._newest is None else self._next_beside_backlog(*self._newest))

    async def _next_again(self) -> tuple[Run, list[bytes]] | None:
        while queue := self._to_resend:
            old = queue[0]  # stays there while it is read: a failing connection or disk loses no run
            found = await self._run(old.first, old.last, live=old.live, tries=old.tries + 1)
            queue.popleft()
            if found is not None:
                if found[0].last < old.last:
                    queue.appendleft(Run(found[0].last + 1, old.last, old.live, old.tries))
                return found
        return None

    async def _next_in_order(self) -> tuple[Run, list[bytes]] | None:
        found = await self._run(self._next, self._spool.committed)
        if found is not None:
            self._next = found[0].last + 1
        return found

    async def _next_beside_backlog(self, begin: int, after: int) -> tuple[Run, list[bytes]] | None:
        """Give the newest records (from `after` on) in their part of the window, else the backlog (before `begin`)."""
        live = sum(run.live for run in self._under_way.values())
        if live < LIVE_WINDOW and (found := await self._run(after, self._spool.committed, live=True)) is not None:
            self._newest = (begin, found[0].last + 1)
            return found
        if len(self._under_way) - live >= self.window - LIVE_WINDOW:
            return None
        if (found := await self._run(self._next, begin - 1)) is not None:
            self._next = found[0].last + 1
            return found
        if self._newest is not None:  # it is None where another epoch has begun meanwhile
            self._next, self._newest = after, None  # the backlog has caught up with the newest
        return await self._next_in_order()

    def _divide(self) -> None:
        """Where a backlog waits, start sending the newest records beside it."""
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
