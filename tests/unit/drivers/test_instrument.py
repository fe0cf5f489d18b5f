"""What an Instrument asks when it is connected, in which order, and which answers it believes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest

from drivers.driver import Sample, Setup, Text
from drivers.errors import Altered, Impostor, Lost, Silent, Unreadable, WrongSetting
from drivers.instrument import MOST_AT_ONCE, decoded
from tests.unit.drivers.answered import (
    CONNECTED,
    DRIVER,
    FIRST,
    MASS,
    ON,
    POLL,
    SECOND,
    SET,
    VALUE,
    WHO,
    Wire,
    made,
    setting,
)


async def test_the_identity_is_asked_before_anything_is_set_and_the_settings_before_the_first_value() -> None:
    instrument, wire = made()
    assert not instrument.connected
    answer = await instrument.read(POLL)
    assert wire.done() == [*CONNECTED, VALUE]
    assert (instrument.connected, instrument.identified, instrument.serial) == (True, True, "B1")
    assert answer.samples == (Sample(Decimal("1.5"), "g"),)
    assert (answer.raw, answer.text) == (b"1.5 g", "1.5 g")
    await instrument.read(POLL)
    assert wire.done() == [VALUE], "connected once"


async def test_an_answer_has_the_instants_of_its_question_on_the_wire_and_of_its_answer() -> None:
    instrument, wire = made()
    await instrument.connect()
    wire.now = 500.0
    answer = await instrument.read(POLL)
    assert (answer.asked, answer.answered) == (500.25, 501.0)


async def test_to_another_instrument_nothing_but_the_question_for_its_serial_number_is_sent() -> None:
    instrument, wire = made("B7")
    with pytest.raises(Impostor, match="'B1' answers where 'B7' is expected"):
        await instrument.read(POLL)
    assert wire.done() == ["open", WHO, "close"]
    assert not instrument.connected
    assert not instrument.identified


async def test_a_serial_number_that_identifies_nothing_is_refused() -> None:
    instrument, _ = made(answers={WHO: b"me 0000"})
    with pytest.raises(Unreadable, match="identified = false"):
        await instrument.connect()
    assert instrument.serial is None


@pytest.mark.parametrize("nothing", [b"me 0000", b"me N/A"])
async def test_what_identifies_nothing_is_read_unidentified_where_no_number_is_expected(nothing: bytes) -> None:
    instrument, _ = made(None, answers={WHO: nothing})
    await instrument.read(POLL)
    assert (instrument.serial, instrument.connected, instrument.identified) == (None, True, False)


async def test_without_an_expected_serial_number_it_is_read_and_does_not_identify() -> None:
    instrument, _ = made(None)
    await instrument.read(POLL)
    assert (instrument.serial, instrument.connected, instrument.identified) == ("B1", True, False)


async def test_a_command_set_without_identity_is_connected_by_its_settings() -> None:
    instrument, wire = made(None, driver=replace(DRIVER, identity=None))
    await instrument.read(POLL)
    assert wire.done() == ["open", ON, SET, VALUE]
    assert (instrument.serial, instrument.connected, instrument.identified) == (None, True, False)


@pytest.mark.parametrize("failed", [WHO, ON, SET, VALUE])
@pytest.mark.parametrize("error", [Silent("no answer"), Lost("unplugged"), Unreadable("half")])
async def test_after_any_failure_it_identifies_itself_again_before_the_next_value(
    failed: Text, error: Exception
) -> None:
    instrument, wire = made(answers={failed: error})
    assert not instrument.proving
    with pytest.raises(type(error)):
        await instrument.read(POLL)
    assert (instrument.connected, instrument.identified) == (False, False)
    assert instrument.proving is (failed is not VALUE), "a value that was not had disproves nothing"
    wire.done()
    wire.answers = Wire().answers
    await instrument.read(POLL)
    assert wire.done() == [*CONNECTED, VALUE]


async def test_a_cancelled_question_leaves_nothing_trusted() -> None:
    instrument, wire = made()
    await instrument.connect()
    wire.answers[VALUE] = asyncio.CancelledError()
    with pytest.raises(asyncio.CancelledError):
        await instrument.read(POLL)
    assert not instrument.connected


async def test_closed_is_not_connected() -> None:
    instrument, wire = made()
    await instrument.connect()
    await instrument.close()
    assert not instrument.connected
    assert wire.done()[-1] == "close"


# Control questions: only on a link that is suspect, and then before the identity.


async def test_a_suspect_link_is_trusted_after_two_control_questions_and_before_the_identity() -> None:
    instrument, wire = made(suspect=True)
    await instrument.read(POLL)
    assert wire.done() == ["open", FIRST, SECOND, "trust", WHO, ON, SET, VALUE]


async def test_a_control_question_that_proves_nothing_now_is_passed_over_and_the_identity_is_one_too() -> None:
    instrument, wire = made(suspect=True, unproven={FIRST})
    await instrument.connect()
    assert wire.done() == ["open", SECOND, WHO, "trust", WHO, ON, SET]


async def test_a_control_question_of_which_older_ones_are_open_is_asked_as_often_as_proves_something() -> None:
    instrument, wire = made(suspect=True, times={FIRST: 3, SECOND: 2})
    await instrument.connect()
    assert wire.done() == ["open", WHO, SECOND, SECOND, "trust", WHO, ON, SET]


async def test_one_attempt_asks_a_control_question_a_bounded_number_of_times() -> None:
    """Else an attempt could take so long that the follower counts as stuck; what was answered counts at the next."""
    instrument, wire = made(suspect=True, times={FIRST: 20, SECOND: 30, WHO: 40})
    with pytest.raises(Silent, match="answers to earlier questions may still come"):
        await instrument.connect()
    assert wire.done() == ["open", *[FIRST] * MOST_AT_ONCE]
    wire.times = {FIRST: MOST_AT_ONCE}
    await instrument.connect()
    assert wire.done() == ["open", SECOND, WHO, "trust", WHO, ON, SET]
    wire.suspect = True
    wire.times = {FIRST: MOST_AT_ONCE, SECOND: 30, WHO: 30}
    with pytest.raises(Silent):
        await instrument.connect()
    assert wire.done() == ["open", *[FIRST] * MOST_AT_ONCE, *[SECOND] * MOST_AT_ONCE]


async def test_where_too_few_control_questions_prove_anything_it_is_silent_for_now() -> None:
    instrument, wire = made(suspect=True, unproven={FIRST, SECOND})
    with pytest.raises(Silent, match="balance: answers to earlier questions may still come"):
        await instrument.connect()
    assert "trust" not in wire.did
    assert not instrument.connected
    wire.done()
    wire.unproven.clear()
    await instrument.connect()
    assert wire.done() == ["open", FIRST, SECOND, "trust", WHO, ON, SET]


async def test_a_command_set_with_fewer_questions_is_trusted_after_those_that_it_has() -> None:
    instrument, wire = made(driver=replace(DRIVER, controls=()), suspect=True)
    await instrument.connect()
    assert wire.done() == ["open", WHO, "trust", WHO, ON, SET]


async def test_a_command_set_without_any_question_waits_until_no_late_answer_can_come() -> None:
    instrument, wire = made(None, driver=replace(DRIVER, controls=(), identity=None), suspect=True)
    with pytest.raises(Silent, match="answers to earlier questions may still come"):
        await instrument.connect()
    assert wire.done() == ["open"]


async def test_a_wrong_answer_to_a_control_question_trusts_nothing() -> None:
    instrument, wire = made(suspect=True, answers={SECOND: b"1"})
    with pytest.raises(Unreadable, match="not b'2'"):
        await instrument.connect()
    assert wire.done() == ["open", FIRST, SECOND, "distrust"]


# What could not be read may have been a late answer; what shows another setting came in time.


@pytest.mark.parametrize(("asked", "answer"), [(WHO, b"value"), (ON, b"me B1"), (SET, b"1.5 g"), (VALUE, b"me B1 X")])
async def test_an_answer_that_cannot_be_read_makes_the_link_suspect(asked: Text, answer: bytes) -> None:
    instrument, wire = made(answers={asked: answer})
    with pytest.raises(Unreadable) as caught:
        await instrument.read(POLL)
    assert wire.did[-1] == "distrust"
    if asked is VALUE:
        assert caught.value.raw == answer, "to be stored in the event, also where the decoder does not give it"


async def test_another_unit_or_setting_does_not_make_the_link_suspect() -> None:
    instrument, wire = made(answers={VALUE: b"1.5 mg"})
    with pytest.raises(WrongSetting, match='mass: the instrument shows "mg", expected "g"'):
        await instrument.read(POLL)
    instrument, wire = made(answers={SET: b"other"})
    with pytest.raises(Altered, match="set otherwise"):
        await instrument.connect()
    assert "distrust" not in wire.did


@pytest.mark.parametrize("answer", [b"rubbish", Unreadable("unit 1 refuses the registers", b"83 02")])
async def test_where_a_setting_is_refused_or_cannot_be_read_its_advice_is_said(answer: bytes | Exception) -> None:
    advised = replace(DRIVER, setup=(Setup(SET, setting, proves=True, advice="write set = false"),))
    for driver, said in ((advised, "; write set = false"), (DRIVER, "")):
        instrument, _ = made(driver=driver, answers={SET: answer})
        with pytest.raises(Unreadable, match=f"(not b'set'|refuses the registers){said}$") as caught:
            await instrument.connect()
        assert caught.value.raw == (answer if isinstance(answer, bytes) else b"83 02")
        instrument, _ = made(driver=driver, answers={SET: b"other"})
        with pytest.raises(Altered, match=r"it is set otherwise$"):
            await instrument.connect()


async def test_a_setting_that_proves_nothing_is_never_called_altered() -> None:
    instrument, _ = made(driver=replace(DRIVER, setup=(Setup(SET, setting),)), answers={SET: b"other"})
    with pytest.raises(WrongSetting) as caught:
        await instrument.connect()
    assert type(caught.value) is WrongSetting


def test_as_many_values_as_channels() -> None:
    with pytest.raises(Unreadable, match="1 values for 2 channels"):
        decoded(replace(POLL, channels=(MASS, MASS)), b"1.5 g")


def test_a_decoder_that_says_what_it_read_is_believed_and_the_kind_of_error_is_kept() -> None:
    def part(raw: bytes) -> tuple[Sample, ...]:
        raise WrongSetting("this part of it", raw[:1])

    with pytest.raises(WrongSetting, match="this part of it") as caught:
        decoded(replace(POLL, decode=part), b"1.5 g")
    assert caught.value.raw == b"1"


async def test_no_attempt_to_read_takes_longer_than_the_longest_round() -> None:
    """A follower counts as stuck after it, so it must hold where every question is answered at its last instant."""
    slow = {FIRST: MOST_AT_ONCE, SECOND: MOST_AT_ONCE, WHO: MOST_AT_ONCE}
    instrument, wire = made(suspect=True, times=slow)  # the wire takes a second for each question, as is its time-out
    begun = wire.now
    await instrument.read(POLL)
    assert len(wire.did) == len(["open", "trust", WHO, ON, SET, VALUE]) + 2 * MOST_AT_ONCE
    assert wire.now - begun <= instrument.longest_round
