"""However an instrument ends (stop, reload, in a pause, never at all), its missed polls are told once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from daq.host.clock import elapsed
from daq.road.reading import EventKind, Reading
from daq.station.acquisition import Follower
from daq.station.records import Station
from daq.station.supervision import Supervisor
from drivers.balances.mt_sics import mt_sics
from drivers.instrument import Instrument
from tests.followed import SECOND, Wire, balance
from tests.jumping_clock import JumpingClock
from tests.unit.station.test_keeping_followers import counted, failing, told
from tests.unit.station.test_service import config, station
from tests.unit.station.test_service_story import ends
from tests.unit.station.test_supervision import Hanging, follower, supervisor, wire_of

if TYPE_CHECKING:
    from pathlib import Path


from tests.unit.station.ending import STARTED, Fails, Lab, due, silent, stopped


@pytest.mark.parametrize("how", ["stop", "remove"])
async def test_polls_that_were_due_in_a_pause_are_told_when_it_ends(how: str) -> None:
    lab = Lab()
    await lab.clock.run_for(10.0)
    assert isinstance(lab.wire, Hanging)
    lab.wire.raises = RuntimeError
    await lab.clock.run_for(45.0)
    expected = due(lab.clock)
    if how == "remove":
        await lab.clock.finish(asyncio.create_task(lab.made.remove(["b"])))
    await stopped(lab.clock, lab.task)
    assert counted(lab.records, "b") == expected
    assert lab.station.missed == lab.records.told


async def test_continuous_reading_between_two_grids_has_missed_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_period(period: str) -> Any:
        new = config(tmp_path, "a")
        table = new.instruments["a"].model_copy(update={"period": period})
        return new.model_copy(update={"instruments": {"a": table}})

    async with station(tmp_path, monkeypatch, "a") as lab:
        await lab.clock.run_for(5.0)
        await ends(lab, lab.service.reloading.apply(with_period(0.0)))  # type: ignore[arg-type]
        await lab.clock.run_for(600.0)
        await ends(lab, lab.service.reloading.apply(with_period(1.0)))  # type: ignore[arg-type]
        await lab.clock.run_for(5.0)
        missed = sum(one.missed for one in lab.events(EventKind.GAP) + lab.events(EventKind.MISSED))
    assert missed <= 3


async def test_a_poll_that_could_not_be_kept_is_missed() -> None:
    clock, records = JumpingClock(), Fails(lambda record: isinstance(record, Reading))
    lab = Station("lab", records, clock)
    made = Supervisor(
        lab, [Follower(lab, Instrument("b", mt_sics(), Wire(clock, balance), "B1", clock.monotonic), 1.0)]
    )
    task = asyncio.create_task(made.run())
    await clock.run_for(5.0)
    records.left = 1
    await clock.run_for(15.0)
    expected = due(clock)
    await stopped(clock, task)
    assert counted(records, "b") == expected
    assert lab.missed == records.told


async def test_a_gap_that_cannot_be_told_is_told_later() -> None:
    clock, records = JumpingClock(), Fails(lambda record: getattr(record, "kind", None) == EventKind.GAP)
    lab = Station("lab", records, clock)
    wire = Wire(clock, balance)
    made = Supervisor(lab, [Follower(lab, Instrument("b", mt_sics(), wire, "B1", clock.monotonic), 1.0)])
    task = asyncio.create_task(made.run())
    await clock.run_for(5.0)
    wire.answer = silent
    await clock.run_for(20.0)
    wire.answer, records.left = balance, 1
    await clock.run_for(60.0)
    assert not records.left
    await stopped(clock, task)
    assert records.told == lab.missed > 15


async def test_a_stop_during_a_reload_loses_no_tick_of_what_was_ended_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with station(tmp_path, monkeypatch, "a", "b") as lab:
        await lab.clock.run_for(10.0)
        monkeypatch.setattr(lab.service, "give_back", lambda *_: asyncio.Event().wait())
        began = lab.clock.monotonic()
        reload = asyncio.ensure_future(lab.service.reloading.apply(config(tmp_path, "b", "a")))  # other addresses
        await lab.clock.run_for(4.0)
        last = lab.clock.utc_ns()
        waited = lab.clock.monotonic() - began
    assert reload.done()
    assert waited < 4.5
    for name in ("a", "b"):
        events = [one for one in lab.events(EventKind.GAP) + lab.events(EventKind.MISSED) if one.instrument == name]
        taken, missed = lab.readings(name), sum(one.missed for one in events)
        assert missed >= 3
        first = min(one.at for one in lab.records if getattr(one, "instrument", "") == name)
        assert abs(taken + missed - (last - first) / SECOND) <= 1.5
    assert not lab.events(EventKind.RELOAD), "it did not happen"


async def test_an_error_that_cannot_be_written_in_words_ends_no_keeper() -> None:
    class Bad(Exception):
        def __str__(self) -> str:
            raise ValueError("no words")

    async with supervisor() as (clock, _, wire, made):
        await clock.run_for(3.0)
        wire.raises = Bad
        await clock.run_for(1.5)
        wire.raises = None
        await clock.run_for(20.0)
        kept = made.followers["bad"]
        assert kept.keeper is not None
        assert not kept.keeper.done()
        assert kept.restarts
        assert "cannot be written in words" in kept.failures.last
        assert kept.state == "reading"


async def test_a_link_that_does_not_close_is_begun_again_like_one_that_hangs() -> None:
    class Open(Hanging):
        closed = 0

        async def close(self) -> None:
            self.closed += 1
            if self.closed == 1:
                await asyncio.Event().wait()

    lab = Lab(Open)
    await lab.clock.run_for(5.0)
    assert isinstance(lab.wire, Hanging)
    lab.wire.raises = RuntimeError
    await lab.clock.run_for(1.0)
    lab.wire.raises = None
    await lab.clock.run_for(300.0)
    assert lab.made.followers["b"].state == "reading"
    expected = due(lab.clock)
    await stopped(lab.clock, lab.task)
    assert counted(lab.records, "b") == expected


@pytest.mark.parametrize("how", ["stop", "reload"])
async def test_one_that_cannot_be_ended_is_accounted_for_once_and_stores_nothing_more(how: str) -> None:
    lab = Lab()
    assert isinstance(lab.wire, Hanging)
    await lab.clock.run_for(10.0)
    lab.wire.hangs = lab.wire.deaf = True
    old = lab.wire
    await lab.clock.run_for(20.0)
    expected = due(lab.clock)
    if how == "stop":
        await stopped(lab.clock, lab.task)
        before = len(lab.records)
        old.hangs = False
        await lab.clock.run_for(20.0)
        assert len(lab.records) == before
    else:
        removing = asyncio.create_task(lab.made.remove(["b"]))
        await lab.clock.finish(removing)
        (kept,) = removing.result()
        lab.wire = Wire(lab.clock, balance)
        lab.made.add_made("b", lab.follower, 1.0, kept.hand_on(same=False))
        await lab.clock.run_for(10.0)
        old.hangs = False
        await lab.clock.run_for(10.0)
        expected = due(lab.clock)
        await stopped(lab.clock, lab.task)
    assert counted(lab.records, "b") == expected


async def test_ticks_before_one_that_can_never_be_made_are_told() -> None:
    lab = Lab()
    await lab.clock.run_for(10.0)
    removing = asyncio.create_task(lab.made.remove(["b"]))
    await lab.clock.finish(removing)
    (kept,) = removing.result()
    await lab.clock.run_for(5.0)  # its link takes so long to close
    lab.made.add_made("b", failing(10**6, lab.follower), 1.0, kept.hand_on(same=False))
    await lab.clock.run_for(20.0)
    expected = due(lab.clock)
    await stopped(lab.clock, lab.task)
    assert counted(lab.records, "b") == expected


@pytest.mark.parametrize("after", [0.02, 0.06, 0.99])
async def test_one_that_could_not_be_made_at_first_has_missed_no_tick_before_it_was_added(after: float) -> None:
    async with supervisor() as (clock, records, _, made):
        await clock.run_for(10.0 + STARTED + after)
        began = elapsed(clock)
        made.add_made("late", failing(2, lambda: follower(made, clock, Wire(clock, balance), "late")), 1.0)
        await clock.run_for(20.5)
        first = int(began - 1_000.0 - STARTED) + 1
        assert counted(records, "late") == due(clock) - first


async def test_whatever_making_one_raises_costs_the_others_nothing() -> None:
    class Odd(BaseException):
        pass

    def make() -> Follower:
        raise Odd("no Exception")

    async with supervisor() as (clock, records, _, made):
        made.add_made("odd", make, 1.0)
        await clock.run_for(5.0)
        assert made.followers["odd"].state == "failing"
        assert counted(records, "good") >= 5
        assert told(records, "good") == []


async def test_one_whose_end_fails_costs_the_others_nothing() -> None:
    async with supervisor("one", "two") as (clock, records, _, made):
        await clock.run_for(5.0)
        for name in ("one", "two"):
            wire_of(made, name).raises = RuntimeError
        await clock.run_for(5.0)
        first = made.followers["one"].follower
        assert first is not None
        first.doubts = None  # type: ignore[assignment]  # whatever its end asks of them fails
        removing = asyncio.create_task(made.remove(["one", "two"]))
        await clock.finish(removing)
        assert len(removing.result()) == 2
        assert sum(one.missed for one in told(records, "two")) >= 4


async def test_one_that_comes_back_while_a_reload_waits_takes_no_tick_from_the_next() -> None:
    """It was left alone; its link takes long to close, and it goes on meanwhile."""
    lab = Lab()
    assert isinstance(lab.wire, Hanging)
    await lab.clock.run_for(6.0)
    lab.wire.hangs = lab.wire.deaf = True
    await lab.clock.run_for(2.0)
    removing = asyncio.create_task(lab.made.remove(["b"]))
    await lab.clock.finish(removing)
    (kept,) = removing.result()
    await lab.clock.run_for(2.0)
    lab.wire.hangs = lab.wire.deaf = False
    await lab.clock.run_for(3.0)
    lab.wire = Wire(lab.clock, balance)
    lab.made.add_made("b", lab.follower, 1.0, kept.hand_on(same=True))
    await lab.clock.run_for(5.0)
    expected = due(lab.clock)
    await stopped(lab.clock, lab.task)
    assert counted(lab.records, "b") == expected
