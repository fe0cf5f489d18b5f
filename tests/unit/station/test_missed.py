"""Whatever goes wrong, events tell exactly the polls that were missed: they and the ledger agree."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daq.road.reading import EventKind, Record
from daq.spool.file import SpoolFull
from daq.station.acquisition import Follower
from daq.station.missed import REPORT
from daq.station.records import Station
from drivers.balances.mt_sics import mt_sics
from drivers.driver import Channel, Driver, Identity, Poll, Sample, Text
from drivers.errors import Lost, Silent, Unreadable
from drivers.instrument import Instrument
from tests.followed import SECOND, Records, Wire, balance, running
from tests.jumping_clock import JumpingClock


def channels(count: int) -> Driver[Text]:
    """Give a scanner: one question for each of its channels."""

    def decode(raw: bytes) -> tuple[Sample]:
        if raw == b"?":
            raise Unreadable("sensor open", raw)
        return (Sample(Decimal(1), "Ohm"),)

    return Driver(
        "a scanner",
        tuple(
            Poll(Text(b"R%d\r\n" % number), (Channel(f"r{number}", "resistance", "Ohm"),), decode)
            for number in range(count)
        ),
        Identity(Text(b"I4\r\n"), lambda _: "B1"),
    )


def in_one_answer(count: int) -> Driver[Any]:
    """Give a driver whose one poll has so many channels."""
    channels = tuple(Channel(f"t{number}", "temperature", "Cel") for number in range(count))
    poll = Poll(Text(b"SEND\r\n"), channels, lambda _: (Sample(Decimal(20), "Cel"),) * count)
    return Driver("several in one", (poll,), Identity(Text(b"I4\r\n"), lambda _: "B1"))


async def test_a_slow_minute_and_then_a_gap_are_told_in_full() -> None:
    silent = False

    def answer(command: bytes) -> bytes:
        if silent:
            raise Silent("no answer within 1 s")
        return balance(command)

    async with running(answer) as (clock, records, wire, follower):
        await clock.run_for(5.0)
        wire.delay = 1.5
        await clock.run_for(20.0)
        silent = True
        await clock.run_for(20.0)
        silent, wire.delay = False, 0.02
        await clock.run_for(60.0)
    assert follower.missed > 10
    assert records.told == follower.missed == follower.station.missed
    assert all(one.until is not None for kind in ("gap", "missed") for one in records.events(EventKind(kind)))


async def test_slow_and_then_well_is_told_when_the_follower_ends() -> None:
    async with running() as (clock, records, wire, follower):
        wire.delay = 2.5
        await clock.run_for(50.0)
        wire.delay = 0.02
        await clock.run_for(5.0)
    assert follower.missed > 20
    assert records.told == follower.missed


async def test_three_channels_of_one_answer_are_one_poll() -> None:
    three = in_one_answer(3)
    fails = False

    def answer(_: bytes) -> bytes:
        if fails:
            raise Silent("no answer")
        return b"x"

    async with running(answer, driver=three) as (clock, records, _, follower):
        await clock.run_for(3.5)
        fails = True
        await clock.run_for(3.0)
        fails = False
        await clock.run_for(5.0)
    (gap,) = records.events(EventKind.GAP)
    assert gap.missed == follower.missed == 3


async def test_one_unreadable_channel_costs_the_others_hardly_anything() -> None:
    def answer(command: bytes) -> bytes:
        return b"?" if command == b"R0\r\n" else b"1"

    async with running(answer, driver=channels(3)) as (clock, records, _, follower):
        await clock.run_for(60.0)
    read = {name: sum(one.series.channel == name for one in records.readings) for name in ("r0", "r1", "r2")}
    assert read["r0"] == 0
    assert min(read["r1"], read["r2"]) >= 58
    assert records.told == follower.missed == 60


async def test_a_night_of_suspension_is_missed_and_told() -> None:
    async with running() as (clock, records, _, follower):
        await clock.run_for(10.2)
        clock.suspend(8 * 3600.0)
        await clock.run_for(10.0)
    assert abs(follower.missed - 8 * 3600) <= 1
    assert records.told == follower.missed
    (gap,) = [one for one in records.events(EventKind.GAP) if one.instrument]
    assert gap.until is not None
    assert abs((gap.until - gap.at) / SECOND - 8 * 3600) < 2


async def test_a_wall_clock_that_is_set_makes_nobody_miss_anything() -> None:
    async with running() as (clock, records, _, follower):
        await clock.run_for(10.2)
        clock.step_wall(3600.0)
        await clock.run_for(10.0)
        clock.step_wall(-7200.0)
        await clock.run_for(10.0)
    assert follower.missed == records.told == 0
    assert len(records.readings) >= 28


async def test_what_a_full_spool_refuses_is_counted_in_polls() -> None:
    class Full(Records):
        full = False

        def put(self, record: Record, *, urgent: bool = False) -> int:
            if self.full and not urgent:
                raise SpoolFull("the spool is full")
            return super().put(record, urgent=urgent)

    clock, records = JumpingClock(), Full()
    station = Station("lab", records, clock)
    instrument = Instrument("scanner", channels(2), Wire(clock, lambda _: b"1"), "B1", clock.monotonic)
    follower = Follower(station, instrument, 1.0)
    task = asyncio.create_task(follower.run())
    await clock.run_for(5.0)
    records.full = True
    await clock.run_for(10.0)
    records.full = False
    await clock.run_for(5.0)
    task.cancel()
    await clock.finish(task)
    assert station.missed == 20
    assert records.told == station.missed
    (gap,) = records.events(EventKind.GAP)
    assert gap.text == "20 records of 20 polls refused: the spool is full; taken again"
    assert gap.until is not None
    assert 9 * SECOND < gap.until - gap.at < 11 * SECOND


@pytest.mark.parametrize("resumes", [True, False])
async def test_ticks_between_a_follower_and_the_one_that_replaces_it(resumes: bool) -> None:
    clock, records = JumpingClock(), Records()
    station = Station("lab", records, clock)

    def follower() -> Follower:
        return Follower(station, Instrument("b", mt_sics(), Wire(clock, balance), "B1", clock.monotonic), 1.0)

    first = follower()
    task = asyncio.create_task(first.run())
    await clock.run_for(5.5)
    task.cancel()
    await clock.finish(task)
    await clock.run_for(20.0)
    second = follower()
    if resumes:
        second.grid.resume_from = first.grid.resume_from
    task = asyncio.create_task(second.run())
    await clock.run_for(5.0)
    task.cancel()
    await clock.finish(task)
    assert station.missed == records.told == (20 if resumes else 0)


@dataclass
class Play:
    """What a wire does for so many seconds."""

    kind: str
    seconds: float


KINDS = [
    *("well", "slow", "very slow", "silent", "lost", "one unreadable", "all unreadable"),
    *("suspend", "step", "step back", "restart", "refuse"),
]
PLAYS = st.lists(st.builds(Play, st.sampled_from(KINDS), st.floats(0.3, 70.0)), max_size=8)


class Refusing(Records):
    refuses = False

    def put(self, record: Record, *, urgent: bool = False) -> int:
        if self.refuses and not urgent:
            raise SpoolFull("no room")
        return super().put(record, urgent=urgent)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(PLAYS, st.sampled_from([0.5, 1.0, 7.0, 60.0]))
async def test_events_tell_exactly_what_the_ledger_counts(plays: list[Play], period: float) -> None:
    told, missed, taken, due = await followed_through(plays, period)
    assert told == missed
    assert abs(taken + missed - due) <= 3 * (3 + 2 * len(plays)), "the marks that really passed"


async def followed_through(plays: list[Play], period: float) -> tuple[int, int, int, float]:
    """Follow a scanner of three channels through all plays.

    Gives the polls that events tell, the ledger's, those that were taken, and those that were due by the wall clock.
    """
    now = Play("well", 0.0)

    def answer(command: bytes) -> bytes:
        if now.kind == "silent":
            raise Silent("no answer within 1 s")
        if now.kind == "lost":
            raise Lost("refused")
        if now.kind == "all unreadable" or (now.kind == "one unreadable" and command == b"R1\r\n"):
            return b"?"
        return b"1"

    clock, records = JumpingClock(), Refusing()
    station = Station("lab", records, clock)
    wire = Wire(clock, answer)
    follower = Follower(station, Instrument("b", channels(3), wire, "B1", clock.monotonic), period)

    async def follow() -> asyncio.Task[None]:
        task = asyncio.create_task(follower.run())
        await clock.run_for(0.0)
        return task

    task = await follow()
    begun, slept = clock.monotonic(), 0.0
    for now in plays:  # `answer` looks at it
        wire.delay = {"slow": 0.6 * period, "very slow": 1.7 * period}.get(now.kind, 0.02)
        records.refuses = now.kind == "refuse"
        if now.kind == "suspend":
            clock.suspend(now.seconds * 100)
            slept += now.seconds * 100
        elif now.kind.startswith("step"):
            clock.step_wall(now.seconds * (100 if now.kind == "step" else -100))
        elif now.kind == "restart":
            task.cancel()
            await clock.finish(task)
            follower.restarts += 1
            await clock.run_for(now.seconds)
            task = await follow()
        await clock.run_for(now.seconds)
    records.refuses = False
    task.cancel()
    await clock.finish(task)
    station.end_refusal("the station stops")
    due = 3 * (clock.monotonic() - begun + slept) / period
    return records.told, station.missed, len(records.readings), due


async def test_a_slow_spell_is_told_soon_after_it_and_not_at_the_end() -> None:
    async with running() as (clock, records, wire, follower):
        wire.delay = 2.5
        await clock.run_for(50.0)
        wire.delay = 0.02
        await clock.run_for(REPORT + 5.0)
        assert records.told == follower.missed > 20
        last = records.events(EventKind.MISSED)[-1]
        assert last.until is not None
        assert last.until <= clock.utc_ns() - REPORT * SECOND / 2, "until the last slow tick"


async def test_a_suspend_while_an_answer_is_awaited_is_told_in_full() -> None:
    async with running(delay=0.4) as (clock, records, _, follower):
        await clock.run_for(10.0)  # a question is under way
        clock.suspend(3600.0)
        await clock.run_for(20.0)
    assert abs(follower.missed - 3600) <= 3
    assert records.told == follower.missed


async def test_a_suspend_and_a_step_back_by_as_much_are_no_rest() -> None:
    async with running() as (clock, records, _, follower):
        await clock.run_for(10.2)
        clock.suspend(3600.0)
        clock.step_wall(-3600.0)
        await clock.run_for(20.0)
    assert abs(follower.missed - 3600) <= 2
    assert records.told == follower.missed


async def test_a_clock_set_forward_by_little_loses_no_reading() -> None:
    async with running() as (clock, records, _, follower):
        for _ in range(20):
            await clock.run_for(5.2)
            clock.step_wall(0.06)
        await clock.run_for(1.0)
    assert len(records.readings) + follower.missed >= 104
    assert follower.missed <= 1


async def test_another_config_with_a_longer_period_invents_nothing() -> None:
    for second in range(12):
        clock, records = JumpingClock(), Records()
        station = Station("lab", records, clock)
        first = Follower(station, Instrument("b", mt_sics(), Wire(clock, balance), "B1", clock.monotonic), 1.0)
        task = asyncio.create_task(first.run())
        await clock.run_for(5.5 + 5 * second)
        task.cancel()
        await clock.finish(task)
        second_one = Follower(station, Instrument("b", mt_sics(), Wire(clock, balance), "B1", clock.monotonic), 60.0)
        second_one.grid.resume_from = first.grid.resume_from
        task = asyncio.create_task(second_one.run())
        await clock.run_for(120.0)
        task.cancel()
        await clock.finish(task)
        assert station.missed == 0


@pytest.mark.parametrize("channels_refused", [1, 2, 3])
async def test_a_poll_that_is_refused_is_missed_once_however_many_channels_it_has(channels_refused: int) -> None:
    class Half(Records):
        refuse = 0

        def put(self, record: Record, *, urgent: bool = False) -> int:
            if self.refuse and not urgent:
                self.refuse -= 1
                raise SpoolFull("no room")
            return super().put(record, urgent=urgent)

    clock, records = JumpingClock(), Half()
    station = Station("lab", records, clock)
    two = in_one_answer(3)
    follower = Follower(station, Instrument("b", two, Wire(clock, lambda _: b"x"), "B1", clock.monotonic), 1.0)
    task = asyncio.create_task(follower.run())
    await clock.run_for(5.0)
    records.refuse = channels_refused
    await clock.run_for(5.0)
    task.cancel()
    await clock.finish(task)
    assert records.told == station.missed == 1


async def test_continuous_reading_has_no_ticks_to_miss() -> None:
    def answer(command: bytes) -> bytes:
        return b"?" if command == b"R0\r\n" else b"1"

    async with running(answer, driver=channels(2), period=0.0, delay=0.01) as (clock, records, _, follower):
        await clock.run_for(60.0)
    assert len(records.readings) > 2_000
    assert follower.missed < 100
    assert records.told == follower.missed


@pytest.mark.parametrize("step_us", [0, 50, 500, -500])
async def test_a_restart_loses_no_tick_although_the_wall_clock_was_corrected(step_us: int) -> None:
    clock, records = JumpingClock(), Records()
    station = Station("lab", records, clock)
    follower = Follower(station, Instrument("b", mt_sics(), Wire(clock, balance), "B1", clock.monotonic), 1.0)
    begun = clock.monotonic()
    for _ in range(10):
        task = asyncio.create_task(follower.run())
        await clock.run_for(5.3)
        task.cancel()
        await clock.finish(task)
        follower.restarts += 1
        clock.step_wall(step_us / 1e6)
        await clock.run_for(2.1)
    task = asyncio.create_task(follower.run())
    await clock.run_for(5.0)
    task.cancel()
    await clock.finish(task)
    due = clock.monotonic() - begun
    assert abs(len(records.readings) + station.missed - due) <= 2
    assert records.told == station.missed


async def test_a_suspension_between_two_runs_of_a_follower_is_told() -> None:
    clock, records = JumpingClock(), Records()
    station = Station("lab", records, clock)

    def follower() -> Follower:
        return Follower(station, Instrument("b", mt_sics(), Wire(clock, balance), "B1", clock.monotonic), 1.0)

    first = follower()
    for number in range(2):
        task = asyncio.create_task(first.run())
        await clock.run_for(5.5)
        task.cancel()
        await clock.finish(task)
        clock.suspend(3600.0)
        await clock.run_for(1.0)
        if number:
            second = follower()
            second.grid.resume_from = first.grid.resume_from
            first = second
    task = asyncio.create_task(first.run())
    await clock.run_for(5.0)
    clock.suspend(3600.0)
    await clock.run_for(0.1)
    task.cancel()
    await clock.finish(task)
    assert abs(station.missed - 3 * 3600) <= 6
    assert records.told == station.missed


async def test_slow_ticks_are_not_told_as_the_suspension_that_followed() -> None:
    async with running() as (clock, records, wire, follower):
        wire.delay = 2.5
        await clock.run_for(50.0)
        wire.delay = 0.02
        await clock.run_for(5.0)
        clock.suspend(100.0)
        await clock.run_for(5.0)
    (gap,) = [one for one in records.events(EventKind.GAP) if one.instrument]
    assert abs(gap.missed - 100) <= 2
    assert records.told == follower.missed
