"""Reports what happens to the clock of a station: steps, suspension, synchronisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daq.host.clock import NANOSECONDS, STEP, ahead_ns
from daq.road.reading import EventKind

if TYPE_CHECKING:
    from daq.station.records import Station


async def watch_clock(station: Station) -> None:
    """Report when the wall clock is set or the machine has slept; every follower notices it by itself."""
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
        rounds += 1
        if rounds % 10 == 0:
            station.notice_synchronisation()
