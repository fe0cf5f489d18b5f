"""A follower that hangs is seen, ended and started again; the others read on, and the time is a gap with its cause."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from daq.road.reading import EventKind
from daq.station.acquisition import Follower
from daq.station.records import Station
from daq.station.supervision import Supervisor
from drivers.balances.mt_sics import mt_sics
from drivers.instrument import Instrument
from tests.followed import SECOND, Records, Wire, balance
from tests.jumping_clock import JumpingClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Hanging(Wire):
    """A wire whose answer never comes, against every rule of a link: no time-out ends it."""

    hangs = False
    deaf = False

    async def ask(self, query: Any) -> bytes:
        while self.hangs:
            try:
                await self.clock.sleep_until(self.clock.monotonic() + 0.1)
            except asyncio.CancelledError:
                if not self.deaf:
                    raise
        return await super().ask(query)


@asynccontextmanager
async def supervisor() -> AsyncIterator[tuple[JumpingClock, Records, Hanging, Supervisor]]:
    clock, records = JumpingClock(), Records()
    station = Station("lab", records, clock)
    bad, good = Hanging(clock, balance), Wire(clock, balance)
    followers = [
        Follower(station, Instrument(name, mt_sics(), wire, "B1", clock.monotonic), 1.0)
        for name, wire in (("bad", bad), ("good", good))
    ]
    made = Supervisor(station, followers)
    task = asyncio.create_task(made.run())
    try:
        yield clock, records, bad, made
    finally:
        bad.deaf = False
        task.cancel()
        await clock.finish(task)


async def test_follower_that_hangs_is_started_again() -> None:
    async with supervisor() as (clock, records, wire, made):
        await clock.run_for(10.0)
        before = sum(one.series.instrument == "bad" for one in records.readings)
        wire.hangs = True
        await clock.run_for(36.0)
        assert made.followers["bad"].restarts == 1
        wire.hangs = False
        await clock.run_for(60.0)
    (restart,) = records.events(EventKind.RESTART)
    assert restart.instrument == "bad"
    assert "no progress for" in restart.text
    (gap,) = records.events(EventKind.GAP)
    assert gap.until is not None
    stamps = [one.at for one in records.readings if one.series.instrument == "bad"]
    assert all(later > earlier for earlier, later in pairwise(stamps))
    last, again = stamps[before - 1], stamps[before]
    assert gap.at <= last + 2 * SECOND, "the gap begins where the readings end"
    assert abs(gap.until - again) < SECOND
    assert abs(gap.missed - (again - last) // SECOND) <= 2
    good = [one.at for one in records.readings if one.series.instrument == "good"]
    assert max(later - earlier for earlier, later in pairwise(good)) < 1.1 * SECOND, "the other one reads on"


async def test_follower_that_hangs_again_and_again_waits_longer() -> None:
    async with supervisor() as (clock, records, wire, _):
        wire.hangs = True
        await clock.run_for(1_200.0)
    restarts = [one.at for one in records.events(EventKind.RESTART)]
    waits = [later - earlier for earlier, later in pairwise(restarts)]
    assert waits[-1] > waits[0]
    assert waits[-1] < 130 * SECOND


async def test_follower_that_cannot_be_ended_is_left_to_the_watchdog() -> None:
    async with supervisor() as (clock, _, wire, made):
        await clock.run_for(3.0)
        before = made.stuck
        wire.hangs = wire.deaf = True
        await clock.run_for(100.0)
        assert (before, made.stuck) == (None, "bad")
        wire.hangs = wire.deaf = False


async def test_suspended_machine_is_a_gap_and_no_step_of_the_clock() -> None:
    async with supervisor() as (clock, records, _, _):
        await clock.run_for(10.0)
        clock.suspend(3_600.0)
        await clock.run_for(10.0)
    gaps = [one for one in records.events(EventKind.GAP) if "suspended" in one.text]
    assert len(gaps) == 1
    assert gaps[0].until is not None
    assert abs(gaps[0].until - gaps[0].at - 3_600 * SECOND) < 2 * SECOND
    assert not records.events(EventKind.CLOCK_STEP)
    stamps = [one.at for one in records.readings if one.series.instrument == "good"]
    assert stamps[-1] % SECOND < 0.1 * SECOND, "the grid follows the wall clock"
