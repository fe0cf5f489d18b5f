"""Keeps one follower for each instrument: one that fails or hangs is started again, without effect on the others."""

from __future__ import annotations

import asyncio
import logging
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from daq.host.clock import first_tick, utc_ns_at, wait
from daq.road.reading import EventKind
from daq.station.clock_watch import watch_clock
from daq.station.missed import Missed
from daq.station.parts import Failures, Part, in_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from daq.host.clock import Clock
    from daq.station.acquisition import Follower
    from daq.station.records import Station

log = logging.getLogger(__name__)

LAST_ANSWER = 2.0
"""Seconds to wait for the answer that a follower expects when it is to end."""
STUCK = 8.0
"""Seconds after which a follower that was told to end, and does not, makes the watchdog start the station again."""
SAME_TICK = 1e-3
"""Part of a period by which two instants of one tick may differ: the wall clock is corrected in small steps."""
STARTED_AGAIN = "it failed and was started again"


@dataclass(eq=False)
class Kept:
    """One instrument of the config and what its keeper knows of it; `make` gives its follower, and may fail."""

    name: str
    make: Callable[[], Follower]
    period: float
    failures: Failures
    since: float
    """Monotonic instant from which it was to be read, and has had no follower that accounts for its ticks."""
    follower: Follower | None = None
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
    def polls(self) -> int:
        """Questions at each tick."""
        return len(self.follower.instrument.driver.polls) if self.follower is not None else 1

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
    def resume_from(self) -> float | None:
        """Give the monotonic instant of the first tick that is not accounted for; None where that is unknown."""
        return self.follower.resume_from if self.follower is not None else self.since

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


class Supervisor:
    """The followers of a station by the name of their instrument; adds, removes and restarts them while it runs.

    What belongs to a restart (task, pause, count) belongs to one follower object: after a reload there may be another
    one of the same name.
    """

    def __init__(self, station: Station, followers: Iterable[Follower] = ()) -> None:
        self._station = station
        self._clock: Clock = station.clock
        self._running = False
        self.followers: dict[str, Kept] = {}
        for one in followers:
            self.add(one)

    def add(self, follower: Follower) -> None:
        """Follow one more instrument."""
        self.add_made(follower.instrument.name, lambda: follower, follower.period)

    def add_made(self, name: str, make: Callable[[], Follower], period: float) -> None:
        """Follow one more instrument, whose follower is made now; where that fails, it is tried again and again."""
        kept = Kept(name, make, period, Failures(name, self._clock), self._clock.monotonic())
        self.followers[name] = kept
        self._make(kept)
        if self._running:
            self._start(kept)

    async def run(self) -> None:
        """Follow every instrument until cancelled; an answer that is expected then is still taken."""
        self._running = True
        watch = [
            asyncio.create_task(Part("the watch over the clock", self._clock).keep(self._watch_clock), name="clock"),
            asyncio.create_task(Part("the watch over the followers", self._clock).keep(self._watch), name="watch"),
        ]
        for kept in self.followers.values():
            self._start(kept)
        try:
            await asyncio.Event().wait()
        finally:
            self._running = False
            for task in watch:
                task.cancel()
            await self._end(list(self.followers.values()), "the station stops")

    @property
    def stuck(self) -> str | None:
        """Name an instrument that hangs and could not be ended."""
        now = self._clock.monotonic()
        return next((name for name, one in self.followers.items() if now > one.stuck), None)

    async def remove(self, names: Iterable[str]) -> list[Kept]:
        """Stop following these; answers that are expected are still taken. Gives what was known of them."""
        gone = [self.followers[name] for name in names if name in self.followers]
        await self._end(gone, "it was taken out of the config, or changed there")
        for kept in gone:
            if self.followers.get(kept.name) is kept:
                del self.followers[kept.name]
        return gone

    # -- keeping one

    def _start(self, kept: Kept) -> None:
        kept.keeper = asyncio.create_task(self._keep(kept), name=f"keeper of {kept.name}")

    async def _keep(self, kept: Kept) -> None:
        """Keep one follower running: the only place that catches what goes wrong in it."""
        while not kept.ended:
            if kept.follower is not None or self._make(kept):
                await self._run_once(kept)
            if not kept.ended:
                await self._pause(kept)

    def _make(self, kept: Kept) -> bool:
        try:
            follower = kept.make()
            if kept.trouble:
                begin = kept.since if follower.resume_from is None else follower.resume_from
                follower.resume_from = self._account_unmade(kept, follower.account, begin)
        except Exception as error:  # noqa: BLE001  # the keeper of this instrument: told, counted, shown, tried again
            self._failed(kept, error)
            return False
        kept.follower = follower
        return True

    async def _run_once(self, kept: Kept) -> None:
        follower = kept.follower
        if follower is None or follower.stopping:
            kept.ended = True
            return
        follower.ending = STARTED_AGAIN
        kept.running = asyncio.create_task(follower.run(), name=kept.name)
        try:
            await asyncio.wait([kept.running])
        finally:
            hung, kept.told_to_end = kept.told_to_end < math.inf, math.inf
            if kept.running.done():
                self._note_end(kept, kept.running, hung=hung)

    def _note_end(self, kept: Kept, task: asyncio.Task[None], *, hung: bool) -> None:
        error = asyncio.CancelledError("it was cancelled from outside") if task.cancelled() else task.exception()
        if kept.ended:
            if isinstance(error, Exception):
                kept.failures.note(error)
            return
        if hung and (error is None or isinstance(error, asyncio.CancelledError)):
            if kept.hung_for:
                kept.failures.last = f"no progress, {kept.hung_for:.0f} s later than the slowest reading can take"
                kept.failures.next_pause()
                self._tell(kept, kept.failures.last)
        elif isinstance(error, KeyboardInterrupt | SystemExit):
            raise error  # the interpreter is to end
        else:
            self._failed(kept, error or RuntimeError("it has ended by itself"))
        if kept.follower is not None:
            kept.follower.restarts += 1

    def _failed(self, kept: Kept, error: BaseException) -> None:
        if kept.failures.note(error):
            self._tell(kept, f"failed: {in_words(error)}")
        kept.trouble, kept.readings_before = kept.failures.last, kept.readings

    def _tell(self, kept: Kept, what: str) -> None:
        kept.trouble, kept.readings_before = kept.failures.last, kept.readings
        text = f"{what}; started again in {kept.failures.pause:g} s"
        try:
            self._station.event(EventKind.RESTART, text, instrument=kept.name)
        except Exception:
            log.exception("%s: %s: this could not be recorded", kept.name, text)

    async def _pause(self, kept: Kept) -> None:
        going = asyncio.ensure_future(kept.going.wait())
        await wait(self._clock, [going], kept.failures.pause)
        going.cancel()

    def _account_unmade(self, kept: Kept, account: Missed, begin: float) -> float | None:
        """Count the ticks from `begin` on at which there was no follower; gives the next one, None without a grid."""
        if not kept.period:
            return None
        tick = first_tick(self._clock, kept.period)
        passed = math.floor((tick - begin) / kept.period + SAME_TICK)
        account.passed(passed, utc_ns_at(self._clock, tick - passed * kept.period), kept.trouble)
        return tick

    # -- watching all

    async def _watch_clock(self) -> None:
        await watch_clock(self._station)

    async def _watch(self) -> None:
        while True:
            await self._clock.sleep_until(self._clock.monotonic() + 1.0)
            now = self._clock.monotonic()
            for kept in self.followers.values():
                self._look_at(kept, now)

    def _look_at(self, kept: Kept, now: float) -> None:
        """Tell a follower that hangs to end; its keeper starts it again when it has, and waits for nobody else."""
        task, follower = kept.running, kept.follower
        if task is None or task.done() or follower is None or kept.ended:
            return
        if kept.told_to_end == math.inf:
            try:
                kept.hung_for = follower.overdue(now)
                hangs = kept.hung_for > 0.0
            except Exception as error:  # noqa: BLE001  # the keeper: one that cannot even say this is started again
                self._failed(kept, error)
                hangs, kept.hung_for = True, 0.0
            if hangs:
                kept.told_to_end, kept.said = now, False
                task.cancel()
        elif now - kept.told_to_end > LAST_ANSWER:
            if not kept.said:
                log.critical("%s hangs and cannot be ended", kept.name)
                kept.said = True
            task.cancel()

    async def _end(self, gone: list[Kept], how: str) -> None:
        for kept in gone:
            kept.ended = True
            kept.going.set()
            if (follower := kept.follower) is not None:
                follower.stopping, follower.ending = True, how
                if not follower.asking and kept.running is not None:
                    kept.running.cancel()
        tasks = [kept.keeper for kept in gone if kept.keeper is not None]
        if tasks:
            await wait(self._clock, tasks, LAST_ANSWER)
            for kept in gone:
                if kept.running is not None:
                    kept.running.cancel()
            if not await wait(self._clock, tasks, LAST_ANSWER):
                hanging = [kept.name for kept in gone if kept.keeper is not None and not kept.keeper.done()]
                log.critical("%s: cannot be ended, and is left alone", ", ".join(hanging))
        for kept in gone:
            if kept.follower is None and kept.trouble:
                account = Missed(self._station, kept.name, 1)
                kept.since = self._account_unmade(kept, account, kept.since) or self._clock.monotonic()
