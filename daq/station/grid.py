"""The ticks of one follower: an absolute grid of the monotonic clock, aligned to the wall clock.

A tick that was missed is counted and never made up. Where the wall clock is set, or the machine sleeps, the grid is
aligned again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from daq.host.clock import NANOSECONDS, STEP, ahead_ns, elapsed, first_tick

if TYPE_CHECKING:
    from collections.abc import Callable

    from daq.host.clock import Clock
    from daq.station.missed import Missed

LOOK = 1.0
"""Seconds between two looks at the wall clock while the next tick is far away."""
AT_ITS_MARK = 60.0
"""Seconds of a period from which on a reading is taken at its mark of the wall clock, or not at all."""
EXACT = 1e-6
"""Part of a period by which sums of floats may be wrong."""
FOLLOW = 0.001
"""Seconds by which the grid may be away from the wall clock before it follows: time servers correct in small steps."""


@dataclass(slots=True)
class Grid:
    """Ticks at multiples of `period` (s); `account` counts those that passed, `slept` is called where the machine did.

    Instants are seconds of the monotonic clock.
    """

    clock: Clock
    period: float
    account: Missed
    slept: Callable[[], None]
    resume_from: float | None = None
    """First tick that is not accounted for, of this grid or of the one that it replaces.

    In seconds of the monotonic clock and of the suspension of the machine, which that clock does not count, together.
    """
    until: float = math.inf
    """Instant after which no tick is due, in seconds as those of `resume_from`."""
    _asleep: float = field(default=0.0, init=False)
    """Seconds of suspension up to `resume_from`."""
    _asleep_known: bool = field(default=False, init=False)
    _asleep_now: float = field(default=0.0, init=False)
    """The same at the last look before a question; 0.0 where there was none."""
    _aligned: int = field(default=0, init=False)
    """Nanoseconds by which the wall clock was ahead of the monotonic one where the grid was aligned."""
    _ahead: int = field(default=0, init=False)
    """The same at the last look."""

    def align(self, why: str) -> float:
        """Give the first tick; those since `resume_from` are counted as missed, because of `why` or a suspension."""
        asleep, self._aligned = self.clock.asleep(), ahead_ns(self.clock)
        tick = first_tick(self.clock, self.period)
        if self.resume_from is not None:
            suspended = self._asleep_known and asleep - self._asleep > STEP
            since = tick + asleep - self.resume_from
            passed = math.floor((since + min(STEP, self.period / 2)) / self.period)
            cause = "the machine was suspended" if suspended else why
            self.resume_from = tick + asleep  # before it is told, which may fail: it is counted by then
            self.account.passed(passed, self.utc(tick) - round(since * NANOSECONDS), cause)
        self._asleep, self._asleep_known = asleep, True
        return tick

    async def reach(self, tick: float) -> bool:
        """Sleep until the tick; False at once where the wall clock was set or the machine has slept."""
        self.resume_from = tick + self._asleep
        clock = self.clock
        while (left := tick - clock.monotonic()) > LOOK:
            await clock.sleep_until(clock.monotonic() + min(left, LOOK))
            if self._is_set():
                return False
        await clock.sleep_until(tick)
        return not self._is_set()

    def leave(self, tick: float) -> float:
        """Count the ticks that passed while `tick` was served; gives the next one."""
        passed = self.passed(tick)
        since = self.utc(tick + self.period) if passed else 0
        tick += (passed + 1) * self.period
        self.resume_from = tick + self._asleep
        self.account.passed(passed, since)
        return tick

    def follow(self, tick: float) -> float:
        """Move a tick with the wall clock, as far as that had moved at the last look."""
        drift = (self._ahead - self._aligned) / NANOSECONDS
        if abs(drift) <= FOLLOW:
            return tick
        self._aligned += round(drift * NANOSECONDS)
        return tick - drift

    def passed(self, tick: float) -> int:
        """Give how many ticks behind `tick` are over by now."""
        now = self.clock.monotonic()
        if self.until < math.inf:
            now = min(now, self.until - self.clock.asleep())
        return max(0, math.floor((now - tick) / self.period))

    def realign(self, tick: float) -> bool:
        """Count the ticks that the machine has slept through; gives whether this tick is to be read all the same.

        A wall clock that was set makes no tick pass. Where it is found at the tick itself, and the next mark is far,
        the reading is taken now: else two of them would lie up to two periods apart.
        """
        clock = self.clock
        now, slept = clock.monotonic(), clock.asleep() - self._asleep
        self.resume_from = None
        if slept > STEP:
            self.slept()
            passed = math.floor((now + slept - tick) / self.period + EXACT) + 1
            since = clock.utc_ns() - round((now + slept - tick) * NANOSECONDS)
            self.account.passed(passed, since, "the machine was suspended")
            return False
        if now < tick or first_tick(clock, self.period) - now < self.period / 2:
            return False
        if self.period > AT_ITS_MARK:
            self.account.passed(1, clock.utc_ns(), "the wall clock was set at this instant")
            return False
        return True

    def end(self, why: str) -> None:
        """Count the ticks that are over, where the follower ends while it should have asked."""
        if self.resume_from is None or not self.period:
            return
        now = elapsed(self.clock)
        late = min(self.until, now) - self.resume_from
        if late > 0:
            passed = math.floor(late / self.period) + 1
            since = self.clock.utc_ns() - round((now - self.resume_from) * NANOSECONDS)
            self.resume_from += passed * self.period
            self.account.passed(passed, since, why)

    def asleep_before(self) -> float:
        """Give the seconds of suspension before a question: by the last look at the tick, for the first one of it."""
        asleep, self._asleep_now = self._asleep_now or self.clock.asleep(), 0.0
        return asleep

    def utc(self, instant: float) -> int:
        """Give an instant in ns since 1970 UTC, by the wall clock of now."""
        return ahead_ns(self.clock) + round(instant * NANOSECONDS)

    def _is_set(self) -> bool:
        self._ahead, self._asleep_now = ahead_ns(self.clock), self.clock.asleep()
        return abs(self._ahead - self._aligned) > STEP * NANOSECONDS or self._asleep_now - self._asleep > STEP
