"""What the supervisor knows and tells of a follower that is not made, hangs, ends by itself or cannot be ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from daq.road.reading import Event, EventKind
from daq.station.acquisition import Follower
from daq.station.kept import Left
from daq.station.records import Station
from daq.station.supervision import Supervisor
from drivers.errors import Silent
from tests.followed import SECOND, TOLD, Records, Wire, balance
from tests.jumping_clock import JumpingClock
from tests.unit.station.test_supervision import follower, longest_wait, supervisor, wire_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from daq.station.kept import Kept


def told(records: Records, name: str) -> list[Event]:
    """Give the events that tell missed polls of an instrument."""
    return [one for one in records if isinstance(one, Event) and one.instrument == name and one.kind in TOLD]


def counted(records: Records, name: str) -> int:
    """Give the readings and the missed polls of an instrument."""
    taken = sum(one.series.instrument == name for one in records.readings)
    return taken + sum(one.missed for one in told(records, name))


def failing(times: int, made: Callable[[], Follower]) -> Callable[[], Follower]:
    """Fail so many times before the follower is made."""
    left = [times]

    def make() -> Follower:
        if left[0]:
            left[0] -= 1
            raise KeyError("no such driver")
        return made()

    return make


@pytest.mark.parametrize("failures", [0, 1, 3, 4])
@pytest.mark.parametrize("period", [0.5, 1.0, 2.5])
@pytest.mark.parametrize("replaces", [False, True])
async def test_every_tick_before_it_could_be_made_is_told_once(failures: int, period: float, replaces: bool) -> None:
    """`replaces`: another follower has read until ten ticks before, as after a reload."""
    async with supervisor() as (clock, records, _, made):
        await clock.run_for(30.0)
        begin = clock.monotonic() - 10 * period if replaces else None

        make = failing(failures, lambda: follower(made, clock, Wire(clock, balance), "late", period))
        made.add_made("late", make, period, Left(begin))
        await clock.run_for(30.0)
        due = 30.0 / period + (10 if replaces else 0)
        assert abs(counted(records, "late") - due) <= 1
        assert made.followers["late"].missed == sum(one.missed for one in told(records, "late"))
        causes = [one.text for one in told(records, "late")]
        if failures > 1 or (failures and replaces):  # after the first one it is tried again at once
            assert len(causes) == 1
            assert "KeyError: 'no such driver'" in causes[0]
            assert told(records, "late")[0].until is not None
            expected = clock.utc_ns() - (30.0 + (10 * period if replaces else 0)) * SECOND
            assert abs(told(records, "late")[0].at - expected) <= period * SECOND
        else:
            assert causes == (["10 polls not taken: nobody followed it yet"] if replaces else [])
        assert made.followers["late"].failures.count == failures


@pytest.mark.parametrize("away", [-0.0002, 0.0, 0.0002])
async def test_tick_from_which_it_accounts_is_counted(away: float) -> None:
    """The last tick that its predecessor left is the first of its own; the grid may have followed the clock."""
    async with supervisor() as (clock, records, _, made):
        await clock.run_for(20.0)
        tick = clock.monotonic() - 4.3 + away  # the clock shows a whole second 0.7 s after the start

        make = failing(3, lambda: follower(made, clock, Wire(clock, balance), "late"))
        made.add_made("late", make, 1.0, Left(tick))
        await clock.run_for(10.0)
        assert counted(records, "late") == 5 + 10
        assert abs(told(records, "late")[0].at - (clock.utc_ns() - 14.3 * SECOND)) < 0.001 * SECOND


async def test_errors_are_those_of_the_instrument_and_those_of_the_code() -> None:
    def silent(_: bytes) -> bytes:
        raise Silent("no answer")

    async with supervisor() as (clock, _, wire, made):
        await clock.run_for(3.0)
        wire.answer = silent
        await clock.run_for(2.0)
        wire.raises = RuntimeError
        await clock.run_for(1.0)
        kept = made.followers["bad"]
        assert kept.follower is not None
        assert (kept.errors, kept.follower.errors, kept.failures.count) == (3, 2, 1)
        assert kept.last_error.startswith("RuntimeError: a mistake")


async def test_one_that_is_asked_without_a_grid_has_missed_no_tick() -> None:
    async with supervisor() as (clock, records, _, made):

        def make() -> Follower:
            one = follower(made, clock, Wire(clock, balance), "late")
            one.period = 0.0
            return one

        made.add_made("late", failing(2, make), 0.0)
        await clock.run_for(10.0)
        assert made.followers["late"].state == "reading"
        assert not told(records, "late")


async def test_what_is_known_of_one_that_is_not_made() -> None:
    async with supervisor() as (clock, records, _, made):
        made.add_made("none", failing(1_000, lambda: pytest.fail("never")), 1.0)
        kept = made.followers["none"]
        assert (kept.state, kept.readings, kept.missed, kept.restarts, kept.polls) == ("failing", 0, 0, 0, 1)
        assert (kept.last_at, kept.instrument.serial, kept.instrument.link) == (None, None, None)
        assert (kept.instrument.connected, kept.instrument.identified) == (False, False)
        assert kept.last_error.startswith("KeyError: 'no such driver'")
        assert kept.errors == 1
        await clock.run_for(40.0)
        assert kept.errors == 6, "after 1, 2, 4, 8, 16 s"
        (restart,) = records.events(EventKind.RESTART)
        assert restart.instrument == "none"
        assert restart.text.startswith("failed: KeyError: 'no such driver'")
        assert restart.text.endswith("started again in 1 s")
        removing = asyncio.create_task(made.remove(["none", "a name that nobody follows"]))
        await clock.run_for(5.0)
        assert await removing == [kept]
        (gap,) = told(records, "none")
        assert abs(gap.missed - 40) <= 1
        begin = kept.hand_on(same=False).resume_from
        assert begin is not None
        assert 0 <= clock.monotonic() - begin <= 6.0
        await clock.run_for(60.0)
        assert kept.errors == 6, "nothing is begun again"
        assert "none" not in made.followers


async def test_state_before_the_first_answer_and_without_trouble() -> None:
    clock, records = JumpingClock(), Records()
    made = Supervisor(Station("lab", records, clock))
    made.add(follower(made, clock, Wire(clock, balance), "a"))
    kept = made.followers["a"]
    assert (kept.state, kept.last_error, kept.readings, kept.errors) == ("waiting", "", 0, 0)
    assert made.stuck is None
    assert kept.running is None, "nothing runs before the station does"


async def hung(clock: JumpingClock, made: Supervisor, name: str) -> Kept:
    wire_of(made, name).hangs = wire_of(made, name).deaf = True
    wait = made.followers[name].follower
    assert wait is not None
    async with asyncio.timeout(20.0):
        while made.followers[name].told_to_end == float("inf"):
            await clock.run_for(0.5)
    return made.followers[name]


async def test_one_that_cannot_be_ended_is_said_once_and_is_stuck_after_eight_seconds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with supervisor() as (clock, _, wire, made):
        await clock.run_for(3.0)
        kept = await hung(clock, made, "bad")
        told_at = kept.told_to_end
        await clock.run_for(told_at + 1.5 - clock.monotonic())
        assert "cannot be ended" not in caplog.text
        await clock.run_for(2.5)
        assert caplog.text.count("bad hangs and cannot be ended") == 1
        await clock.run_for(told_at + 7.9 - clock.monotonic())
        before = made.stuck
        await clock.run_for(0.2)
        assert (before, made.stuck) == (None, "bad")
        await clock.run_for(60.0)
        assert caplog.text.count("bad hangs and cannot be ended") == 1
        wire.hangs = wire.deaf = False
        await clock.run_for(60.0)
        assert made.stuck is None
        assert kept.state == "reading"
        await hung(clock, made, "bad")
        await clock.run_for(5.0)
        assert caplog.text.count("bad hangs and cannot be ended") == 2, "it is another time"
        wire.hangs = wire.deaf = False


async def test_one_that_hangs_is_told_with_the_time() -> None:
    async with supervisor() as (clock, records, wire, made):
        await clock.run_for(3.0)
        wire.hangs = True
        await clock.run_for(longest_wait(made) + 2.5)
        (restart,) = records.events(EventKind.RESTART)
        assert restart.text.startswith("no progress, ")
        late = float(restart.text.partition(", ")[2].partition(" s")[0])
        assert 0 <= late <= 2
        assert restart.text.endswith("s later than the slowest reading can take; started again in 1 s")
        kept = made.followers["bad"]
        assert (kept.failures.count, kept.restarts) == (0, 1), "a wire that hangs is no failure of the code"
        assert kept.last_error == restart.text.partition(";")[0]
        wire.hangs = False


async def test_one_that_ends_by_itself_is_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with supervisor() as (clock, records, _, made):
        kept = made.followers["bad"]
        assert kept.follower is not None
        real, ended = Follower.run, 0

        async def run(one: Follower) -> None:
            nonlocal ended
            if one is kept.follower and ended < 2:
                ended += 1
                return
            await real(one)

        monkeypatch.setattr(Follower, "run", run)
        await clock.run_for(0.5)
        assert "RuntimeError: it has ended by itself" in kept.last_error
        assert kept.state == "failing"
        await clock.run_for(20.0)
        assert (kept.state, kept.restarts, kept.failures.count) == ("reading", 2, 2)
        assert len(records.events(EventKind.RESTART)) == 1


async def test_one_that_cannot_say_whether_it_hangs_is_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with supervisor() as (clock, _, _, made):
        await clock.run_for(3.0)
        wrong = made.followers["bad"].follower
        real = Follower.overdue

        def overdue(one: Follower, now: float) -> float:
            if one is wrong and now < 1_020:
                raise ZeroDivisionError("a mistake")
            return real(one, now)

        monkeypatch.setattr(Follower, "overdue", overdue)
        await clock.run_for(10.0)
        kept = made.followers["bad"]
        assert "ZeroDivisionError: a mistake" in kept.failures.last
        assert 1 <= kept.failures.count <= 4, "with growing pauses"
        await clock.run_for(30.0)
        assert kept.state == "reading"
        assert made.followers["good"].restarts == 0


async def test_failure_that_cannot_be_recorded_is_logged_and_kept(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with supervisor() as (clock, _, wire, made):
        await clock.run_for(3.0)
        event = Station.event

        def fail(station: Station, kind: EventKind, *arguments: Any, **more: Any) -> None:
            if kind is EventKind.RESTART:
                raise OSError("no room")
            event(station, kind, *arguments, **more)

        monkeypatch.setattr(Station, "event", fail)
        wire.raises = IndexError
        await clock.run_for(10.0)
        assert "this could not be recorded" in caplog.text
        wire.raises = None
        await clock.run_for(30.0)
        assert made.followers["bad"].state == "reading"


class Panic(BaseException):
    """What a library in another language raises: no Exception, and no reason to end."""


async def test_panic_of_a_library_is_a_failure_of_its_instrument() -> None:
    async with supervisor() as (clock, _, wire, made):
        await clock.run_for(3.0)
        wire.raises = Panic
        await clock.run_for(3.0)
        assert "Panic: a mistake" in made.followers["bad"].last_error
        wire.raises = None
        await clock.run_for(20.0)
        assert made.followers["bad"].state == "reading"


async def test_removing_waits_for_an_answer_that_is_due_and_for_no_longer_than_four_seconds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with supervisor("slow", "deaf") as (clock, _, _, made):
        slow, deaf = wire_of(made, "slow"), wire_of(made, "deaf")
        await clock.run_for(3.0)
        slow.delay = 1.5
        deaf.hangs = deaf.deaf = True
        async with asyncio.timeout(20.0):
            while not (slow.sent > clock.monotonic() - 0.1 and slow.asked[-1] == b"SI\r\n"):
                await clock.run_for(0.05)
        readings = made.followers["slow"].readings
        began = clock.monotonic()
        removing = asyncio.create_task(made.remove(["slow", "deaf"]))
        await clock.run_for(2.5)
        assert not removing.done()
        async with asyncio.timeout(20.0):
            while not removing.done():
                await clock.run_for(0.1)
        assert 3.9 <= clock.monotonic() - began <= 4.3
        gone = {one.name: one for one in await removing}
        assert gone["slow"].readings == readings + 1
        assert "deaf: cannot be ended, and is left alone" in caplog.text
        assert "slow" not in caplog.text.partition("cannot be ended")[0].rpartition("\n")[2]
        assert set(made.followers) == {"good"}
        deaf.deaf = deaf.hangs = False


async def test_one_that_pauses_is_removed_at_once() -> None:
    async with supervisor() as (clock, _, wire, made):
        wire.raises = IndexError
        await clock.run_for(40.0)
        removing = asyncio.create_task(made.remove(["bad"]))
        for _ in range(3):
            await clock.run_for(0.1)
        assert removing.done()
        wire.raises = None


async def test_gap_that_is_open_when_it_is_removed_says_why() -> None:
    async with supervisor() as (clock, records, wire, made):
        await clock.run_for(3.0)
        wire.answer = lambda _: b"rubbish\r\n"
        await clock.run_for(5.0)
        removing = asyncio.create_task(made.remove(["bad"]))
        await clock.run_for(5.0)
        await removing
        assert "it was taken out of the config, or changed there" in told(records, "bad")[-1].text
    assert not told(records, "good")
