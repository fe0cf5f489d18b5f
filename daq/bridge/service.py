"""The bridge as a service: from the broker into InfluxDB, or into an archive file where no database is configured."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from typing import TYPE_CHECKING

from daq.bridge.archive import Archive
from daq.bridge.influxdb import InfluxDb
from daq.bridge.storing import Bridge
from daq.host import notify
from daq.host.clock import SystemClock
from daq.host.parts import Parts
from daq.host.signals import state_folder, stop_signals
from daq.road.mqtt import stay_connected

if TYPE_CHECKING:
    from daq.bridge.sink import Sink
    from daq.config import BridgeConfig

log = logging.getLogger(__name__)

STUCK = 90.0
"""Seconds without progress after which the watchdog is not notified any more: longer than any database request."""


def sink_of(config: BridgeConfig) -> Sink:
    """Give the sink that the config names."""
    if config.influxdb is not None:
        return InfluxDb(config.influxdb)
    return Archive(config.archive.path or state_folder() / "archive.sqlite")


async def run_bridge(config: BridgeConfig) -> None:
    """Run one bridge until SIGTERM or SIGINT; a part that fails is told, and begun again after a pause."""
    clock = SystemClock()
    parts = Parts(clock)
    sink = sink_of(config)
    name = config.name or f"{socket.gethostname().replace('.', '-')}-{os.getpid()}"
    bridge = Bridge(sink, name, config.share or None, clock, parts)

    async def work() -> None:
        await stay_connected(config.broker, f"daq-bridge-{name}", bridge.serve)

    async def watch() -> None:
        await _notify_watchdog(bridge, clock)

    try:
        async with stop_signals() as stop, asyncio.TaskGroup() as group:
            keepers = [group.create_task(parts[key].keep(run)) for key, run in (("road", work), ("watchdog", watch))]
            notify.ready(f"storing into {sink.name}")
            await stop.wait()
            notify.stopping()
            for task in keepers:
                task.cancel()
    finally:
        await parts["sink"].once(sink.close)
    log.info("%d records stored, %d rejected", bridge.counters.stored, bridge.counters.rejected)


async def _notify_watchdog(bridge: Bridge, clock: SystemClock) -> None:
    while True:
        # A bridge without work makes no progress and is healthy; one that holds batches must make progress.
        if not bridge.counters.waiting_batches or clock.monotonic() - bridge.progress < STUCK:
            notify.watchdog()
        counters = bridge.counters
        notify.status(
            f"{counters.state}: {counters.stored} stored, {counters.rejected} rejected {counters.last_error}".strip()
        )
        await clock.sleep_until(clock.monotonic() + 2.0)
