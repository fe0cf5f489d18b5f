"""A reading has the instant of its own acquisition, at the mark of the wall clock, and never one of another reading."""

from __future__ import annotations

import asyncio
import math
from decimal import Decimal

from daq.road.reading import EventKind
from daq.station.acquisition import Follower
from daq.station.clock_watch import watch_clock
from daq.station.records import Station
from drivers.balances.mt_sics import mt_sics
from drivers.driver import Channel, Driver, Identity, Poll, Sample, Text
from drivers.instrument import Instrument
from tests.followed import SECOND, Records, Wire, balance, running
from tests.jumping_clock import JumpingClock

DAY = 86_400.0


def waiting() -> Driver[Text]:
    """Give a balance that answers when its load is stable: seconds after the question."""
    poll = Poll(
        Text(b"S\r\n", timeout=60.0),
        (Channel("mass", "mass", "g"),),
        lambda _: (Sample(Decimal(100), "g"),),
        stamp="answer",
    )
    return Driver("a balance", (poll,), Identity(Text(b"I4\r\n"), lambda _: "B1"))


async def test_where_the_instrument_waits_the_stamp_is_the_answer() -> None:
    async with running(driver=waiting(), period=60.0, prove_every=math.inf) as (clock, records, wire, _):
        await clock.run_for(70.0)
        records.clear()
        wire.delay = 20.0
        await clock.run_for(80.0)
    (reading,) = records.readings
    assert abs(reading.at % (60 * SECOND) - 20 * SECOND) < 0.1 * SECOND
    assert abs(reading.rtt_ms - 20_000.0) < 100.0


async def test_mt_sics_that_waits_for_stability_says_so() -> None:
    assert mt_sics(wait_for_stability=True).polls[0].stamp == "answer"
    assert mt_sics().polls[0].stamp == "middle"


async def test_an_answer_that_was_awaited_while_the_machine_slept_is_no_reading() -> None:
    async with running(period=5.0, delay=0.5, prove_every=math.inf) as (clock, records, _, follower):
        await clock.run_for(7.0)
        before = len(records.readings)
        await clock.run_for(2.8)  # a question is under way
        clock.suspend(3600.0)
        await clock.run_for(0.6)
        assert len(records.readings) == before
        assert "suspended" in follower.last_error
        await clock.run_for(20.0)
        assert len(records.readings) > before
    assert all(one.rtt_ms < 600.0 for one in records.readings)


async def test_a_period_of_a_day_is_read_at_its_mark_also_after_the_clock_was_set() -> None:
    async with running(period=DAY) as (clock, records, _, _):
        await clock.run_for(DAY / 24)  # it is 01:00
        clock.step_wall(20 * 3600.0)  # and now 21:00
        await clock.run_for(2 * DAY)
    assert len(records.readings) == 2
    assert all(one.at % (86_400 * SECOND) < SECOND for one in records.readings), "at midnight"


async def test_a_suspended_machine_reads_at_the_next_mark() -> None:
    async with running(period=3600.0) as (clock, records, _, _):
        await clock.run_for(600.0)
        clock.suspend(5 * 3600.0)
        await clock.run_for(3 * 3600.0)
    assert records.readings
    assert all(one.at % (3600 * SECOND) < SECOND for one in records.readings)


async def test_the_grid_follows_a_wall_clock_that_a_time_server_corrects_in_small_steps() -> None:
    async with running(period=1.0) as (clock, records, _, _):
        for _ in range(200):
            clock.step_wall(0.003)
            await clock.run_for(1.0)
    late = [one.at % SECOND for one in records.readings[1:]]
    assert max(min(one, SECOND - one) for one in late) < 0.02 * SECOND
    assert len(records.readings) >= 195


async def test_after_another_config_and_a_clock_set_back_stamps_still_rise() -> None:
    clock, records = JumpingClock(), Records()
    station = Station("lab", records, clock)

    async def follow(seconds: float) -> None:
        follower = Follower(station, Instrument("b", mt_sics(), Wire(clock, balance), "B1", clock.monotonic), 1.0)
        task = asyncio.create_task(follower.run())
        await clock.run_for(seconds)
        task.cancel()
        await clock.finish(task)

    await follow(10.0)
    clock.step_wall(-3600.0)
    await follow(10.0)
    stamps = [one.at for one in records.readings]
    assert stamps == sorted(set(stamps)), "no point takes the place of another one"
    held = [one for one in records.readings if one.clock == "held"]
    assert len(held) >= 9, "and each says that its stamp was held"
    assert all(one.clock_at is not None and one.clock_at < one.at for one in held)


async def test_the_stamps_of_the_run_before_are_a_floor() -> None:
    floor = 1_767_225_600_300_000_000 + 100 * SECOND
    async with running(last_run_stamp=floor) as (clock, records, _, _):
        await clock.run_for(10.0)
    assert records.readings[0].at == floor + 1
    assert records.readings[0].clock == "held"


async def test_two_events_of_one_kind_never_share_a_stamp_and_keep_their_own() -> None:
    clock, records = JumpingClock(), Records()
    station = Station("lab", records, clock)
    for at in (1000, 1000, 500, 1000):
        station.event(EventKind.GAP, "x", instrument="b", at=at)
    station.event(EventKind.GAP, "another instrument", instrument="c", at=1000)
    assert [one.at for one in records] == [1000, 1001, 500, 1002, 1000]


async def test_the_watch_tells_steps_and_suspension_apart() -> None:
    clock, records = JumpingClock(), Records()
    station = Station("lab", records, clock)
    task = asyncio.create_task(watch_clock(station))
    await clock.run_for(5.0)
    clock.step_wall(0.04)
    await clock.run_for(5.0)
    assert not records
    clock.step_wall(-2.5)
    await clock.run_for(5.0)
    clock.suspend(100.0)
    await clock.run_for(5.0)
    task.cancel()
    assert [one.text for one in records.events(EventKind.CLOCK_STEP)] == ["the wall clock was set by -2.500 s"]
    assert [one.text for one in records.events(EventKind.GAP)] == ["the machine was suspended for 100.0 s"]
