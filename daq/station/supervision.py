"""Runs one follower for each instrument: one that hangs is ended and started again, without effect on the others."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from daq.host.clock import wait
from daq.road.reading import EventKind
from daq.station.records import watch_clock

if TYPE_CHECKING:
    from collections.abc import Iterable

    from daq.station.acquisition import Follower
    from daq.station.records import Station

log = logging.getLogger(__name__)

LAST_ANSWER = 2.0
"""Seconds to wait for the answer that a follower expects when it is to end."""
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
RESET_AFTER = 600.0
"""Seconds without a restart after which the next one has `FIRST_PAUSE` again."""


class Supervisor:
    """The followers of a station by the name of their instrument; adds, removes and restarts them while it runs."""

    def __init__(self, station: Station, followers: Iterable[Follower]) -> None:
        self._station = station
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._restarted: dict[str, tuple[float, float]] = {}  # instant and pause of the last restart
        self._waiting: set[str] = set()
        self.followers = {one.instrument.name: one for one in followers}

    async def run(self) -> None:
        """Follow every instrument until cancelled; an answer that is expected then is still taken."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            clock = group.create_task(watch_clock(self._station), name="clock")
            for name in self.followers:
                self._start(name)
            try:
                await self._watch()
            finally:
                clock.cancel()
                await self._end(list(self.followers), "the station stops")

    def _start(self, name: str, pause: float = 0.0) -> None:
        if self._group is not None:
            self._tasks[name] = self._group.create_task(self._follow(name, pause), name=name)

    async def _follow(self, name: str, pause: float) -> None:
        if pause:
            await self._station.clock.sleep_until(self._station.clock.monotonic() + pause)
        await self.followers[name].run()

    async def _watch(self) -> None:
        clock = self._station.clock
        while True:
            await clock.sleep_until(clock.monotonic() + 1.0)
            for name in [name for name, one in self.followers.items() if clock.monotonic() > one.expected_by]:
                await self._restart(name)

    async def _restart(self, name: str) -> None:
        """End a follower that hangs and start it again; where it cannot be ended, the watchdog restarts the station."""
        follower, clock = self.followers[name], self._station.clock
        now = clock.monotonic()
        overdue = now - follower.expected_by
        task = self._tasks[name]
        task.cancel()
        follower.ending = "it is started again"
        if not await wait(clock, [task], LAST_ANSWER):
            log.critical("%s hangs and cannot be ended", name)
            return
        last, pause = self._restarted.get(name, (-RESET_AFTER, 0.0))
        pause = FIRST_PAUSE if now - last > RESET_AFTER else min(2 * pause, LONGEST_PAUSE)
        self._restarted[name] = (now, pause)
        follower.restarts += 1
        silent = follower.longest_wait + overdue
        text = f"no progress for {silent:.0f} s; started again in {pause:g} s"
        self._station.event(EventKind.RESTART, text, instrument=name)
        follower.note_stuck(clock.utc_ns() - round(silent * 1e9), int((silent + pause) / follower.period))
        self._start(name, pause)

    @property
    def stuck(self) -> str | None:
        """Name an instrument that hangs and could not be ended."""
        now = self._station.clock.monotonic()
        return next((name for name, one in self.followers.items() if now > one.expected_by + 4 * LAST_ANSWER), None)

    def add(self, follower: Follower) -> None:
        """Follow one more instrument."""
        self.followers[follower.instrument.name] = follower
        self._start(follower.instrument.name)

    async def remove(self, names: list[str]) -> None:
        """Stop following these; answers that are expected are still taken."""
        await self._end(names, "it was taken out of the config, or changed there")
        for name in names:
            del self.followers[name], self._tasks[name]

    async def _end(self, names: list[str], how: str) -> None:
        tasks = [self._tasks[name] for name in names if name in self._tasks]
        for name in names:
            follower = self.followers[name]
            follower.stopping, follower.ending = True, how
            if not follower.asking and name in self._tasks:
                self._tasks[name].cancel()
        if tasks:
            await wait(self._station.clock, tasks, LAST_ANSWER)
            for task in tasks:
                task.cancel()
            await wait(self._station.clock, tasks, LAST_ANSWER)
