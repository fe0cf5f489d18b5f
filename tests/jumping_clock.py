"""A clock for tests that jumps to the next instant somebody waits for; no test waits for real time."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from typing import Any

NANOSECONDS = 1_000_000_000


class JumpingClock:
    """Implements `daq.host.clock.Clock`; starts at UTC 2026-01-01 00:00:00.3 and moves only in `run_for`."""

    def __init__(self, utc_ns: int = 1_767_225_600_300_000_000, late: float = 0.0) -> None:
        """`late`: who sleeps wakes up to so many seconds after its instant, as on a real machine."""
        self._late = late
        self._dice = random.Random(1)
        self._now = 1000.0
        self._offset_ns = utc_ns - round(self._now * NANOSECONDS)
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._asleep = 0.0
        self.follows: bool | None = True

    def monotonic(self) -> float:
        return self._now

    def utc_ns(self) -> int:
        return round(self._now * NANOSECONDS) + self._offset_ns

    def asleep(self) -> float:
        return self._asleep

    def synchronised(self) -> bool | None:
        return self.follows

    def suspend(self, seconds: float) -> None:
        """Let the machine sleep: the wall clock goes on, the monotonic one does not."""
        self._asleep += seconds
        self.step_wall(seconds)

    def step_wall(self, seconds: float) -> None:
        """Set the wall clock, as an operator or NTP would."""
        self._offset_ns += round(seconds * NANOSECONDS)

    async def sleep_until(self, instant: float) -> None:
        if instant <= self._now:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (instant, next(self._order), future))
        await future

    async def run_for(self, seconds: float) -> None:
        """Let everything happen that is due within `seconds`, in its order."""
        end = self._now + seconds
        await _settle()
        while self._waiting and self._waiting[0][0] <= end:
            instant, _, future = heapq.heappop(self._waiting)
            if future.cancelled():
                continue
            self._now = max(self._now, instant + self._dice.uniform(0.0, self._late))
            future.set_result(None)
            await _settle()
        self._now = end

    async def finish(self, task: asyncio.Task[Any]) -> None:
        """Let time pass until a task that is ending has ended; ten minutes at most."""
        end = self._now + 600.0
        while not task.done():
            assert self._now < end, "the task does not end"
            await self.run_for(0.1)


async def _settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)
