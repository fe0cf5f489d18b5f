"""Quantities: same instant, same value; known truth."""

from __future__ import annotations

import statistics

import pytest

from simulators.physics import (
    added,
    callendar_van_dusen,
    constant,
    drift,
    hysteresis,
    noise,
    settled,
    steps,
    swing,
)


def test_noise_is_the_same_at_the_same_instant_and_follows_its_seed() -> None:
    one, again, other = noise(0.1, "a"), noise(0.1, "a"), noise(0.1, "b")
    values = [one(t / 100) for t in range(2000)]
    assert values == [again(t / 100) for t in range(2000)]
    assert values != [other(t / 100) for t in range(2000)]
    assert statistics.stdev(values) == pytest.approx(0.1, rel=0.1)
    assert statistics.mean(values) == pytest.approx(0.0, abs=0.01)


def test_steps_settle_and_say_when() -> None:
    load, rest = steps([100.0, 0.0], 20.0, 0.3), settled(20.0, 0.3)
    assert load(5.0) == 100.0
    assert load(20.0) == pytest.approx(100.0)
    assert load(20.3) == pytest.approx(100.0 / 2.718281828)
    assert load(39.9) == pytest.approx(0.0, abs=1e-9)
    assert [rest(t) for t in (5.0, 20.1, 22.9, 23.1, 40.1)] == [True, False, False, True, False]


def test_sums_swings_drifts_and_lags() -> None:
    room = added(constant(20.0), swing(0.5, 86400.0), drift(0.01))
    assert room(0.0) == 20.0
    assert room(21600.0) == pytest.approx(20.5 + 0.06)
    assert hysteresis(drift(3600.0), 0.2)(100.0) == pytest.approx(99.9)
    assert hysteresis(drift(-3600.0), 0.2)(100.0) == pytest.approx(-99.9)


@pytest.mark.parametrize(
    ("celsius", "ohms"), [(-200.0, 18.52), (-50.0, 80.31), (0.0, 100.0), (100.0, 138.51), (850.0, 390.48)]
)
def test_platinum_follows_the_table_of_the_standard(celsius: float, ohms: float) -> None:
    """IEC 60751:2008, table 1."""
    assert callendar_van_dusen(celsius) == pytest.approx(ohms, abs=0.005)
