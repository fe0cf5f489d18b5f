"""An instrument that fails is asked less often, and one poll that fails costs the others little."""

from __future__ import annotations

import pytest

from daq.station.patience import FAILURES_ALLOWED, LONGEST_PAUSE, Patience


@pytest.mark.parametrize(
    ("period", "pauses"),
    [
        (0.1, [0, 0, 0, 2, 4, 8, 16, 30, 30]),
        (0.0, [0, 0, 0, 2, 4, 8, 16, 30, 30]),
        (5.0, [0, 0, 0, 10, 20, 30, 30, 30]),
    ],
)
def test_pauses_double_after_three_failures_up_to_the_longest(period: float, pauses: list[float]) -> None:
    patience = Patience(period)
    assert [patience.none_read() for _ in pauses] == pauses
    assert pauses.count(0) == FAILURES_ALLOWED
    assert max(pauses) == LONGEST_PAUSE
    for _ in range(2000):  # and no number grows without limit
        assert patience.none_read() == LONGEST_PAUSE


def test_one_reading_ends_the_pauses() -> None:
    patience = Patience(1.0)
    for _ in range(5):
        patience.none_read()
    patience.some_read([], 100.0)
    assert [patience.none_read() for _ in range(4)] == [0, 0, 0, 2]


def test_a_poll_that_fails_while_others_are_read_waits_and_the_others_do_not() -> None:
    patience, now = Patience(1.0), 100.0
    for _ in range(FAILURES_ALLOWED):
        patience.some_read([1], now)
        assert patience.due(1, now)
    patience.some_read([1], now)
    assert [patience.due(1, now + later) for later in (0.0, 1.999, 2.0)] == [False, False, True]
    assert patience.due(0, now)
    patience.some_read([1], now + 2.0)
    assert [patience.due(1, now + later) for later in (5.999, 6.0)] == [False, True]
    patience.read(1)
    assert patience.due(1, now + 2.0)
    for _ in range(FAILURES_ALLOWED):
        patience.some_read([1], now)
        assert patience.due(1, now), "it was read: the count begins anew"


def test_one_that_was_plugged_in_again_is_asked_at_once() -> None:
    patience = Patience(1.0)
    for _ in range(6):
        patience.none_read()
        patience.some_read([2], 50.0)
    assert not patience.due(2, 50.0)
    patience.begin_anew()
    assert patience.due(2, 50.0)
    assert patience.none_read() == 0.0
