"""How much less often an instrument that fails, or one of its polls, is asked."""

from __future__ import annotations

from dataclasses import dataclass, field

FAILURES_ALLOWED = 3
"""Failures in a row before an instrument, or one of its polls, is asked less often."""
LONGEST_PAUSE = 30.0
"""Seconds at most between two attempts then."""


@dataclass(slots=True)
class Patience:
    """What one instrument with so many seconds between its ticks has failed lately, and the pauses that follow."""

    period: float
    _failures: int = field(default=0, init=False)
    _of_poll: dict[int, int] = field(default_factory=dict, init=False)
    _not_before: dict[int, float] = field(default_factory=dict, init=False)

    def due(self, poll: int, now: float) -> bool:
        """Whether this poll may be asked at the monotonic instant `now`."""
        return now >= self._not_before.get(poll, 0.0)

    def read(self, poll: int) -> None:
        """Note that a poll was read."""
        self._of_poll.pop(poll, None)
        self._not_before.pop(poll, None)

    def some_read(self, unreadable: list[int], now: float) -> None:
        """Note the polls that failed while others were read: they are asked less often, and cost the others little."""
        self._failures = 0
        for poll in unreadable:
            failures = self._of_poll[poll] = self._of_poll.get(poll, 0) + 1
            if pause := self._pause(failures):
                self._not_before[poll] = now + pause

    def none_read(self) -> float:
        """Note that nothing could be read; gives the seconds to pause beyond the next tick."""
        self._failures += 1
        return self._pause(self._failures)

    def begin_anew(self) -> None:
        """Forget the failures: it was plugged in again."""
        self._failures = 0
        self._not_before.clear()

    def _pause(self, failures: int) -> float:
        excess = failures - FAILURES_ALLOWED
        return min(LONGEST_PAUSE, max(self.period, 1.0) * 2.0 ** min(excess, 10)) if excess > 0 else 0.0
