"""Acquisition keeps its grid, counts what it missed, and stores no number that no instrument gave."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

from daq.road.reading import EventKind
from daq.station.acquisition import Follower
from daq.station.records import Station
from daq.station.supervision import Supervisor
from drivers.balances.mt_sics import mt_sics
from drivers.driver import Identity, Text
from drivers.errors import Lost, Silent, Unreadable
from drivers.instrument import Instrument
from drivers.sample import Status
from tests.followed import SECOND, SERIAL, WEIGHT, Records, Wire, balance, running
from tests.jumping_clock import JumpingClock
from tests.unit.station.test_missed import channels


async def test_grid_is_aligned_to_the_wall_clock_and_does_not_drift() -> None:
    async with running(period=0.5, delay=0.02) as (clock, records, _, _):
        await clock.run_for(3600.0)
    stamps = [reading.at for reading in records.readings]
    assert len(stamps) == 7200
    late = [at % (SECOND // 2) for at in stamps[1:]]  # the first one asked for the identity before
    assert max(late) - min(late) < 2_000  # nanoseconds: rounding of a float clock
    assert abs(late[0] - 10_000_000) < 2_000  # the midpoint of 20 ms


async def test_reading_carries_what_the_wire_said() -> None:
    async with running() as (clock, records, _, _):
        await clock.run_for(1.0)
    reading = records.readings[0]
    assert reading.value == Decimal("100.00")
    assert str(reading.value) == "100.00"
    assert (reading.status, reading.text, reading.identified, reading.simulated) == (
        Status.GOOD,
        r"S S     100.00 g\r\n",
        True,
        False,
    )
    assert abs(reading.rtt_ms - 20.0) < 0.001


async def test_serial_of_a_simulator_marks_every_reading() -> None:
    def simulated(command: bytes) -> bytes:
        return b'I4 A "SIM7"\r\n' if command == b"I4\r\n" else WEIGHT

    async with running(simulated, serial="SIM7") as (clock, records, _, _):
        await clock.run_for(2.0)
    assert records.readings
    assert all(reading.simulated for reading in records.readings)


async def test_slow_instrument_misses_ticks_and_makes_none_up() -> None:
    async with running(period=1.0, delay=2.5) as (clock, records, _, follower):
        await clock.run_for(120.0)
    ticks = {reading.at // SECOND for reading in records.readings}
    assert len(ticks) == len(records.readings)
    asked_at = [reading.at - round(reading.rtt_ms * 1e6 / 2) for reading in records.readings[1:]]
    assert all(at % SECOND < 2_000 or at % SECOND > SECOND - 2_000 for at in asked_at), "asked off the grid"
    assert 117 <= follower.missed + len(records.readings) <= 123  # the last answer is still awaited
    assert records.events(EventKind.MISSED)


async def test_silence_is_a_gap_with_cause_interval_and_count() -> None:
    silent = False

    def answer(command: bytes) -> bytes:
        if silent:
            raise Silent("no answer within 1 s")
        return balance(command)

    async with running(answer) as (clock, records, wire, follower):
        await clock.run_for(10.0)
        before, silent = len(records.readings), True
        await clock.run_for(100.0)
        assert len(records.readings) == before, "a number from a silent instrument"
        assert len(wire.asked) < 10 + 30, "a dead instrument is asked less often"
        silent = False
        await clock.run_for(60.0)
        after = len(records.readings)
    assert len(records.events(EventKind.DISCONNECT)) == 1, "one event, not one for each try"
    (gap,) = records.events(EventKind.GAP)
    assert gap.until is not None
    assert gap.missed == 170 - after
    assert 100 * SECOND <= gap.until - gap.at < 132 * SECOND
    assert "no answer within 1 s" in gap.text
    assert follower.state == "reading"


async def test_instrument_that_is_plugged_in_again_is_asked_at_once() -> None:
    port: str | None = "port"

    def answer(command: bytes) -> bytes:
        if port != "port":
            raise Lost("unplugged")
        return balance(command)

    async with running(answer, period=0.1) as (clock, records, wire, follower):
        follower.instrument.plugged = lambda: port
        await clock.run_for(1.0)
        port = None
        await clock.run_for(100.0)
        before, port = len(records.readings), "port"
        assert len(wire.asked) < before + 20, "a port that is not there is tried less often"
        await clock.run_for(1.0)
        assert len(records.readings) > before
    (gap,) = records.events(EventKind.GAP)
    assert 995 <= gap.missed <= 1007


async def test_identity_is_asked_again_after_every_failure() -> None:
    fail_next = False

    def answer(command: bytes) -> bytes:
        nonlocal fail_next
        if fail_next and command == b"SI\r\n":
            fail_next = False
            raise Lost("unplugged")
        return balance(command)

    async with running(answer) as (clock, _, wire, _):
        await clock.run_for(3.0)
        fail_next = True
        await clock.run_for(3.0)
    assert wire.asked.count(b"I4\r\n") == 3, "at the connection, after the failure, and a last time at the end"
    assert wire.asked[wire.asked.index(b"I4\r\n", 1) - 1] == b"SI\r\n"


async def test_impostor_gives_no_reading() -> None:
    async with running(serial="B2") as (clock, records, wire, _):
        await clock.run_for(30.0)
    assert not records.readings
    assert b"SI\r\n" not in wire.asked
    (event,) = records.events(EventKind.IDENTITY)
    assert "'B1' answers where 'B2' is expected" in event.text


async def test_unreadable_reply_is_kept_as_an_event_with_its_bytes() -> None:
    replies = iter([WEIGHT, b"S S     1O0.00 g\r\n", b"S S     100.00 oz\r\n", WEIGHT])

    def answer(command: bytes) -> bytes:
        return SERIAL if command == b"I4\r\n" else next(replies, WEIGHT)

    async with running(answer) as (clock, records, _, _):
        await clock.run_for(4.0)
    first, second = records.events(EventKind.UNREADABLE)
    assert first.raw == r"S S     1O0.00 g\r\n"
    assert "the unit 'oz'" in second.text
    assert {str(reading.value) for reading in records.readings} == {"100.00"}


async def test_answer_under_way_is_still_taken_when_the_station_stops() -> None:
    async with running(period=1.0, delay=0.4) as (clock, records, _, follower):
        await clock.run_for(10.0)
        while not follower.asking:
            await clock.run_for(0.1)
        before = len(records.readings)
        (stopped,) = [task for task in asyncio.all_tasks() if task.get_name() == "balance"]
        (everything,) = [task for task in asyncio.all_tasks() if task.get_name() == "follow all"]
        everything.cancel()
        await clock.run_for(5.0)
        await asyncio.wait([everything])
        assert stopped.done()
        assert len(records.readings) == before + 1


async def test_readings_of_a_clock_that_follows_no_time_server_are_marked() -> None:
    async with running() as (clock, records, _, _):
        await clock.run_for(15.0)
        clock.follows = False
        await clock.run_for(20.0)
        marked = [reading.clock for reading in records.readings]
        clock.follows = True
        await clock.run_for(20.0)
    first = marked.index("unsynchronised")
    assert marked == [""] * first + ["unsynchronised"] * (len(marked) - first)
    assert 15 <= first <= 26, "it is asked every ten seconds"
    assert records.readings[-1].clock == ""
    lost, found = records.events(EventKind.CLOCK_SYNC)
    assert "follows no time server" in lost.text
    assert "follows a time server" in found.text


async def test_stamp_held_on_a_clock_that_was_set_back_says_what_the_clock_said() -> None:
    async with running() as (clock, records, _, _):
        await clock.run_for(10.0)
        before = records.readings[-1].at
        clock.step_wall(-5.0)
        await clock.run_for(10.0)
    held = [reading for reading in records.readings if reading.clock == "held"]
    assert len(held) in {4, 5}
    assert [reading.at for reading in held] == list(range(before + 1, before + 1 + len(held)))
    assert all(reading.clock_at is not None and reading.clock_at < reading.at for reading in held)
    assert all(reading.clock_at is None for reading in records.readings if reading not in held)


async def test_set_clock_is_an_event_and_stamps_still_rise() -> None:
    async with running() as (clock, records, _, _):
        await clock.run_for(10.0)
        clock.step_wall(-3.4)
        await clock.run_for(10.0)
    (step,) = records.events(EventKind.CLOCK_STEP)
    assert "-3.400 s" in step.text
    stamps = [reading.at for reading in records.readings]
    assert all(later > earlier for earlier, later in pairwise(stamps))
    assert stamps[-1] % SECOND < 20_000_000, "the grid follows the new wall clock"


async def test_one_that_waits_for_its_wire_does_not_hang() -> None:
    async with running() as (clock, _, wire, follower):
        await clock.run_for(5.5)
        wire.waiting = True
        late = clock.monotonic() + 10 * follower.longest_wait
        assert follower.overdue(late) == 0.0
        wire.waiting = False
        assert follower.overdue(late + follower.longest_wait) == 0.0
        assert follower.overdue(late + follower.longest_wait + 1.0) == 1.0


async def test_one_that_has_not_asked_yet_ends_at_once() -> None:
    clock, records = JumpingClock(), Records()
    station = Station("lab", records, clock)
    wire = Wire(clock, balance)
    follower = Follower(station, Instrument("b", mt_sics(), wire, "B1", clock.monotonic), 60.0)
    made = Supervisor(station, [follower])
    task = asyncio.create_task(made.run())
    await clock.run_for(1.0)
    began = clock.monotonic()
    removing = asyncio.create_task(made.remove(["b"]))
    await clock.finish(removing)
    assert clock.monotonic() - began < 0.2
    task.cancel()
    await clock.finish(task)
    assert not wire.asked


async def test_an_unreadable_proof_costs_all_polls_and_not_only_the_one_that_was_due() -> None:
    """Whoever answers: none of its other polls is asked."""
    scanner = replace(channels(3), identity=Identity(Text(b"I4\r\n"), _serial))
    answers = {b"I4\r\n": b"B1"}
    async with running(lambda command: answers.get(command, b"x"), 10.0, driver=scanner) as (clock, records, wire, one):
        await clock.run_for(25.0)
        answers[b"I4\r\n"] = b"?"
        wire.asked.clear()
        await clock.run_for(10.0)
        assert wire.asked == [b"I4\r\n"]
        assert one.missed == 3
        assert records.doubts


def _serial(raw: bytes) -> str:
    if raw == b"?":
        raise Unreadable("no serial number", raw)
    return raw.decode()


async def test_a_suspension_while_a_later_poll_of_a_tick_is_awaited_is_no_reading() -> None:
    async with running(lambda _: b"B1", 10.0, 0.5, driver=channels(2)) as (clock, records, wire, _):
        await clock.run_for(15.0)
        wire.asked.clear()
        while wire.asked[-1:] != [b"R1\r\n"]:
            await clock.run_for(0.1)
        before = len(records.readings)
        clock.suspend(0.9)  # shorter than a mark of the seconds: nothing else shows it
        await clock.run_for(1.0)
        assert [one.series.channel for one in records.readings[before:]] == []
        assert records.events(EventKind.DISCONNECT)


async def test_the_last_proof_asks_who_answers_on_the_connection_that_is_open() -> None:
    async with running() as (clock, records, wire, _):
        await clock.run_for(3.5)
        assert wire.opened == 1
        wire.asked.clear()
    assert wire.asked == [b"I4\r\n"]
    assert wire.opened == 1
    assert not records.doubts
