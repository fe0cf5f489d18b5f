"""Keeps one follower for each instrument: one that fails or hangs is started again, without effect on the others."""

from __future__ import annotations

import asyncio
import logging
import math
from dataclasses import replace
from typing import TYPE_CHECKING

from daq.host.clock import STEP, elapsed, first_tick, utc_ns_at, wait
from daq.host.parts import Failures, Part, in_words
from daq.road.reading import EventKind
from daq.station.clock_watch import watch_clock
from daq.station.kept import NOTHING_LEFT, Kept, Left
from daq.station.missed import THE_STOP, Missed

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping

    from daq.host.clock import Clock
    from daq.station.acquisition import Follower
    from daq.station.doubts import Doubts
    from daq.station.records import Station

log = logging.getLogger(__name__)

LAST_ANSWER = 2.0
"""Seconds to wait for the answer that a follower expects when it is to end."""
STARTED_AGAIN = "it failed and was started again"


class Supervisor:
    """The followers of a station by the name of their instrument; adds, removes and restarts them while it runs.

    What belongs to a restart (task, pause, count) belongs to one follower object: after a reload there may be another
    one of the same name.
    """

    def __init__(self, station: Station, followers: Iterable[Follower] = ()) -> None:
        self._station = station
        self._clock: Clock = station.clock
        self._running = False
        self._stopped_at = math.inf
        """Instant (`host.clock.elapsed`) after which no tick is due, and nobody is followed who is not yet."""
        self.followers: dict[str, Kept] = {}
        for one in followers:
            self.add(one)

    def add(self, follower: Follower) -> None:
        """Follow one more instrument."""
        self.add_made(follower.instrument.name, lambda: follower, follower.period)

    def add_made(self, name: str, make: Callable[[], Follower], period: float, left: Left = NOTHING_LEFT) -> None:
        """Follow one more instrument, whose follower is made now; where that fails, it is tried again and again.

        `left` is what another one has left that was there before.
        """
        kept = Kept(name, make, period, Failures(name, self._clock), elapsed(self._clock), left)
        self.followers[name] = kept
        if self._stopped_at < math.inf:  # a reload was under way when the station stopped: nobody is asked any more
            kept.ended, kept.trouble = True, THE_STOP
            if left.resume_from is not None:
                self._guarded(kept, lambda: self._account_end_of_unmade(kept))
            return
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
            self.begin_no_more()
            for task in watch:
                task.cancel()
            for kept in self.followers.values():
                kept.for_good = True
            await self._end(list(self.followers.values()), THE_STOP)

    @property
    def stuck(self) -> str | None:
        """Name an instrument that hangs and could not be ended."""
        now = self._clock.monotonic()
        return next((name for name, one in self.followers.items() if now > one.stuck), None)

    def account_from_now(self) -> None:
        """Count nothing that was due before this instant: that is told already, as of the time without a station."""
        now = elapsed(self._clock)
        for kept in self.followers.values():
            tick = first_tick(self._clock, kept.period) + self._clock.asleep() if kept.period else None
            if kept.follower is not None:
                kept.follower.grid.resume_from = tick
            else:
                kept.account_up_to(tick, now)

    def take_over(self, doubts: Mapping[str, Doubts]) -> None:
        """Go on with what the run before has not proven, by instrument."""
        for name, before in doubts.items():
            if (kept := self.followers.get(name)) is not None:
                if kept.follower is None:
                    kept.left = replace(kept.left, doubts=before)
                else:
                    kept.follower.doubts.take_over(before)

    def begin_no_more(self) -> None:
        """Follow nobody from now on who is not followed yet: the station stops."""
        self._stopped_at = min(self._stopped_at, elapsed(self._clock))

    async def remove(self, names: Iterable[str], for_good: Container[str] = ()) -> list[Kept]:
        """Stop following these, some `for_good`; takes answers that are expected. Gives what was known of them."""
        gone = [self.followers[name] for name in names if name in self.followers]
        for kept in gone:
            kept.for_good = kept.name in for_good
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
                follower.grid.resume_from = self._account_unmade(kept, follower.account)
            elif kept.period:
                follower.grid.resume_from = kept.left.resume_from
            if kept.left.doubts is not None:
                follower.doubts.take_over(kept.left.doubts)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001  # the keeper of this instrument: told, counted, tried again
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

    def _account_unmade(self, kept: Kept, account: Missed) -> float | None:
        """Count the ticks at which there was no follower; gives the next one, None without a grid."""
        if not kept.period:
            return None
        tick = first_tick(self._clock, kept.period)
        due = tick + self._clock.asleep()
        tick_before = kept.left.resume_from is not None
        corrected = min(STEP, kept.period / 2) if tick_before else 0.0  # the wall clock may be, by so much
        if (late := due - self._stopped_at) > 0:  # what comes after the stop is not due
            later = math.floor(late / kept.period)
            tick, due = tick - later * kept.period, due - later * kept.period
        passed = math.floor((due - kept.unaccounted + corrected) / kept.period)
        try:
            account.passed(passed, utc_ns_at(self._clock, tick - passed * kept.period), kept.trouble)
        except Exception as error:  # noqa: BLE001  # counted by then: `account` tells it when it is closed
            kept.failures.note(error)
        return due

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
            if (follower := kept.follower) is None or kept.running is None or kept.running.done():
                self._end_unfollowed(kept, how)
                continue
            already, follower.stopping = follower.stopping, True
            self._prepare_end(kept, follower, how)
            if not follower.asking and not already:  # else it asks for its last proof
                kept.running.cancel()
        tasks = [kept.keeper for kept in gone if kept.keeper is not None]
        if tasks:
            await wait(self._clock, tasks, LAST_ANSWER)
            for kept in gone:
                if kept.running is not None and not (kept.follower is not None and kept.follower.proving_last):
                    kept.running.cancel()
            await wait(self._clock, tasks, LAST_ANSWER)
        for kept in gone:
            self._close_accounts(kept)

    def _close_accounts(self, kept: Kept) -> None:
        """Tell what is left to tell of one that has ended, or cannot be ended."""
        if kept.running is None or (follower := kept.follower) is None:
            return
        if kept.running.done():  # it may have been told to stop after it had told what it knew, or never have begun
            self._guarded(kept, follower.end_in_pause)
        elif not follower.left_alone:
            log.critical("%s: cannot be ended, and is left alone", kept.name)
            self._guarded(kept, follower.leave_alone)

    def _end_unfollowed(self, kept: Kept, how: str) -> None:
        """Tell what is untold of an instrument that ends while nobody follows it."""
        kept.ended = True
        if (follower := kept.follower) is not None:
            self._prepare_end(kept, follower, how)
            self._guarded(kept, follower.end_in_pause)
            return
        if kept.trouble:
            self._guarded(kept, lambda: self._account_end_of_unmade(kept))
        if kept.for_good and kept.left.doubts is not None:
            self._guarded(kept, kept.left.doubts.end_for_good)

    def _prepare_end(self, kept: Kept, follower: Follower, how: str) -> None:
        follower.for_good, follower.ending = kept.for_good, how
        follower.grid.until = min(self._stopped_at, elapsed(self._clock))

    def _account_end_of_unmade(self, kept: Kept) -> None:
        account = Missed(self._station, kept.name, kept.polls)
        kept.account_up_to(self._account_unmade(kept, account), elapsed(self._clock))
        account.close(THE_STOP)

    def _guarded(self, kept: Kept, end: Callable[[], None]) -> None:
        """Let one end; where that fails it costs no other one its end."""
        try:
            end()
        except Exception as error:  # noqa: BLE001  # the keeper of this instrument: told and counted
            self._failed(kept, error)
