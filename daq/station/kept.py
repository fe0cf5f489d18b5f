"""What the supervisor knows of one instrument of the config, whether or not its follower could be made."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from daq.host.parts import Failures
    from daq.station.acquisition import Follower
    from daq.station.doubts import Doubts

STUCK = 8.0
"""Seconds after which a follower that was told to end, and does not, makes the watchdog start the station again."""


@dataclass(frozen=True)
class Left:
    """What one who followed an instrument has left to the next: the first tick that nobody has accounted for.

    `resume_from` is in seconds of `host.clock.elapsed`, None where no tick was due; `polls` are the questions at each
    tick, `doubts` those with which it goes on, None where the next one may be another instrument.
    """

    resume_from: float | None = None
    polls: int = 1
    doubts: Doubts | None = None


NOTHING_LEFT = Left()


@dataclass(eq=False)
class Kept:
    """One instrument of the config and what its keeper knows of it; `make` gives its follower, and may fail."""

    name: str
    make: Callable[[], Follower]
    period: float
    failures: Failures
    since: float
    """Instant (`host.clock.elapsed`) from which it is to be followed."""
    left: Left = NOTHING_LEFT
    """What the one before has left, as long as its own follower has not been made."""
    follower: Follower | None = None
    for_good: bool = False
    """Nobody goes on with it when it has ended."""
    ended: bool = False
    """It is in the config no more, or the station stops: nothing is started again."""
    trouble: str = ""
    """Why it does not run at this moment, or has not been read since; empty where all is well."""
    readings_before: int = 0
    told_to_end: float = math.inf
    """Monotonic instant at which a follower that hangs was told to end."""
    hung_for: float = 0.0
    said: bool = False
    """Whether it was said that it cannot be ended."""
    running: asyncio.Task[None] | None = None
    keeper: asyncio.Task[None] | None = None
    going: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it is to end: a pause is not waited for."""

    @property
    def state(self) -> str:
        """Say "reading", "failing" or "waiting" (nothing read yet)."""
        if self.follower is None:
            return "failing" if self.trouble else "waiting"
        return "failing" if self._troubled else self.follower.state

    @property
    def last_error(self) -> str:
        """Words of what went wrong last."""
        if self.follower is None or self._troubled:
            return self.trouble
        return self.follower.last_error or self.failures.last

    @property
    def _troubled(self) -> bool:
        return bool(self.trouble) and self.readings == self.readings_before

    @property
    def instrument(self) -> Any:  # noqa: ANN401  # an Instrument of any driver, or what stands for one
        """Give the instrument, or an object without a serial number where it could not be made."""
        return self.follower.instrument if self.follower is not None else NotMade(self.name)

    @property
    def readings(self) -> int:
        """Readings since it is in the config."""
        return self.follower.readings if self.follower is not None else 0

    @property
    def errors(self) -> int:
        """Failed readings, and failures of the code."""
        return self.failures.count + (self.follower.errors if self.follower is not None else 0)

    @property
    def proves_at_connection_only(self) -> bool:
        """Whether its identity is asked for at the connection alone, as far as is known."""
        identity = self.follower.instrument.driver.identity if self.follower is not None else None
        return identity is not None and identity.disturbs

    @property
    def polls(self) -> int:
        """Questions at each tick."""
        return len(self.follower.instrument.driver.polls) if self.follower is not None else self.left.polls

    @property
    def missed(self) -> int:
        """Polls that were due and not taken."""
        return self.follower.missed if self.follower is not None else 0

    @property
    def restarts(self) -> int:
        """How often it was started again."""
        return self.follower.restarts if self.follower is not None else 0

    @property
    def last_at(self) -> int | None:
        """Stamp of the last reading."""
        return self.follower.last_at if self.follower is not None else None

    @property
    def unaccounted(self) -> float:
        """Instant (`host.clock.elapsed`) from which nobody has accounted for its ticks."""
        return self.since if self.left.resume_from is None else self.left.resume_from

    def account_up_to(self, tick: float | None, now: float) -> None:
        """Note that all before this tick is told; where there is none, all before `now`."""
        self.since, self.left = now, replace(self.left, resume_from=tick)

    def hand_on(self, *, same: bool) -> Left:
        """Give what is left to the next one; `same`: it is to be the same instrument, at the same place."""
        resume_from, doubts = self.left.resume_from, self.left.doubts
        if self.follower is not None:
            resume_from, doubts = self.follower.grid.resume_from, self.follower.doubts
        return Left(resume_from, self.polls, doubts if same else None)

    @property
    def stuck(self) -> float:
        """Monotonic instant from which the whole station counts as stuck because of it."""
        return self.told_to_end + STUCK


@dataclass(frozen=True)
class NotMade:
    """Stands for an instrument that could not be made."""

    name: str
    serial: None = None
    link: None = None
    connected: bool = False
    identified: bool = False
