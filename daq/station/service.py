"""The station as a service: runs until a stop signal, then sends what waits, writes its counts and closes."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from daq import __version__
from daq.config import ConfigError
from daq.host import notify
from daq.host.clock import NANOSECONDS, SystemClock, wait
from daq.host.signals import reload_signal, state_folder, stop_signals
from daq.road.mqtt import Message, stay_connected
from daq.road.reading import EventKind
from daq.spool import disk
from daq.spool.queue import Retention, Spool, SpoolError
from daq.station.acquisition import Follower
from daq.station.announcements import Announcements
from daq.station.control import Denied, serve_control, socket_of
from daq.station.health import Monitor, in_words
from daq.station.installation import instrument_of, load_station
from daq.station.publisher import Publisher
from daq.station.questions import Questions
from daq.station.records import Station
from daq.station.supervision import Supervisor
from drivers.links import Wires

if TYPE_CHECKING:
    from pathlib import Path

    from daq.config import SpoolTable, StationConfig
    from daq.host.clock import Clock

log = logging.getLogger(__name__)

DRAIN = 10.0
"""Seconds that a stopping station waits for the database to take what is left; the rest stays in the spool."""
HEALTH = 60.0
"""Seconds between two records of the station's health."""
STUCK = 20.0
"""Seconds without progress after which systemd's watchdog is no longer notified."""
LONG_PAUSE = 0.5
"""Seconds between two runs of a station above which the pause becomes an event."""


class StationService:
    """One running station: its followers, its spool and its publisher."""

    def __init__(self, config: StationConfig, clock: Clock, wires: Wires, path: Path | None = None) -> None:
        """`path` is the config file that a reload reads again."""
        table = config.spool
        self.config = config
        self.clock = clock
        self.wires = wires
        self.spool_path = table.path or state_folder() / "spool.sqlite"
        self.spool = Spool(self.spool_path, table.limit, _retention(table), table.ballast)
        self.station = Station(config.station, self.spool, clock, last_run_stamp=self.spool.latest_stamp)
        self.supervisor = Supervisor(self.station, [self._follower(name) for name in config.instruments])
        self.publisher = Publisher(config.station, self.spool, clock, self.status)
        self.monitor = Monitor(self.station, self.spool, self.publisher, self.supervisor, table.alarm_after)
        self.station.on_reading = self.publisher.live.show
        self._path = path
        self._questions = Questions(self.station, self.spool, self.publisher, self.monitor)
        self._group: asyncio.TaskGroup | None = None
        self._publishing: asyncio.Task[None] | None = None
        self._waiting_readings = 0
        Announcements(self.station, self.spool, self.publisher)

    def _follower(self, name: str) -> Follower:
        table = self.config.instruments[name]
        return Follower(self.station, instrument_of(name, table, self.wires), table.period, table.simulated)

    def status(self) -> dict[str, Any]:
        """Give the status of the station, as published and as `daq status` shows it."""
        return self.monitor.status()

    # -- running

    def stuck(self) -> str | None:
        """Name the part that makes no progress; None where all do. Broker and database are not counted as parts."""
        if self.spool.silent_for > STUCK:
            return "the spool"
        return self.supervisor.stuck

    async def run(self, stop: asyncio.Event, reload: asyncio.Event | None = None) -> None:
        """Acquire until `stop` is set, then drain; raises the error that ends a part of the station."""
        handlers = self._questions.handlers() | {"reload": self._reload_asked}
        async with asyncio.TaskGroup() as group, serve_control(socket_of(self.spool_path), handlers):
            self._group = group
            self._start_publishing()
            group.create_task(self._watch_spool(), name="spool")
            await self._record_start()
            reading = group.create_task(self.supervisor.run(), name="acquisition")
            duties = [
                group.create_task(duty, name=name)
                for name, duty in (
                    ("health", self._note_health()),
                    ("watchdog", self._notify_watchdog()),
                    ("reload", self._reload_when(reload or asyncio.Event())),
                )
            ]
            notify.ready(f"reading {len(self.supervisor.followers)} instruments")
            await stop.wait()
            notify.stopping()
            self.monitor.state = "draining"
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading
            self.station.end_refusal("the station stops")
            self.station.event(EventKind.STOP, "asked to stop")
            await self._drain()
            for task in (*duties, self._publishing):
                if task is not None:
                    task.cancel()
            self.monitor.state = "offline"
            await self.publisher.publish_last_status()
            with suppress(SpoolError):
                self._waiting_readings = await self.spool.count_waiting(b"reading,")
            await self.spool.close()
        self._write_ledger()

    async def _record_start(self) -> None:
        """Record that a run begins, how the last one ended, and the gap between the two."""
        self.station.notice_synchronisation()
        self.station.event(EventKind.START, f"daq {__version__}, {len(self.supervisor.followers)} instruments")
        if self.spool.damage:
            self.station.event(EventKind.DAMAGE, self.spool.damage)
        now, since = self.clock.utc_ns(), self.spool.latest_stamp
        if since and now - since > LONG_PAUSE * NANOSECONDS:
            pause = (now - since) / NANOSECONDS
            missed = sum(int(pause / one.period) for one in self.supervisor.followers.values())
            how = "it had been asked to stop" if self.spool.ended_in_order else "it had ended without a stop"
            text = f"the station did not run for {in_words(pause)}: {how}"
            self.station.event(EventKind.GAP, text, at=since, until=now, missed=missed)
        elif since > now:
            ahead = in_words((since - now) / NANOSECONDS)
            text = f"the wall clock is {ahead} behind the last record: stamps are held until it has caught up"
            self.station.event(EventKind.CLOCK_STEP, text)
        self.monitor.sync_s = await asyncio.to_thread(_sync_time, self.spool_path.parent)
        if (room := self.spool.capacity) < self.config.spool.limit:
            text = (
                f"the disk of the spool has room for {room >> 20} MiB; its limit is {self.config.spool.limit >> 20} MiB"
            )
            self.station.event(EventKind.FILL, text)
        if warning := disk.judgement(self.monitor.sync_s):
            log.warning("%s: %s", self.spool_path.parent, warning)

    def _start_publishing(self) -> None:
        if self._group is not None:
            self._publishing = self._group.create_task(self._publish(), name="publisher")

    async def _publish(self) -> None:
        name, payload = self.publisher.will
        client = f"daq-{self.config.station}-{self.spool.epoch[:8]}"
        will = Message(name, payload, qos=1, retain=True)
        await stay_connected(self.config.broker, client, self.publisher.serve, will=will)

    async def _restart_publishing(self) -> None:
        if self._publishing is not None:
            self._publishing.cancel()
            await wait(self.clock, [self._publishing], STUCK)
        self._start_publishing()

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
                await self._restart_publishing()
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

    def _write_ledger(self) -> None:
        """Write the last counts to a file beside the spool, for the program that started this station."""
        path = self.spool_path.with_name("ledger.json")
        counts = self.monitor.status() | {"waiting_readings": self._waiting_readings}
        path.write_text(json.dumps(counts, indent=1))

    # -- reload

    async def _reload_when(self, asked: asyncio.Event) -> None:
        while True:
            await asked.wait()
            asked.clear()
            notify.reloading()
            with suppress(Denied):
                await self._reload_asked({})
            notify.ready(f"reading {len(self.supervisor.followers)} instruments")

    async def _reload_asked(self, _: dict[str, Any]) -> dict[str, Any]:
        if self._path is None:
            raise Denied("this station has no config file")
        try:
            changed = await self.reload(load_station(self._path))
        except ConfigError as error:
            self.station.event(EventKind.RELOAD, f"refused, nothing was changed: {error}")
            raise Denied(f"nothing was changed:\n{error}", "config") from error
        return {"changed": changed}

    async def reload(self, new: StationConfig) -> list[str]:
        """Apply what differs in `new`, and restart only that; ConfigError where that is impossible: nothing changes."""
        old = self.config
        if new.station != old.station or new.spool.path != old.spool.path:
            raise ConfigError(["another station name or spool file needs a restart: systemctl restart daq"])
        new.broker.password()
        removed = [name for name in old.instruments if name not in new.instruments]
        changed = [n for n, table in new.instruments.items() if n in old.instruments and table != old.instruments[n]]
        added = [name for name in new.instruments if name not in old.instruments]
        links = [self.supervisor.followers[name].instrument.link for name in (*removed, *changed)]
        await self.supervisor.remove([*removed, *changed])
        for link in links:
            await self.wires.give_back(link)
        self.config = new
        for name in (*changed, *added):
            self.supervisor.add(self._follower(name))
        changes = [f"{name} removed" for name in removed]
        changes += [f"{name} changed" for name in changed] + [f"{name} added" for name in added]
        if new.spool != old.spool:
            self.spool.set_retention(new.spool.limit, _retention(new.spool))
            self.monitor.alarm_after = new.spool.alarm_after
            changes.append("spool changed")
        if new.broker != old.broker:
            await self._restart_publishing()
            changes.append("broker changed")
        self.station.event(EventKind.RELOAD, ", ".join(changes) or "nothing has changed")
        return changes


def _retention(table: SpoolTable) -> Retention:
    return Retention(table.keep, table.keep_waiting, table.when_full)


def _sync_time(folder: Path) -> float:
    try:
        return disk.sync_time(folder)
    except OSError:
        return 0.0  # the disk is full or broken, which the spool itself reports


async def run_station(config: StationConfig, path: Path | None = None) -> None:
    """Run one station until SIGTERM or SIGINT; ConfigError or SpoolError where it cannot start."""
    wires = Wires()
    try:
        service = StationService(config, SystemClock(), wires, path)
        async with stop_signals() as stop, reload_signal() as reload:
            await service.run(stop, reload)
    finally:
        await wires.close()


__all__ = ["SpoolError", "StationService", "run_station"]
