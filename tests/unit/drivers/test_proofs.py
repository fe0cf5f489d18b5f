"""Proofs, bytes that nobody asked for, and values that do not show their unit."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal

import pytest

from drivers.driver import Channel, Poll, Sample, Setup, Status, Text
from drivers.errors import Altered, Impostor, Silent, WrongSetting
from drivers.instrument import PROVE_EVERY
from tests.unit.drivers.answered import CONNECTED, DRIVER, MASS, ON, POLL, SET, VALUE, WHO, made, value


async def test_each_proof_is_counted_and_each_answer_says_how_many_there_were() -> None:
    instrument, _ = made()
    assert instrument.proofs == 0
    assert (await instrument.read(POLL)).proofs == 1
    assert (await instrument.read(POLL)).proofs == 1
    await instrument.prove()
    assert (await instrument.read(POLL)).proofs == 2
    instrument.expire_proof()
    assert (await instrument.read(POLL)).proofs == 3


async def test_a_proof_asks_who_and_how_it_is_set_and_sets_nothing() -> None:
    instrument, wire = made()
    await instrument.connect()
    wire.done()
    await instrument.prove()
    assert wire.done() == [WHO, SET]
    assert instrument.connected


@pytest.mark.parametrize("wrong", [{WHO: b"me B2"}, {SET: b"other"}, {WHO: Silent("no answer")}])
async def test_a_failed_proof_ends_the_trust(wrong: dict[Text, bytes | Exception]) -> None:
    instrument, wire = made()
    await instrument.connect()
    assert (instrument.connected, instrument.proving, instrument.proofs) == (True, False, 1)
    wire.answers |= wrong
    with pytest.raises((Impostor, Altered, Silent)):
        await instrument.prove()
    # Who is told of the failure sets `proving` back.
    assert (instrument.connected, instrument.proving, instrument.proofs) == (False, True, 1)


async def test_a_proof_is_repeated_when_the_last_one_is_prove_every_old_counted_from_its_question() -> None:
    instrument, wire = made()
    instrument.prove_every = 50.0
    assert not instrument.proof_due(math.inf), "what is not connected proves nothing"
    wire.now = 1000.0
    await instrument.connect()
    assert not instrument.proof_due(1049.5)
    assert instrument.proof_due(1049.95), "a little early, so that a reading at the mark need not wait for it"
    wire.done()
    wire.now = 1040.0
    await instrument.read(POLL)
    assert wire.done() == [VALUE]
    wire.now = 1050.0
    await instrument.read(POLL)
    assert wire.done() == [WHO, SET, VALUE]
    assert not instrument.proof_due(1090.0)
    assert instrument.proof_due(1100.0)
    instrument.prove_every = 0.5
    assert not instrument.proof_due(1050.4)
    assert instrument.proof_due(1050.48), "a tenth of a short one"


async def test_what_disturbs_or_cannot_be_asked_is_not_repeated() -> None:
    who = DRIVER.identity
    assert who is not None
    for driver, repeated in (
        (DRIVER, True),
        (replace(DRIVER, identity=replace(who, disturbs=True)), False),
        (replace(DRIVER, identity=None), True),
        (replace(DRIVER, identity=None, setup=(Setup(ON), Setup(SET))), False),
    ):
        instrument, _ = made(None, driver=driver)
        instrument.prove_every = PROVE_EVERY
        await instrument.connect()
        assert instrument.proof_due(1e6) is repeated


async def test_bytes_that_nobody_asked_for_are_followed_by_a_proof_before_the_value_counts() -> None:
    instrument, wire = made()
    await instrument.connect()
    wire.done()
    wire.unasked += 12
    answer = await instrument.read(POLL)
    assert wire.done() == [VALUE, WHO, SET]
    assert answer.proofs == 2, "the proof came after it, and proves it too"
    await instrument.read(POLL)
    assert wire.done() == [VALUE], "once is enough"


async def test_a_value_of_one_who_was_switched_on_in_its_place_is_not_taken() -> None:
    instrument, wire = made()
    await instrument.connect()
    wire.unasked += 12
    wire.answers[WHO] = b"me B2"
    with pytest.raises(Impostor):
        await instrument.read(POLL)


async def test_bytes_that_come_while_it_is_asked_who_it_is_are_proved_again_with_the_next_value() -> None:
    instrument, wire = made()

    def stray(query: Text) -> None:
        wire.unasked += query is WHO and instrument.proofs == 0

    wire.before = stray
    await instrument.connect()
    wire.done()
    await instrument.read(POLL)
    assert wire.done() == [VALUE, WHO, SET]


async def test_bytes_from_before_the_connection_are_none_of_its_own() -> None:
    instrument, wire = made(unasked=7)
    await instrument.read(POLL)
    assert wire.done() == [*CONNECTED, VALUE]


# A value without its unit counts while this connection has shown the right one, and no other since.

UNSURE = (Sample.missing(Status.INVALID),)
SURE = (Sample(Decimal("2.5"), None, Status.UNSTABLE),)


async def test_a_value_without_unit_counts_only_after_the_right_unit_was_shown() -> None:
    instrument, wire = made(answers={VALUE: b"2.5"})
    assert (await instrument.read(POLL)).samples == UNSURE
    wire.answers[VALUE] = b"none"
    assert (await instrument.read(POLL)).samples == UNSURE
    wire.answers[VALUE] = b"2.5"
    assert (await instrument.read(POLL)).samples == UNSURE, "what has no value shows no unit"
    wire.answers[VALUE] = b"1.5 g"
    await instrument.read(POLL)
    wire.answers[VALUE] = b"2.5"
    assert (await instrument.read(POLL)).samples == SURE
    await instrument.connect()
    assert (await instrument.read(POLL)).samples == UNSURE, "another connection has shown nothing"


async def test_another_unit_takes_that_back() -> None:
    instrument, wire = made()
    await instrument.read(POLL)
    wire.answers[VALUE] = b"1.5 mg"
    with pytest.raises(WrongSetting):
        await instrument.read(POLL)
    wire.answers[VALUE] = b"2.5"
    assert (await instrument.read(POLL)).samples == UNSURE


async def test_each_channel_shows_its_own_unit() -> None:
    def both(raw: bytes) -> tuple[Sample, ...]:
        first, second = raw.split(b",")
        return value(first) + value(second)

    poll = Poll(VALUE, (MASS, Channel("tare", "mass", "g")), both)
    instrument, wire = made(driver=replace(DRIVER, polls=(poll,)), answers={VALUE: b"1.5 g,2.5"})
    samples = (await instrument.read(poll)).samples
    assert (samples[0].unit, samples[1:]) == ("g", UNSURE)
    wire.answers[VALUE] = b"2.5,2.5"
    assert (await instrument.read(poll)).samples == SURE + UNSURE
