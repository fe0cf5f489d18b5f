"""Who answers, and how it is set, is asked again and again; what was stored and is not proven then is a doubt."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

import pytest

from daq.road.reading import EventKind
from daq.station.acquisition import Follower
from daq.station.records import Station
from daq.station.supervision import Supervisor
from drivers.balances.mt_sics import mt_sics
from drivers.driver import Channel, Driver, Identity, Poll, Sample, Setup, Status, Text
from drivers.errors import Lost, Silent, Unreadable, WrongSetting
from drivers.instrument import Instrument
from tests.followed import SECOND, WEIGHT, Records, Wire, balance, running
from tests.jumping_clock import JumpingClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from daq.road.reading import Doubt, Reading

SERIAL = {name: f'I4 A "{name}"\r\n'.encode() for name in ("B1", "B2")}
FOREIGN = b"S S     222.00 g\r\n"


class Lab:
    """A balance that is exchanged for another one behind the same wire."""

    def __init__(self) -> None:
        self.there = "B1"

    def answer(self, command: bytes) -> bytes:
        if command == b"I4\r\n":
            return SERIAL[self.there]
        return WEIGHT if self.there == "B1" else FOREIGN


async def test_an_exchanged_balance_is_found_within_prove_every_and_what_it_gave_is_a_doubt() -> None:
    lab = Lab()
    async with running(lab.answer) as (clock, records, _, follower):
        await clock.run_for(7.5)
        lab.there = "B2"
        await clock.run_for(20.0)
    foreign = [one for one in records.readings if one.value == Decimal("222.00")]
    assert 0 < len(foreign) <= 5, "no longer than prove_every"
    (doubt,) = records.doubts
    assert (doubt.instrument, doubt.channel, doubt.kind) == ("balance", "mass", "identity")
    assert "'B2' answers where 'B1' is expected" in doubt.text
    assert all(doubt.at <= one.at <= doubt.until for one in foreign)
    assert doubt.at >= records.readings[0].at + 2 * SECOND, "what was proven is no doubt"
    assert follower.doubts.count == 1
    assert records.events(EventKind.IDENTITY)


async def test_at_a_period_of_prove_every_and_longer_nothing_of_another_instrument_is_stored() -> None:
    for period in (5.0, 7.0):
        lab = Lab()
        async with running(lab.answer, period=period) as (clock, records, _, _):
            await clock.run_for(period * 2.5)
            lab.there = "B2"
            await clock.run_for(period * 4)
        assert records.readings
        assert all(one.value == Decimal("100.00") for one in records.readings)


async def test_bytes_that_nobody_asked_for_are_answered_by_a_proof_before_the_next_reading_counts() -> None:
    lab = Lab()
    async with running(lab.answer, prove_every=math.inf) as (clock, records, wire, _):
        await clock.run_for(7.5)
        lab.there = "B2"
        wire.unasked += 12  # its power-on line
        await clock.run_for(20.0)
    assert all(one.value == Decimal("100.00") for one in records.readings)
    assert records.events(EventKind.IDENTITY)


async def test_never_means_at_the_connection_only() -> None:
    lab = Lab()
    async with running(lab.answer, prove_every=math.inf) as (clock, _, wire, _):
        await clock.run_for(60.0)
        assert wire.asked.count(b"I4\r\n") == 1


async def test_proofs_are_asked_between_the_readings_and_move_none_of_them() -> None:
    async with running(period=1.0) as (clock, records, wire, _):
        await clock.run_for(100.0)
    assert 20 <= wire.asked.count(b"I4\r\n") <= 26, "every five seconds"
    late = [one.at % SECOND for one in records.readings[1:]]
    assert max(late) - min(late) < 2_000, "nanoseconds: rounding of a float clock"


async def test_an_identity_that_disturbs_is_asked_at_the_connection_and_after_unasked_bytes_only() -> None:
    driver = Driver(
        "disturbed",
        (Poll(Text(b"SI\r\n"), (Channel("mass", "mass", "g"),), lambda _: (Sample(Decimal(1), "g"),)),),
        Identity(Text(b"I4\r\n"), lambda _: "B1", disturbs=True),
    )
    async with running(balance, driver=driver) as (clock, _, wire, _):
        await clock.run_for(60.0)
        assert wire.asked.count(b"I4\r\n") == 1
        wire.unasked += 1
        await clock.run_for(60.0)
        assert wire.asked.count(b"I4\r\n") == 2


async def test_every_reading_carries_the_serial_number_and_identified_means_the_expected_one() -> None:
    async with running() as (clock, records, _, _):
        await clock.run_for(3.0)
    assert {(one.serial, one.identified) for one in records.readings} == {("B1", True)}
    async with running(serial=None) as (clock, records, _, _):
        await clock.run_for(3.0)
    assert {(one.serial, one.identified) for one in records.readings} == {("B1", False)}


async def test_an_instrument_that_need_not_be_identified_is_told_when_it_becomes_another_one() -> None:
    lab = Lab()
    async with running(lab.answer, serial=None) as (clock, records, _, _):
        await clock.run_for(7.5)
        lab.there = "B2"
        await clock.run_for(20.0)
    assert {one.serial for one in records.readings} == {"B1", "B2"}
    (event,) = records.events(EventKind.IDENTITY)
    assert "B2 answers where B1 answered before" in event.text
    (doubt,) = records.doubts
    mixed = [one for one in records.readings if one.serial == "B1" and one.value == Decimal("222.00")]
    assert all(doubt.at <= one.at <= doubt.until for one in mixed)


async def test_a_serial_number_that_identifies_nothing_is_refused() -> None:
    async with running(lambda _: b'I4 A "0"\r\n', serial="0") as (clock, records, _, follower):
        await clock.run_for(3.0)
    assert not records.readings
    assert "write identified = false" in follower.last_error


async def test_a_proof_answered_in_another_form_is_a_doubt_at_once_and_the_right_one_coming_back_heals_nothing() -> (
    None
):
    for strange in (b"ES\r\n", b"I4 I\r\n"):
        lab, word = Lab(), strange

        def answer(command: bytes, lab: Lab = lab, word: bytes = word) -> bytes:
            return word if command == b"I4\r\n" and lab.there == "B2" else lab.answer(command)

        async with running(answer) as (clock, records, _, _):
            await clock.run_for(7.5)
            lab.there = "B2"
            await clock.run_for(60.0)
            lab.there = "B1"
            await clock.run_for(60.0)
        foreign = [one for one in records.readings if one.value == Decimal("222.00")]
        assert foreign
        assert all(any(doubt.at <= one.at <= doubt.until for doubt in records.doubts) for one in foreign)


async def test_proofs_that_are_not_answered_are_a_doubt_and_one_that_is_answered_late_is_none() -> None:
    lab, silent = Lab(), False

    def answer(command: bytes) -> bytes:
        if silent and command == b"I4\r\n":
            raise Silent("no answer")
        return lab.answer(command)

    async with running(answer) as (clock, records, _, _):
        await clock.run_for(7.5)
        lab.there, silent = "B2", True
        await clock.run_for(60.0)
    foreign = [one for one in records.readings if one.value == Decimal("222.00")]
    assert foreign
    assert all(any(doubt.at <= one.at <= doubt.until for doubt in records.doubts) for one in foreign)
    lab, silent = Lab(), False
    async with running(answer) as (clock, records, wire, _):
        await clock.run_for(7.5)
        silent = True
        while wire.asked.count(b"I4\r\n") < 3:
            await clock.run_for(0.1)
        silent = False
        await clock.run_for(30.0)
    assert not records.doubts, "the same instrument was there all the time"


async def test_a_proof_that_ends_in_an_error_of_the_program_is_a_doubt_when_the_follower_is_started_again() -> None:
    lab = Lab()
    driver = mt_sics()

    def spoiled(raw: bytes) -> str:
        if lab.there == "B2":
            raise IndexError("list index out of range")
        assert driver.identity is not None
        return driver.identity.decode(raw)

    assert driver.identity is not None
    broken = replace(driver, identity=replace(driver.identity, decode=spoiled))
    clock, records = JumpingClock(), Records()
    station = Station("lab", records, clock)
    follower = Follower(station, Instrument("b", broken, Wire(clock, lab.answer), "B1", clock.monotonic), 1.0)
    made = Supervisor(station, [follower])
    task = asyncio.create_task(made.run())
    await clock.run_for(7.5)
    lab.there = "B2"
    await clock.run_for(60.0)
    task.cancel()
    await clock.finish(task)
    foreign = [one for one in records.readings if one.value == Decimal("222.00")]
    assert foreign
    assert all(any(doubt.at <= one.at <= doubt.until for doubt in records.doubts) for one in foreign)


async def test_what_was_stored_last_is_proven_before_a_follower_ends() -> None:
    for every in (5.0, math.inf):
        lab = Lab()
        async with running(lab.answer, prove_every=every) as (clock, records, _, _):
            await clock.run_for(7.5)
            lab.there = "B2"
            await clock.run_for(2.0)
        foreign = [one for one in records.readings if one.value == Decimal("222.00")]
        assert foreign
        (doubt,) = records.doubts
        assert all(doubt.at <= one.at <= doubt.until for one in foreign)


async def test_whoever_wakes_late_proves_in_time() -> None:
    for number in range(5):
        lab = Lab()
        async with running(lab.answer, period=5.0, late=0.0005) as (clock, records, _, _):
            await clock.run_for(17.0 + 5 * number)
            lab.there = "B2"
            await clock.run_for(20.0)
        assert records.readings
        assert all(one.value == Decimal("100.00") for one in records.readings)


async def test_a_machine_that_slept_believes_nobody() -> None:
    for every in (5.0, math.inf):
        lab = Lab()
        async with running(lab.answer, period=60.0, prove_every=every) as (clock, records, _, _):
            await clock.run_for(61.0)
            lab.there = "B2"
            clock.suspend(57.0)
            await clock.run_for(120.0)
        assert records.readings
        assert all(one.value == Decimal("100.00") for one in records.readings)


async def test_two_proofs_of_another_instrument_at_once_are_a_doubt_all_the_same() -> None:
    lab, fail = Lab(), False

    def answer(command: bytes) -> bytes:
        nonlocal fail
        if fail and command == b"SI\r\n":
            fail = False
            raise Silent("no answer")
        return lab.answer(command)

    async with running(answer, serial=None, period=0.0, delay=0.02) as (clock, records, wire, _):
        await clock.run_for(7.5)
        lab.there, fail = "B2", True
        wire.unasked += 1
        await clock.run_for(20.0)
    mixed = [one for one in records.readings if one.serial == "B1" and one.value == Decimal("222.00")]
    assert all(any(doubt.at <= one.at <= doubt.until for doubt in records.doubts) for one in mixed)
    assert records.events(EventKind.IDENTITY)


async def test_each_failed_proof_is_told() -> None:
    count = 0

    def answer(command: bytes) -> bytes:
        nonlocal count
        if command == b"I4\r\n":
            count += 1
            if count % 2 == 0:
                raise Silent("no answer")
        return WEIGHT if command == b"SI\r\n" else SERIAL["B1"]

    async with running(answer) as (clock, records, _, _):
        await clock.run_for(300.0)
    assert len(records.events(EventKind.DISCONNECT)) >= 25


async def foreign_and_doubted(
    trouble: Callable[[Lab, Wire], None], before_end: float = 0.4, delay: float = 0.02
) -> tuple[list[Reading], list[Doubt]]:
    """Exchange a balance, store two readings, cause trouble, and end; gives the foreign readings and the doubts."""
    lab = Lab()
    async with running(lab.answer, delay=delay) as (clock, records, wire, _):
        await clock.run_for(6.2)
        lab.there = "B2"
        await clock.run_for(2.0)
        trouble(lab, wire)
        await clock.run_for(before_end)
    return [one for one in records.readings if one.value == Decimal("222.00")], records.doubts


def silent(lab: Lab, wire: Wire) -> None:
    def answer(command: bytes) -> bytes:
        raise Silent("no answer")

    wire.answer = answer


def lost(lab: Lab, wire: Wire) -> None:
    def answer(command: bytes) -> bytes:
        raise Lost("unplugged")

    wire.answer = answer


def program(lab: Lab, wire: Wire) -> None:
    def answer(command: bytes) -> bytes:
        raise IndexError("list index out of range")

    wire.answer = answer


def slow(lab: Lab, wire: Wire) -> None:
    wire.delay = 60.0


@pytest.mark.parametrize("trouble", [silent, lost, program, slow])
@pytest.mark.parametrize("before_end", [0.05, 1.0, 5.0, 30.0])
async def test_nothing_is_left_unproven_where_a_follower_ends(
    trouble: Callable[[Lab, Wire], None], before_end: float
) -> None:
    foreign, doubts = await foreign_and_doubted(trouble, before_end)
    assert foreign
    assert all(any(doubt.at <= one.at <= doubt.until for doubt in doubts) for one in foreign)


async def test_a_stop_in_the_middle_of_a_proof_leaves_nothing_unproven() -> None:
    for tenth in range(12):
        foreign, doubts = await foreign_and_doubted(lambda *_: None, 0.1 * tenth, delay=0.3)
        assert all(any(doubt.at <= one.at <= doubt.until for doubt in doubts) for one in foreign)


async def test_a_link_that_may_not_be_asked_yet_is_no_failed_proof() -> None:
    async with running() as (clock, records, wire, _):
        await clock.run_for(6.2)
        wire.suspect = True
        wire.to_prove = lambda _: None  # type: ignore[method-assign,assignment]
        await clock.run_for(20.0)
        wire.suspect = False
        await clock.run_for(60.0)
    assert not records.doubts


# -- the setting


def unit_code(shown: list[str], raw: bytes) -> None:
    if shown[0] != "2":
        raise WrongSetting("set to another unit", raw)


def barometer(shown: list[str]) -> Driver[Text]:
    return Driver(
        "a barometer that tells its unit only where it is asked",
        (Poll(Text(b"P3\r\n"), (Channel("pressure", "pressure", "hPa"),), lambda _: (Sample(Decimal(1013), "hPa"),)),),
        Identity(Text(b"SN\r\n"), lambda _: "B1"),
        (Setup(Text(b"UN\r\n"), partial(unit_code, shown), proves=True),),
    )


async def test_a_unit_changed_while_connected_is_found_by_the_next_proof() -> None:
    shown = ["2"]
    async with running(lambda _: b"\r\n", driver=barometer(shown)) as (clock, records, _, _):
        await clock.run_for(7.5)
        shown[0] = "3"
        await clock.run_for(20.0)
        stored = len(records.readings)
        shown[0] = "2"
        await clock.run_for(20.0)
        assert len(records.readings) > stored, "and is read again"
    (doubt,) = records.doubts
    assert doubt.kind == "setting"
    assert doubt.until == records.readings[stored - 1].at


# -- a value without its unit

PLAIN, GRAMS, POUNDS = b"1", b"2", b"3"


def printed(raw: bytes) -> tuple[Sample]:
    if raw == b"?":
        raise Unreadable("what is that", raw)
    unit = {PLAIN: None, GRAMS: "g", POUNDS: "[lb_av]"}[raw]
    return (Sample(Decimal(100), unit, Status.UNSTABLE if unit is None else Status.GOOD),)


def printer() -> Driver[Text]:
    channels = (Channel("mass", "mass", "g"),)
    return Driver("a balance", (Poll(Text(b"P\r\n"), channels, printed),), Identity(Text(b"I\r\n"), lambda _: "B1"))


async def test_a_value_without_its_unit_counts_only_after_the_right_unit_was_shown() -> None:
    shown = [PLAIN]
    async with running(lambda _: shown[0], driver=printer()) as (clock, records, _, _):
        await clock.run_for(3.0)
        assert {(one.value, one.status) for one in records.readings} == {(None, Status.INVALID)}
        shown[0] = GRAMS
        await clock.run_for(3.0)
        shown[0] = PLAIN
        count = len(records.readings)
        await clock.run_for(3.0)
        assert not records.doubts
    fresh = records.readings[count + 1 :]
    assert {(one.value, one.status) for one in fresh} == {(Decimal(100), Status.UNSTABLE)}
    (doubt,) = records.doubts
    assert (doubt.kind, doubt.at, doubt.until) == ("unit", records.readings[count].at, fresh[-1].at), (
        "nobody takes them over"
    )


async def test_after_unasked_bytes_and_at_another_instrument_the_unit_must_be_shown_again() -> None:
    shown, serial = [GRAMS], ["B1"]
    plain = Driver(
        "a balance",
        (Poll(Text(b"P\r\n"), (Channel("mass", "mass", "g"),), printed),),
        Identity(Text(b"I\r\n"), lambda _: serial[0]),
    )
    for change in ("unasked", "exchange"):
        shown[0], serial[0] = GRAMS, "B1"
        async with running(lambda _: shown[0], driver=plain, serial=None) as (clock, records, wire, _):
            await clock.run_for(3.5)
            shown[0] = PLAIN
            await clock.run_for(2.0)
            if change == "unasked":
                wire.unasked += 10
            else:
                serial[0] = "B2"
                await clock.run_for(6.0)
            count = len(records.readings)
            await clock.run_for(5.0)
        after = records.readings[count:]
        assert after
        assert all(one.value is None for one in after), change


async def test_values_without_a_unit_are_a_doubt_where_another_unit_is_shown_next() -> None:
    shown = [GRAMS]
    async with running(lambda _: shown[0], driver=printer()) as (clock, records, _, _):
        await clock.run_for(3.5)
        shown[0] = PLAIN
        await clock.run_for(3.0)
        shown[0] = POUNDS
        await clock.run_for(3.0)
        shown[0] = PLAIN
        await clock.run_for(10.0)
    plain = [one for one in records.readings if one.status is Status.UNSTABLE]
    (doubt,) = records.doubts
    assert (doubt.kind, doubt.at, doubt.until) == ("unit", plain[0].at, plain[-1].at)
    after = [one for one in records.readings if one.at > doubt.until]
    assert all(one.value is None for one in after), "pounds were shown since"
