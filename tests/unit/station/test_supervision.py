"""A follower that hangs or fails is started again; the others read on, and the time is a gap with its cause."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from daq.road.reading import Event, EventKind
from daq.station.acquisition import Follower
from daq.station.records import Station
from daq.station.supervision import Supervisor
from drivers.balances.mt_sics import mt_sics
from drivers.instrument import Instrument
from tests.followed import SECOND, Records, Wire, balance
from tests.jumping_clock import JumpingClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest


class Hanging(Wire):
    """A wire that breaks every rule of a link: no time-out ends its answer, or it raises what no link raises."""

    hangs = False
    deaf = False
    raises: type[BaseException] | None = None
    close_raises: Exception | None = None

    async def ask(self, query: Any) -> bytes:
        while self.hangs:
            try:
                await self.clock.sleep_until(self.clock.monotonic() + 0.1)
            except asyncio.CancelledError:
                if not self.deaf:
                    raise
        if self.raises is not None:
            raise self.raises("a mistake")
        return await super().ask(query)

    async def close(self) -> None:
        if self.close_raises is not None:
            raise self.close_raises


def follower(made: Supervisor, clock: JumpingClock, wire: Wire, name: str, period: float = 1.0) -> Follower:
    return Follower(made._station, Instrument(name, mt_sics(), wire, "B1", clock.monotonic), period)


def wire_of(made: Supervisor, name: str) -> Hanging:
    wire = made.followers[name].instrument.link
    assert isinstance(wire, Hanging)
    return wire


def longest_wait(made: Supervisor) -> float:
    good = made.followers["good"].follower
    assert good is not None
    return good.longest_wait


@asynccontextmanager
async def supervisor(*bad: str) -> AsyncIterator[tuple[JumpingClock, Records, Hanging, Supervisor]]:
    """Follow these on wires that can hang ("bad" where none is named), and one that is good."""
    clock, records = JumpingClock(), Records()
    made = Supervisor(Station("lab", records, clock))
    wires = {name: Hanging(clock, balance) for name in bad or ("bad",)}
    for name, wire in {**wires, "good": Wire(clock, balance)}.items():
        made.add(follower(made, clock, wire, name))
    task = asyncio.create_task(made.run())
    try:
        yield clock, records, next(iter(wires.values())), made
    finally:
        for wire in wires.values():
            wire.deaf = False
        task.cancel()
        await clock.finish(task)


async def test_follower_that_hangs_is_started_again() -> None:
    async with supervisor() as (clock, records, wire, made):
        await clock.run_for(10.0)
        before = sum(one.series.instrument == "bad" for one in records.readings)
        wire.hangs = True
        await clock.run_for(longest_wait(made) + 3.0)
        assert made.followers["bad"].restarts == 1
        assert made.followers["bad"].state == "failing"
        wire.hangs = False
        await clock.run_for(60.0)
    (restart,) = records.events(EventKind.RESTART)
    assert restart.instrument == "bad"
    assert "no progress" in restart.text
    gaps = [one for one in records.events(EventKind.GAP) if one.instrument == "bad"]
    assert all(one.until is not None for one in gaps)
    stamps = [one.at for one in records.readings if one.series.instrument == "bad"]
    assert all(later > earlier for earlier, later in pairwise(stamps))
    last, again = stamps[before - 1], stamps[before]
    assert min(one.at for one in gaps) < again
    due = (again - last) // SECOND - 1
    told = sum(one.missed for one in (*gaps, *records.events(EventKind.MISSED)) if one.instrument == "bad")
    assert abs(told - due) <= 2, "every tick of that time is told"
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


async def test_follower_that_cannot_be_ended_does_not_hold_up_the_restart_of_others() -> None:
    async with supervisor("deaf", "bad") as (clock, records, _, made):
        deaf, bad = wire_of(made, "deaf"), wire_of(made, "bad")
        await clock.run_for(3.0)
        deaf.hangs = deaf.deaf = bad.hangs = True
        await clock.run_for(longest_wait(made) + 3.0)
        bad.hangs = False
        await clock.run_for(10.0)
        assert made.followers["bad"].restarts == 1
        assert made.followers["bad"].state == "reading"
        assert [one.instrument for one in records.events(EventKind.RESTART)] == ["bad"]
        deaf.deaf = deaf.hangs = False


async def test_reload_while_followers_are_overdue_leaves_one_of_each(caplog: pytest.LogCaptureFixture) -> None:
    names = [f"bad-{number}" for number in range(40)]
    async with supervisor(*names) as (clock, records, _, made):
        await clock.run_for(3.0)
        for name in names:
            wire_of(made, name).hangs = True
        await clock.run_for(longest_wait(made) + 1.0)  # all are overdue, and being started again
        again = names[:30]
        removing = asyncio.create_task(made.remove(names))
        await clock.run_for(1.0)
        await clock.run_for(5.0)
        await removing
        for name in again:
            made.add(follower(made, clock, Wire(clock, balance), name))
        before = len(records.readings)
        await clock.run_for(60.0)
        taken: Counter[str] = Counter(one.series.instrument for one in records.readings[before:])
        tasks = Counter(task.get_name() for task in asyncio.all_tasks())
    assert set(made.followers) == {*again, "good"}
    assert {taken[name] for name in again} <= {59, 60, 61}, "each is followed once"
    assert not taken.keys() - {*again, "good"}
    assert {tasks[name] for name in again} == {1}
    assert not [record for record in caplog.records if record.exc_info]


async def test_failure_of_the_code_is_told_once_counted_and_begun_again(caplog: pytest.LogCaptureFixture) -> None:
    async with supervisor() as (clock, records, wire, made):
        await clock.run_for(5.0)
        wire.raises = IndexError
        await clock.run_for(300.0)
        kept = made.followers["bad"]
        assert (kept.state, "IndexError" in kept.last_error) == ("failing", True)
        assert 5 <= kept.failures.count == kept.restarts <= 12, "with growing pauses"
        assert kept.errors >= kept.failures.count
        wire.raises = None
        await clock.run_for(61.0)
        assert kept.state == "reading"
    told = [record for record in caplog.records if record.exc_info]
    assert len(told) == 1
    assert "IndexError: a mistake" in told[0].getMessage()
    (event,) = records.events(EventKind.RESTART)
    assert "IndexError: a mistake (test_supervision.py, line " in event.text
    good = [one.at for one in records.readings if one.series.instrument == "good"]
    assert max(later - earlier for earlier, later in pairwise(good)) < 1.1 * SECOND
    missed = sum(one.missed for one in records if isinstance(one, Event) and one.instrument == "bad")
    bad = sum(one.series.instrument == "bad" for one in records.readings)
    assert abs(bad + missed - len(good)) <= 1, "what was not read is told"


async def test_cancellation_that_nobody_asked_for_is_a_failure() -> None:
    async with supervisor() as (clock, _, wire, made):
        await clock.run_for(5.0)
        wire.raises = asyncio.CancelledError
        await clock.run_for(3.0)
        assert made.followers["bad"].failures.count >= 1
        wire.raises = None
        await clock.run_for(20.0)
        assert made.followers["bad"].state == "reading"


async def test_instrument_that_cannot_be_made_is_tried_again_and_its_time_is_told() -> None:
    async with supervisor() as (clock, records, _, made):
        broken = True

        def make() -> Follower:
            if broken:
                raise KeyError("no such driver")
            return follower(made, clock, Wire(clock, balance), "late")

        made.add_made("late", make, 1.0)
        await clock.run_for(10.0)
        kept = made.followers["late"]
        assert (kept.state, kept.readings, kept.instrument.serial) == ("failing", 0, None)
        assert "KeyError" in kept.last_error
        broken = False
        await clock.run_for(30.0)
        assert kept.state == "reading"
        (gap,) = [one for one in records.events(EventKind.GAP) if one.instrument == "late"]
        assert "KeyError" in gap.text
        assert abs(gap.missed + kept.readings - 40) <= 1


async def test_failure_while_it_ends_is_told_and_nothing_is_begun_again(caplog: pytest.LogCaptureFixture) -> None:
    async with supervisor() as (clock, _, wire, made):
        await clock.run_for(3.0)
        wire.close_raises = OSError("the port has gone")
        removing = asyncio.create_task(made.remove(["bad"]))
        await clock.run_for(5.0)
        (kept,) = await removing
        await clock.run_for(100.0)
    assert kept.restarts == 0
    assert kept.keeper is not None
    assert kept.keeper.done()
    assert "OSError: the port has gone" in caplog.text


async def test_suspended_machine_is_a_gap_and_no_step_of_the_clock() -> None:
    async with supervisor() as (clock, records, _, _):
        await clock.run_for(10.0)
        clock.suspend(3_600.0)
        await clock.run_for(10.0)
    gaps = [one for one in records.events(EventKind.GAP) if "suspended" in one.text and not one.instrument]
    assert len(gaps) == 1
    assert gaps[0].until is not None
    assert abs(gaps[0].until - gaps[0].at - 3_600 * SECOND) < 2 * SECOND
    assert not records.events(EventKind.CLOCK_STEP)
    stamps = [one.at for one in records.readings if one.series.instrument == "good"]
    assert stamps[-1] % SECOND < 0.1 * SECOND, "the grid follows the wall clock"
