"""Which questions are open, what is taken for a late answer, and how long is waited for."""

from __future__ import annotations

import pytest

from drivers.links.open_questions import OpenQuestions


def test_the_oldest_question_of_its_form_is_answered_first() -> None:
    questions = OpenQuestions(settle=1.0)
    questions.add("four", 10.0)
    questions.add("two", 11.0)
    questions.add("four", 12.0)
    assert questions.recognise("four", 12.5)
    assert questions.delay(12.5) == 2.5
    assert questions.recognise("two", 13.0)
    assert questions.delay(13.0) == 2.5
    assert questions.recognise("four", 14.8)
    assert questions.delay(14.8) == pytest.approx(2.8)
    assert not questions.recognise("four", 14.9)
    assert questions.holds("four", 15.0), "what was seen proves nothing"
    questions.clear()
    assert not questions.any(15.0)


def test_a_control_question_is_answered_by_the_oldest_one_and_is_open_then_itself() -> None:
    questions = OpenQuestions(settle=1.0)
    for sent, form in enumerate(["I4", "SI", "I2", "I4"], 10):
        questions.add(form, float(sent))
    questions.answered("I4", 14.0, {"I2", "I4"})
    assert questions.forms(15.0) == ["SI", "I2", "I4", "I4"]
    questions.keep_harmless({"I2", "I4"})
    assert questions.forms(15.0) == ["I2", "I4", "I4"]
    assert not questions.any(15.0)
    assert questions.oldest(15.0) is None
    questions.add("SI", 16.0)
    assert questions.any(17.0)
    questions.answered("I3", 18.0, {"I2", "I3", "I4"})
    assert questions.forms(19.0) == ["I4", "I4", "SI", "I3"], "its answer may look like that to I2"


def test_the_answer_to_a_poll_shows_that_lost_control_questions_are_not_open_any_more() -> None:
    questions = OpenQuestions(settle=1.0)
    questions.add("I4", 10.0)
    questions.answered("I4", 11.0, {"I4"})
    questions.keep_harmless({"I4"})
    assert questions.forms(12.0) == ["I4"]
    questions.add("SI", 12.0)
    questions.answered("SI", 13.0, {"I4"})
    assert questions.forms(13.0) == ["I4", "SI"], "it may be the late one"
    questions.keep_harmless({"I4"})
    questions.answered("SI", 14.0, {"I4"})
    assert questions.forms(14.0) == []


def test_one_line_alone_shows_no_delay_that_is_many_times_longer() -> None:
    """A balance that was off for 25 s greets; what was asked first meanwhile is no measure."""
    questions = OpenQuestions(settle=1.0)
    questions.add("SI", 0.0)
    questions.recognise("SI", 25.0)
    assert questions.delay(25.0) == 4.0
    questions.add("SI", 26.0)
    questions.recognise("SI", 51.0)
    assert questions.delay(51.0) == 16.0


def test_where_control_questions_can_prove_it_time_alone_does_not() -> None:
    """A gateway may hold an answer back until the next question, however much later that is asked."""
    questions = OpenQuestions(settle=1.0, provable=True)
    for sent in range(20):
        questions.add("SI", float(sent))
    assert questions.holds("SI", 100_000.0)
    assert len(questions.forms(100_000.0)) == 16
    assert questions.outlived("SI", 100_000.0)
    questions.add("SI", 99_990.0)
    assert not questions.outlived("SI", 100_000.0)
    assert questions.outlived("I4", 100_000.0)


@pytest.mark.parametrize(("settle", "delay", "life"), [(1.0, 0.0, 30.0), (10.0, 0.0, 40.0), (1.0, 12.0, 48.0)])
def test_a_question_expires(settle: float, delay: float, life: float) -> None:
    questions = OpenQuestions(settle)
    if delay:
        for _ in range(2):
            questions.add("earlier", 100.0 - delay)
            questions.recognise("earlier", 100.0)
    questions.add("question", 100.0)
    assert questions.holds("question", 99.9 + life)
    assert not questions.holds("question", 100.1 + life)


@pytest.mark.parametrize(("delay", "quiet"), [(5.0, 20.0), (20.0, 30.0), (50.0, 60.0)])
def test_the_delay_lengthens_the_quiet(delay: float, quiet: float) -> None:
    questions = OpenQuestions(settle=20.0)
    assert questions.quiet(0.0) == 20.0
    questions.add("question", 5.0)
    questions.recognise("question", 5.0 + delay)
    assert questions.quiet(6.0 + delay) == pytest.approx(quiet)
    assert questions.quiet(10_000.0) == 20.0


def test_what_is_said_of_late_answers() -> None:
    questions = OpenQuestions(settle=1.0)
    assert questions.said(1.0, 0.0) == ""
    questions.add("question", 5.0)
    questions.recognise("question", 7.5)
    assert questions.said(1.0, 8.0) == (
        '; answers come 2.5 s after the question, longer than the time-out of 1 s: set timeout = "3.8 s"'
    )
    assert questions.said(4.0, 8.0) == ""


def test_a_dead_instrument_costs_no_memory() -> None:
    questions = OpenQuestions(settle=1e9)
    for number in range(10_000):
        questions.add(number, float(number))
    assert len(questions._open) <= 256
    assert questions.holds(9_999, 10_000.0)
