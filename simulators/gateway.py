"""A gateway or serial server between an instrument and its readers: it delays answers, and none overtakes another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

    from simulators.faults import Faults

NEXT = 1e-6
"""Seconds between two answers that leave together: the event loop keeps no order of equal instants."""


@dataclass(slots=True)
class Gateway:
    """Tells for each answer how long it is held."""

    faults: Faults
    generator: random.Random
    _count: int = 0
    _last: float = 0.0

    def hold(self, now: float) -> float:
        """Give the seconds that an answer of the instrument at `now` (s) waits here."""
        self._count += 1
        faults = self.faults
        wait = faults.delay_s + min(faults.growing_s * self._count, faults.growing_most_s)
        if faults.jitter_s:
            wait += self.generator.uniform(0.0, faults.jitter_s)
        wait += sum(seconds for number, seconds in faults.single if number == self._count)
        if not wait and now > self._last:
            return 0.0
        self._last = max(now + wait, self._last + NEXT)
        return self._last - now
