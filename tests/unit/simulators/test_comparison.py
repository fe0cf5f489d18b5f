"""The oracle of the system tests sees every single thing that can be wrong with what is stored."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.system.comparison import Stored, compare, shown

if TYPE_CHECKING:
    from collections.abc import Callable

MS = 1_000_000
COUNT = 1_000


def answer(number: int, **other: Any) -> dict[str, Any]:
    """Give an answer of a balance that is asked every 50 ms and answers within 4 ms."""
    asked = number * 50 * MS
    digits = f"{100 + number / 1000:.4f}"
    row = {
        "instrument": "balance",
        "n": number,
        "asked_ns": asked + 1 * MS,
        "measured_ns": asked + 1 * MS,
        "at_ns": asked + 3 * MS,
        "serial": "SIM0000001",
        "request": "SI",
        "reply": f"S S {digits:>10} g\r\n",
        "registers": "",
        "values": {"mass": digits},
        "units": {"mass": "g"},
        "states": {"mass": "good"},
        "fault": None,
    }
    return row | other


def reading(number: int) -> Stored:
    asked = number * 50 * MS
    value = float(f"{100 + number / 1000:.4f}")
    text = f"S S {value:>10.4f} g\\r\\n"
    return Stored("balance", "mass", asked + 2 * MS, value, text, 0, number, 4.0, "g", "SIM0000001")


TRUTH = [answer(number) for number in range(1, COUNT + 1)]
RIGHT = [reading(number) for number in range(1, COUNT + 1)]


def test_right_readings_are_right() -> None:
    assert compare(TRUTH, RIGHT) == {"balance": COUNT}


CHANGES: dict[str, tuple[str, Callable[[Stored], Stored]]] = {
    "value": ("wrong value", lambda one: replace(one, value=(one.value or 0) + 1e-4)),
    "sign": ("wrong value", lambda one: replace(one, value=-(one.value or 0))),
    "no value": ("wrong value", lambda one: replace(one, value=None)),
    "status": ("wrong status", lambda one: replace(one, status=1)),
    "text": ("wrong text", lambda one: replace(one, text=one.text.replace("S S", "S D"))),
    "empty text": ("wrong text", lambda one: replace(one, text="")),
    "unit": ("wrong unit", lambda one: replace(one, unit="mg")),
    "serial": ("another instrument", lambda one: replace(one, serial="SIM0SWAPPED")),
    "stamp of the next answer": ("wrong value", lambda one: replace(one, at=one.at + 50 * MS)),
    "stamp between two answers": ("0 answers", lambda one: replace(one, at=one.at + 20 * MS)),
    "question behind the answer": ("0 answers", lambda one: replace(one, at=one.at + 4 * MS)),
    "longer than the answer": ("3 answers", lambda one: replace(one, rtt_ms=120.0)),
    "value of the answer before": ("wrong value", lambda one: replace(one, value=(one.value or 0) - 1e-3)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_one_changed_reading_among_a_thousand_is_found(change: str) -> None:
    words, changed = CHANGES[change]
    stored = [changed(one) if one.seq == 500 else one for one in RIGHT]
    with pytest.raises(AssertionError, match=words):
        compare(TRUTH, stored)


@pytest.mark.parametrize("place", [1, 500, COUNT - 1])
def test_one_in_a_thousand_that_is_missing_is_found(place: int) -> None:
    with pytest.raises(AssertionError, match="balance mass: 1 answers missing"):
        compare(TRUTH, [one for one in RIGHT if one.seq != place])


def test_only_the_last_one_may_be_missing() -> None:
    assert compare(TRUTH, RIGHT[:-1]) == {"balance": COUNT - 1}
    with pytest.raises(AssertionError, match="2 answers missing"):
        compare(TRUTH, RIGHT[:-2])
    with pytest.raises(AssertionError, match="1 answers missing"):
        compare(TRUTH, RIGHT[:-1], stops=0)


@pytest.mark.parametrize("seq", [500, 2_000])
def test_doubled_one_is_found(seq: int) -> None:
    with pytest.raises(AssertionError, match="one answer stored twice"):
        compare(TRUTH, [*RIGHT, replace(RIGHT[500], seq=seq, at=RIGHT[500].at + 1)])


def test_late_answer_is_no_answer_to_the_next_question() -> None:
    """The answer to question 500 comes during question 501, and nothing else does: its value is 50 ms old."""
    late = answer(500, at_ns=501 * 50 * MS + 2 * MS, fault="late")
    truth = [late if one["n"] == 500 else one for one in TRUTH if one["n"] != 501]
    taken = replace(reading(501), value=reading(500).value, text=reading(500).text)
    with pytest.raises(AssertionError, match="0 answers"):
        compare(truth, [taken if one.seq == 501 else one for one in RIGHT if one.seq != 500])


def test_faulty_answer_is_never_stored() -> None:
    truth = [answer(500, fault="cut") if one["n"] == 500 else one for one in TRUTH]
    with pytest.raises(AssertionError, match="stored from a faulty answer"):
        compare(truth, RIGHT)
    assert compare(truth, [one for one in RIGHT if one.seq != 500]) == {"balance": COUNT - 1}


def test_flipped_bit_is_forgiven_only_where_nothing_could_tell_it() -> None:
    truth = [answer(500, fault="garbled") if one["n"] == 500 else one for one in TRUTH]
    stored = [replace(one, value=900.0) if one.seq == 500 else one for one in RIGHT]
    with pytest.raises(AssertionError, match="stored from a faulty answer"):
        compare(truth, stored)
    assert compare(truth, stored, unprovable={"balance"}) == {"balance": COUNT}
    with pytest.raises(AssertionError, match="wrong value"):
        compare(TRUTH, stored, unprovable={"balance"})


def test_kill_costs_the_last_moments_and_one_question() -> None:
    kill = 500 * 50 * MS + 15 * MS
    uncommitted, on_its_way = {497, 498, 499, 500}, {501}
    away = set(range(502, 520))  # nobody asked: the truth has no answers
    truth = [one for one in TRUTH if one["n"] not in away]

    def without(numbers: set[int]) -> list[Stored]:
        return [one for one in RIGHT if one.seq not in numbers | away]

    assert compare(truth, without(uncommitted | on_its_way), kills=[kill])
    assert compare(truth, without(set()), kills=[kill])
    for numbers in ({498}, {497, 498, 499}, set(range(490, 502)), {520}):
        with pytest.raises(AssertionError, match="answers missing"):
            compare(truth, without(numbers), kills=[kill])
    with pytest.raises(AssertionError, match="answers missing"):
        compare(TRUTH, [one for one in RIGHT if one.seq not in {501, 502}], kills=[kill])


def test_text_is_written_as_the_readings_write_it() -> None:
    assert shown(answer(1, reply='a\\b"\r\n\x1bP\xe9')) == 'a\\\\b"\\r\\n\\x1bP\\xe9'
    assert shown(answer(1, registers="7ae141f4")) == "7AE1 41F4"
