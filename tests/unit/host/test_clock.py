"""Two clocks are read together, however busy the machine is."""

from __future__ import annotations

import pytest

from daq.host.clock import SystemClock, ahead_ns, marks, utc_ns_at
from tests.jumping_clock import NANOSECONDS, JumpingClock


class StoppedBetweenLooks(JumpingClock):
    """A clock whose reader is stopped for 30 ms after its first looks at the wall clock."""

    stops = 3

    def utc_ns(self) -> int:
        seen = super().utc_ns()
        if self.stops:
            self.stops -= 1
            self._now += 0.030
        return seen


def test_a_reader_that_was_stopped_between_the_two_clocks_looks_again() -> None:
    clock = StoppedBetweenLooks()
    assert abs(ahead_ns(clock) - clock._offset_ns) < 1_000
    assert clock.stops == 0


def test_a_reader_that_is_always_stopped_gets_the_best_there_is() -> None:
    clock = StoppedBetweenLooks()
    clock.stops = 10**6
    assert abs(ahead_ns(clock) - clock._offset_ns) <= 15_000_000


def test_the_clocks_of_this_machine_agree_on_an_instant() -> None:
    clock = SystemClock()
    earlier, instant, later = clock.utc_ns(), clock.monotonic(), clock.utc_ns()
    assert earlier - 2_000_000 < utc_ns_at(clock, instant) < later + 2_000_000
    assert abs(clock.asleep() - SystemClock().asleep()) * NANOSECONDS < 2_000_000


@pytest.mark.parametrize(
    ("since", "now", "period", "count"),
    [
        (8.6, 10.6, 10.0, 1),
        (8.6, 10.6, 0.5, 4),
        (8.6, 9.9, 10.0, 0),
        (10.0, 20.0, 10.0, 1),
        (3599.0, 3604.0, 3600.0, 1),
    ],
)
def test_an_instrument_was_due_at_each_of_its_marks(since: float, now: float, period: float, count: int) -> None:
    midnight = 1_767_225_600 * 10**9
    assert marks(midnight + round(since * 1e9), midnight + round(now * 1e9), period) == count
