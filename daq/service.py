"""The station as a service: config in, readings out, until a signal says stop; then drained, counted and closed."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from daq import __version__, notify
from daq.acquisition import Follower, Station, follow_all
from daq.clock import SystemClock, synchronised
from daq.installation import wire
from daq.mqtt import Message, stay_connected
from daq.publisher import Publisher
from daq.reading import EventKind, Health
from daq.signals import state_folder, stop_signals
from daq.spool import Spool, SpoolError
from drivers.links import Wires

if TYPE_CHECKING:
    from daq.clock import Clock
    from daq.config import StationConfig

log = logging.getLogger(__name__)

DRAIN = 10.0
"""Seconds that a stopping station waits for the database to take what is left; the rest stays in the spool."""
HEALTH = 60.0
STUCK = 20.0
"""Seconds without progress after which the watchdog is not fed any more."""


class StationService:
    """One running station: its followers, its spool and its publisher."""

    def __init__(self, config: StationConfig, clock: Clock, wires: Wires) -> None:
        table = config.spool
        self.config = config
        self.clock = clock
        self.spool_path = table.path or state_folder() / "spool.sqlite"
        self.spool = Spool(self.spool_path, table.limit, table.keep, table.when_full)
        self.station = Station(config.station, self.spool, clock)
        self.publisher = Publisher(config.station, self.spool, clock, self.status)
        self.station.on_reading = self.publisher.show
        self.followers = [
            Follower(self.station, wire(name, table, wires), table.period, table.simulated)
            for name, table in config.instruments.items()
        ]
        self.started = clock.monotonic()
        self.state = "online"
        self._waiting_readings = 0
        self.spool.on_trouble = lambda what: log.error("spool: %s; readings wait in memory", what)
        self.spool.on_drop = self._dropped

    def _dropped(self, first: int, last: int) -> None:
        text = f"the spool is full: records {first} to {last} were given up before the database had them"
        self.station.event(EventKind.DROP, text, missed=last - first + 1)

    def status(self) -> dict[str, Any]:
        """Give the health of the station, as published and as `daq status` shows it."""
        return {
            "station": self.config.station,
            "state": self.state,
            "version": __version__,
            "host": socket.gethostname(),
            "epoch": self.spool.epoch,
            "at_ns": self.clock.utc_ns(),
            "clock": {"synchronised": synchronised()},
            "uptime_s": round(self.clock.monotonic() - self.started, 1),
            **asdict(self.spool.ledger),
            "resent_batches": self.publisher.resent,
            "instruments": {
                one.instrument.name: {
                    "state": one.state,
                    "serial": one.instrument.serial,
                    "readings": one.readings,
                    "errors": one.errors,
                    "missed": one.missed,
                    "last_at_ns": one.last_at,
                    "last_error": one.last_error,
                }
                for one in self.followers
            },
        }

    def stuck(self) -> str | None:
        """Name the part that has stopped moving; None while all do. Broker and database are none of these parts."""
        now = self.clock.monotonic()
        if now - self.spool.progress > STUCK:
            return "the spool"
        if self.publisher.connected and now - self.publisher.progress > STUCK:
            return "the publisher"
        return next((one.instrument.name for one in self.followers if now > one.expected_by), None)

    async def run(self, stop: asyncio.Event) -> None:
        """Acquire until `stop` is set, then drain; raises whatever a part of the station dies of."""
        async with asyncio.TaskGroup() as group:
            road = group.create_task(self._publish(), name="publisher")
            group.create_task(self._watch_spool(), name="spool")
            reading = group.create_task(follow_all(self.station, self.followers), name="acquisition")
            health = group.create_task(self._note_health(), name="health")
            beat = group.create_task(self._feed_watchdog(), name="watchdog")
            self.station.event(EventKind.START, f"daq {__version__}, {len(self.followers)} instruments")
            if self.spool.damage:
                self.station.event(EventKind.DAMAGE, self.spool.damage)
            notify.ready(f"reading {len(self.followers)} instruments")
            await stop.wait()
            notify.stopping()
            self.state = "draining"
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading
            self.station.event(EventKind.STOP, "asked to stop")
            await self._drain()
            for task in (road, beat, health):
                task.cancel()
            self.state = "offline"
            await self.publisher.say_goodbye()
            self._waiting_readings = await self.spool.count_waiting(b"reading,")
            await self.spool.close()
        self._write_ledger()

    async def _publish(self) -> None:
        name, payload = self.publisher.will
        client = f"daq-{self.config.station}-{self.spool.epoch[:8]}"
        will = Message(name, payload, qos=1, retain=True)
        await stay_connected(self.config.broker, client, self.publisher.serve, will=will)

    async def _watch_spool(self) -> None:
        await asyncio.shield(self.spool.finished)

    async def _note_health(self) -> None:
        """Put the state of the station on its own road, once a minute."""
        while True:
            numbers: dict[str, int | float] = {
                "uptime_s": round(self.clock.monotonic() - self.started, 1),
                **asdict(self.spool.ledger),
                "resent_batches": self.publisher.resent,
                "errors": sum(one.errors for one in self.followers),
                "missed": sum(one.missed for one in self.followers),
            }
            if (known := synchronised()) is not None:
                numbers["clock_synchronised"] = int(known)
            self.station.queue.put(Health(self.config.station, self.clock.utc_ns(), numbers))
            await self.clock.sleep_until(self.clock.monotonic() + HEALTH)

    async def _feed_watchdog(self) -> None:
        while True:
            if (part := self.stuck()) is None:
                notify.watchdog()
            else:
                log.critical("%s has stopped moving; systemd will start this station again", part)
            ledger = self.spool.ledger
            notify.status(f"{ledger.acquired} acquired, {ledger.stored} stored, {ledger.spooled} waiting")
            await self.clock.sleep_until(self.clock.monotonic() + 2.0)

    async def _drain(self) -> None:
        await self.spool.flush()
        deadline = self.clock.monotonic() + DRAIN
        while self.spool.ledger.spooled and self.clock.monotonic() < deadline:
            await self.clock.sleep_until(self.clock.monotonic() + 0.02)
        if waiting := self.spool.ledger.spooled:
            log.warning("%d records wait in the spool for the next start", waiting)

    def _write_ledger(self) -> None:
        """Leave the last count beside the spool, for whoever started this station."""
        path = self.spool_path.with_name("ledger.json")
        said = self.status() | {"waiting_readings": self._waiting_readings}
        path.write_text(json.dumps(said, indent=1))


async def run_station(config: StationConfig) -> None:
    """Run one station until SIGTERM or SIGINT; ConfigError or SpoolError where it cannot start."""
    wires = Wires()
    try:
        service = StationService(config, SystemClock(), wires)
        async with stop_signals() as stop:
            await service.run(stop)
    finally:
        await wires.close()


__all__ = ["SpoolError", "StationService", "run_station"]
