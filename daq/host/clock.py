"""Time behind an interface: the daemon asks a Clock, and tests give it one that they can set."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from daq.host.timer import Timer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

NANOSECONDS = 1_000_000_000
STEP = 0.050
"""A wall clock that moves by more than this many seconds against the monotonic clock was set, or the machine slept."""
_READ_WITHIN = 100e-6  # seconds within which both clocks are to be read
_ATTEMPTS = 10
_NOTHING_NEW = 1_000_000  # nanoseconds between two looks that are no suspension
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised


class Clock(Protocol):
    """The two times of a station: monotonic seconds for pacing, UTC nanoseconds for stamps."""

    def monotonic(self) -> float:
        """Give seconds that no operator can set."""

    def utc_ns(self) -> int:
        """Give the wall clock in nanoseconds since 1970 UTC."""

    def asleep(self) -> float:
        """Give the seconds that this machine has been suspended; the monotonic clock does not count them."""

    def synchronised(self) -> bool | None:
        """Say whether the wall clock follows a time server; None where that is unknown."""

    async def sleep_until(self, instant: float) -> None:
        """Return at or after the monotonic `instant`, never before."""


class SystemClock:
    """The clock of this machine."""

    def __init__(self) -> None:
        self._timer: Timer | None = None
        self._asleep_ns = 0

    def monotonic(self) -> float:
        """Give CLOCK_MONOTONIC in seconds, the clock of the event loop."""
        return time.monotonic()

    def utc_ns(self) -> int:
        """Give the wall clock in nanoseconds since 1970 UTC."""
        return time.time_ns()

    def asleep(self) -> float:
        """Give the seconds that this machine has been suspended since it was started.

        Asked twice for each reading: a first look is enough where it shows nothing new.
        """
        seen = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()
        if abs(seen - self._asleep_ns) > _NOTHING_NEW:
            self._asleep_ns = _ahead_ns(lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME), time.monotonic)
        return self._asleep_ns / NANOSECONDS

    def synchronised(self) -> bool | None:
        """Say whether the wall clock follows a time server; None where that is unknown."""
        return synchronised()

    async def sleep_until(self, instant: float) -> None:
        """Sleep once; a late wake-up shifts no later instant."""
        left = instant - time.monotonic()
        timer = self._timer_of(asyncio.get_running_loop()) if left > 0 else None
        if timer is None:
            await asyncio.sleep(max(0.0, left))
        else:
            await timer.sleep_until(instant)

    def _timer_of(self, loop: asyncio.AbstractEventLoop) -> Timer | None:
        """Give the timer of this loop; None where the system gives none: the loop's own is less exact, and works."""
        if self._timer is not None and self._timer.loop is not loop:
            self._timer.close()
            self._timer = None
        if self._timer is None:
            with contextlib.suppress(OSError):
                self._timer = Timer(loop)
        return self._timer


async def wait(clock: Clock, work: Iterable[asyncio.Future[Any]], seconds: float) -> bool:
    """Wait until all of `work` has ended, at most `seconds` of the clock; gives whether it has. Cancels nothing."""
    waiting = asyncio.ensure_future(asyncio.wait(set(work)))
    timeout = asyncio.ensure_future(clock.sleep_until(clock.monotonic() + seconds))
    try:
        await asyncio.wait({waiting, timeout}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        timeout.cancel()
        waiting.cancel()
        await asyncio.wait({waiting, timeout})
    return not waiting.cancelled()


def synchronised() -> bool | None:
    """Say whether this machine's wall clock follows a time server; None where that is unknown.

    systemd-timesyncd writes a file. chrony and ntpd set the kernel's state, which a sandboxed service may not read.
    """
    if Path("/run/systemd/timesync/synchronized").exists():
        return True
    state = ctypes.create_string_buffer(512)  # struct timex, larger than on any architecture; modes 0 only reads
    answer: int = ctypes.CDLL(None).adjtimex(state)
    return None if answer < 0 else answer != _TIME_ERROR


def _ahead_ns(shown_ns: Callable[[], int], monotonic: Callable[[], float]) -> int:
    """Give how far another clock is ahead of the monotonic one.

    A busy machine may interrupt the thread between its readings of the two, for many milliseconds: then it reads again.
    """
    for _ in range(_ATTEMPTS):
        before, shown, after = monotonic(), shown_ns(), monotonic()
        if after - before < _READ_WITHIN:
            break
    return shown - round((before + after) / 2 * NANOSECONDS)


def ahead_ns(clock: Clock) -> int:
    """Give how far the wall clock is ahead of the monotonic one; it changes where the wall clock is set."""
    return _ahead_ns(clock.utc_ns, clock.monotonic)


def utc_ns_at(clock: Clock, instant: float) -> int:
    """Give the UTC nanoseconds of a monotonic instant of the near past or future."""
    return ahead_ns(clock) + round(instant * NANOSECONDS)


def elapsed(clock: Clock) -> float:
    """Give the seconds of the monotonic clock and of all suspensions, which it does not count, together."""
    return clock.monotonic() + clock.asleep()


def marks(since: int, now: int, period: float) -> int:
    """Count the marks of a period (s) behind `since` up to `now` (UTC ns): so many times an instrument was due."""
    step = round(period * NANOSECONDS)
    return now // step - since // step


def first_tick(clock: Clock, period: float) -> float:
    """Give the next monotonic instant at which the wall clock shows a whole multiple of `period` (seconds)."""
    now = clock.monotonic()
    wall = utc_ns_at(clock, now) / NANOSECONDS
    return now + math.ceil(wall / period) * period - wall
