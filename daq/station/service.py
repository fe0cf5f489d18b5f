"""The station as a service: runs until a stop signal, then sends what waits, writes its counts and closes."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from daq import __version__
from daq.host import notify
from daq.host.clock import SystemClock, wait
from daq.host.parts import Parts
from daq.host.signals import reload_signal, state_folder, stop_signals
from daq.road.mqtt import Message, stay_connected
from daq.road.reading import EventKind
from daq.spool.queue import Retention, Spool, SpoolError
from daq.station.acquisition import Follower
from daq.station.announcements import Announcements
from daq.station.control import Denied, serve_control, socket_of
from daq.station.health import Monitor
from daq.station.installation import instrument_of
from daq.station.kept import NOTHING_LEFT, Left
from daq.station.missed import THE_STOP
from daq.station.publisher import Publisher
from daq.station.questions import Questions
from daq.station.records import Station
from daq.station.reloading import Reloading
from daq.station.run_before import RunBefore
from daq.station.supervision import Supervisor
from drivers.links import Wires

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from pathlib import Path

    from daq.config import SpoolTable, StationConfig
    from daq.host.clock import Clock
    from drivers.instrument import Link

log = logging.getLogger(__name__)

DRAIN = 10.0
"""Seconds that a stopping station waits for the database to take what is left; the rest stays in the spool."""
HEALTH = 60.0
"""Seconds between two records of the station's health."""
STUCK = 20.0
"""Seconds without progress after which systemd's watchdog is no longer notified."""
CLOSE_WITHIN = 5.0
"""Seconds that a reload waits for the link of an instrument to close."""


class StationService:
    """One running station: its followers, its spool and its publisher.

    Each part has one keeper: what goes wrong in it is told, counted and begun again, and costs the others nothing.
    Only the spool ends the station, for without it nothing that is read could be kept.
    """

    def __init__(self, config: StationConfig, clock: Clock, wires: Wires, path: Path | None = None) -> None:
        """`path` is the config file that a reload reads again."""
        table = config.spool
        self.config = config
        self.clock = clock
        self.wires = wires
        self.parts = Parts(clock)
        self.spool_path = table.path or state_folder() / "spool.sqlite"
        self.spool = Spool(self.spool_path, table.limit, _retention(table), table.ballast)
        self.station = Station(config.station, self.spool, clock, last_run_stamp=self.spool.latest_stamp)
        self._run_before = RunBefore(self.station, self.spool, self.spool.head[0], self.spool.latest_stamp)
        self.supervisor = Supervisor(self.station)
        self.publisher = Publisher(config.station, self.spool, clock, self.status)
        self.monitor = Monitor(self.station, self.spool, self.publisher, self.supervisor, table.alarm_after)
        self.station.on_reading = self.parts["live values"].guarded(self.publisher.live.show, None)
        self.reloading = Reloading(self, path)
        self._questions = Questions(self.station, self.spool, self.publisher, self.monitor)
        self._look = self.parts["status"].guarded(self.monitor.status, {})
        self._tasks: set[asyncio.Task[None]] = set()
        self._publishing: asyncio.Task[None] | None = None
        self._republishing = asyncio.Lock()
        self._waiting_readings = 0
        Announcements(self.station, self.spool, self.publisher)
        for name in config.instruments:
            self.follow(name)

    def follow(self, name: str, left: Left = NOTHING_LEFT) -> None:
        """Follow an instrument of the config; `left` is what the one has left that it replaces."""
        table = self.config.instruments[name]

        def make() -> Follower:
            instrument = instrument_of(name, table, self.wires)
            try:
                follower = Follower(self.station, instrument, table.period, table.simulated)
            except Exception:  # told by the keeper of the follower
                self._start_once(f"the link of {name}", lambda: self.give_back(name, instrument.link))
                raise
            return follower

        self.supervisor.add_made(name, make, table.period, left)

    async def give_back(self, name: str, link: Link[Any]) -> None:
        """Let another instrument have the wire of this one; a link that does not close costs the others nothing."""
        part = self.parts[f"the link of {name}"]
        closing = asyncio.ensure_future(part.once(lambda: self.wires.give_back(link)))
        if not await wait(self.clock, [closing], CLOSE_WITHIN):
            log.critical("the link of %s cannot be closed, and is left alone", name)

    def status(self) -> dict[str, Any]:
        """Give the status of the station, as published and as `daq status` shows it, with what went wrong in its parts.

        Where it cannot be made, its failure is all that it says.
        """
        said = self._look() or {"station": self.station.name, "state": "failing", "at_ns": self.clock.utc_ns()}
        return said | {"parts": self.parts.status()}

    # -- running

    def stuck(self) -> str | None:
        """Name the part that makes no progress; None where all do. Broker and database are not counted as parts."""
        if self.spool.silent_for > STUCK:
            return "the spool"
        return self.supervisor.stuck

    async def run(self, stop: asyncio.Event, reload: asyncio.Event | None = None) -> None:
        """Acquire until `stop` is set, then drain; only an error of the spool ends it before."""
        try:
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(self._watch_spool(), name="spool")
                await self._acquire(stop, reload or asyncio.Event())
                await self._drain()
                await self._end()
                await watch
        finally:
            for task in self._tasks:
                task.cancel()
        await self.parts["the ledger file"].once(self._write_ledger)

    async def _acquire(self, stop: asyncio.Event, reload: asyncio.Event) -> None:
        """Start every part, and stop reading when `stop` is set."""
        self._publishing = self._start("publisher", self._publish)
        await self.parts["the record of the start"].once(self._record_start)
        reading = self._start("acquisition", self.supervisor.run)
        name = "measurement of the disk"
        measure = partial(self.monitor.measure_disk, self.spool_path.parent)
        self._start_once(name, lambda: self.parts[name].once(measure))
        self._start("control socket", self._serve_control)
        self._start("health", self._note_health)
        self._start("watchdog", self._notify_watchdog)
        self._start("reload", lambda: self._reload_when(reload))
        notify.ready(f"reading {len(self.supervisor.followers)} instruments")
        await stop.wait()
        notify.stopping()
        self.monitor.state = "draining"
        self.supervisor.begin_no_more()
        reading.cancel()
        await self.reloading.give_up()
        await asyncio.wait([reading])
        await self.parts["the record of the stop"].once(self._record_stop)

    async def _end(self) -> None:
        """End every part that still runs, and the spool last."""
        for task in self._tasks:
            task.cancel()
        self.monitor.state = "offline"
        await self.parts["publisher"].once(self.publisher.publish_last_status)
        with suppress(SpoolError):
            self._waiting_readings = await self.spool.count_waiting(b"reading,")
        await self.spool.close()

    def _start(self, name: str, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Start a part and its keeper."""
        return self._start_once(name, lambda: self.parts[name].keep(work))

    def _start_once(self, name: str, work: Callable[[], Coroutine[Any, Any, Any]]) -> asyncio.Task[Any]:
        """Start what ends with the service at the latest."""
        task = asyncio.create_task(work(), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _serve_control(self) -> None:
        handlers = self._questions.handlers() | {"status": self._status_asked, "reload": self.reloading.asked}
        await serve_control(socket_of(self.spool_path), handlers, self.parts["control socket"].failures.note)

    async def _status_asked(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"status": self.status()}

    async def _record_start(self) -> None:
        """Record that a run begins, how the last one ended, and the gap between the two."""
        self.station.notice_synchronisation()
        self.station.event(EventKind.START, f"daq {__version__}, {len(self.supervisor.followers)} instruments")
        if self.spool.damage:
            self.station.event(EventKind.DAMAGE, self.spool.damage)
        now = self.clock.utc_ns()
        self.supervisor.account_from_now()
        if not await self._run_before.tell_pause(now, self.supervisor.followers):
            self.supervisor.take_over(await self._run_before.unproven(self._proof_windows()))
            name = "what the run before has not told"
            work = partial(self._run_before.account, self.supervisor.followers)
            self._start_once(name, lambda: self.parts[name].once(work))

    def _proof_windows(self) -> dict[str, float]:
        """Give the seconds in which a reading of each instrument may have had no proof."""
        tables = self.config.instruments
        return {
            name: kept.period + (math.inf if kept.proves_at_connection_only else tables[name].prove_every)
            for name, kept in self.supervisor.followers.items()
        }

    async def _record_stop(self) -> None:
        self.station.end_refusal(THE_STOP)
        self.station.event(EventKind.STOP, "asked to stop")

    async def _publish(self) -> None:
        name, payload = self.publisher.will
        client = f"daq-{self.config.station}-{self.spool.epoch[:8]}"
        will = Message(name, payload, qos=1, retain=True)
        await stay_connected(self.config.broker, client, self.publisher.serve, will=will)

    async def restart_publishing(self) -> None:
        """Begin a new connection, to the broker that the config names now."""
        async with self._republishing:  # a reload and the watchdog may ask at once: there is one publisher
            if self._publishing is not None:
                self._publishing.cancel()
                try:
                    await wait(self.clock, [self._publishing], STUCK)
                finally:  # also where who asked for it is cancelled meanwhile: there is always a publisher
                    self._publishing = self._start("publisher", self._publish)

    def take_over_spool(self, table: SpoolTable) -> None:
        """Keep other limits from now on."""
        self.spool.set_retention(table.limit, _retention(table))
        self.monitor.alarm_after = table.alarm_after

    async def _watch_spool(self) -> None:
        await asyncio.shield(self.spool.finished)

    async def _note_health(self) -> None:
        """Record the health of the station every `HEALTH` seconds; check for alarms more often."""
        while True:
            self.station.keep(self.monitor.record())
            for _ in range(12):
                await self.clock.sleep_until(self.clock.monotonic() + HEALTH / 12)
                self.monitor.raise_alarms()

    async def _notify_watchdog(self) -> None:
        while True:
            if (part := self.stuck()) is None:
                notify.watchdog()
            else:
                log.critical("%s makes no progress; systemd will start this station again", part)
            silent = self.clock.monotonic() - self.publisher.progress
            if self.publisher.connected and silent > STUCK:
                self.station.event(EventKind.RESTART, f"the publisher made no progress for {silent:.0f} s")
                self.publisher.progress = self.clock.monotonic()
                self._start_once("restart of the publisher", self.restart_publishing)  # systemd is told meanwhile
            ledger = self.spool.ledger
            notify.status(f"{ledger.acquired} acquired, {ledger.stored} stored, {ledger.spooled} waiting")
            await self.clock.sleep_until(self.clock.monotonic() + 2.0)

    async def _drain(self) -> None:
        flushing = asyncio.ensure_future(self.spool.flush())
        if not await wait(self.clock, [flushing], DRAIN):
            flushing.cancel()
        deadline = self.clock.monotonic() + DRAIN
        while self.spool.ledger.spooled and self.clock.monotonic() < deadline:
            await self.clock.sleep_until(self.clock.monotonic() + 0.02)
        if waiting := self.spool.ledger.spooled:
            log.warning("%d records wait in the spool for the next start", waiting)

    async def _write_ledger(self) -> None:
        """Write the last counts to a file beside the spool, for the program that started this station."""
        path = self.spool_path.with_name(f"{self.spool_path.name}.ledger.json")
        counts = self.status() | {"waiting_readings": self._waiting_readings}
        path.write_text(json.dumps(counts, indent=1))

    async def _reload_when(self, asked: asyncio.Event) -> None:
        while True:
            await asked.wait()
            asked.clear()
            notify.reloading()
            try:
                with suppress(Denied):  # the event says why
                    await self.reloading.asked()
            finally:
                notify.ready(f"reading {len(self.supervisor.followers)} instruments")


def _retention(table: SpoolTable) -> Retention:
    return Retention(table.keep, table.keep_waiting, table.when_full)


async def run_station(config: StationConfig, path: Path | None = None) -> None:
    """Run one station until SIGTERM or SIGINT; ConfigError or SpoolError where it cannot start."""
    wires, clock = Wires(), SystemClock()
    try:
        service = StationService(config, clock, wires, path)
        async with stop_signals() as stop, reload_signal() as reload:
            await service.run(stop, reload)
    finally:
        closing = asyncio.ensure_future(Parts(clock)["the links"].once(wires.close))
        if not await wait(clock, [closing], CLOSE_WITHIN):
            log.critical("a link cannot be closed, and is left alone")
