"""Time, handed over: the daemon asks a Clock and tests hand it one that jumps."""

from __future__ import annotations

import asyncio
import ctypes
import math
import time
from pathlib import Path
from typing import Protocol

NANOSECONDS = 1_000_000_000
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
        """Say whether the wall clock follows a time server; None where nobody can tell."""

    async def sleep_until(self, instant: float) -> None:
        """Return at or after the monotonic `instant`, never before."""


class SystemClock:
    """The clock of this machine."""

    def monotonic(self) -> float:
        """Give the seconds that the event loop counts, too: CLOCK_MONOTONIC."""
        return time.monotonic()

    def utc_ns(self) -> int:
        """Give the wall clock in nanoseconds since 1970 UTC."""
        return time.time_ns()

    def asleep(self) -> float:
        """Give the seconds that this machine has been suspended since it was started."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()

    def synchronised(self) -> bool | None:
        """Say whether the wall clock follows a time server; None where nobody can tell."""
        return synchronised()

    async def sleep_until(self, instant: float) -> None:
        """Sleep once; a late wake-up shifts no later instant."""
        await asyncio.sleep(max(0.0, instant - time.monotonic()))


def synchronised() -> bool | None:
    """Say whether this machine's wall clock follows a time server; None where nobody can tell.

    systemd-timesyncd leaves a file. chrony and ntpd tell the kernel, which the sandbox of the service may not ask.
    """
    if Path("/run/systemd/timesync/synchronized").exists():
        return True
    state = ctypes.create_string_buffer(512)  # struct timex, larger than on any architecture; modes 0 only reads
    answer: int = ctypes.CDLL(None).adjtimex(state)
    return None if answer < 0 else answer != _TIME_ERROR


def utc_ns_at(clock: Clock, instant: float) -> int:
    """Give the UTC nanoseconds of a monotonic instant of the near past or future."""
    return clock.utc_ns() - round((clock.monotonic() - instant) * NANOSECONDS)


def first_tick(clock: Clock, period: float) -> float:
    """Give the next monotonic instant at which the wall clock shows a whole multiple of `period` (seconds)."""
    wall = clock.utc_ns() / NANOSECONDS
    return clock.monotonic() + math.ceil(wall / period) * period - wall
