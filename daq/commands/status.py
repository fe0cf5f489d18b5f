"""`daq status`: the status of a running station, as it publishes it over MQTT."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from daq.commands.failing import config_errors, fail
from daq.commands.metrics import openmetrics
from daq.road.batch import topic
from daq.road.mqtt import BrokerError, connect
from daq.station.health import in_words
from daq.station.installation import load_station

if TYPE_CHECKING:
    from pathlib import Path

    from daq.config import StationConfig

ANSWERS_WITHIN = 5.0
STALE = 20.0
"""Seconds after which a status is too old, whatever it says: a station publishes one every 2 s."""


def status_command(path: Path, *, as_json: bool, as_metrics: bool = False) -> None:
    """Show the status; exit 1 where the station is offline or silent."""
    with config_errors():
        config = load_station(path)
    try:
        status = asyncio.run(_ask(config))
    except (BrokerError, TimeoutError) as error:
        fail(str(error) or f"station {config.station}: nothing known at the broker; was it ever started?")
    age = time.time() - status.get("at_ns", 0) / 1e9
    offline = status.get("state") == "offline" or age > STALE
    if as_metrics:
        sys.stdout.write(openmetrics(status, online=not offline and "acquired" in status))
    elif as_json:
        sys.stdout.write(json.dumps(status | {"age_s": round(age, 1)}) + "\n")
    else:
        _show(status, age, offline=offline)
    if offline:
        sys.exit(1)


async def _ask(config: StationConfig) -> dict[str, Any]:
    failure: Exception = TimeoutError()
    for host in config.broker.addresses:
        for version in (5, 4):
            try:
                async with connect(config.broker, f"daq-status-{os.getpid()}", host, version=version) as connection:
                    await connection.subscribe(topic(config.station, "status"))
                    async with asyncio.timeout(ANSWERS_WITHIN):
                        async for message in connection.messages():
                            status: dict[str, Any] = json.loads(message.payload)
                            return status
            except (BrokerError, TimeoutError) as error:
                failure = error
    raise failure


def _show(status: dict[str, Any], age: float, *, offline: bool) -> None:
    console = Console()
    if "acquired" not in status:
        console.print(f"station {status.get('station')} is offline", markup=False)
        return
    state = f"silent for {age:.0f} s" if offline and status["state"] != "offline" else status["state"]
    console.print(
        f"station {status['station']} on {status['host']}: {state}, "
        f"up {status['uptime_s']:.0f} s, daq {status['version']}",
        markup=False,
    )
    console.print(
        "acquired {acquired} = stored {stored} + spooled {spooled} + quarantined {quarantined}".format(**status)
        + (f" + dropped {status['dropped']}" if status["dropped"] else ""),
        markup=False,
    )
    _show_spool(status, console)
    table = Table(
        "instrument",
        "state",
        "serial",
        "readings",
        "errors",
        "missed",
        "last",
        "last error",
        box=None,
        header_style="bold",
    )
    for name, one in status["instruments"].items():
        last = f"{time.time() - one['last_at_ns'] / 1e9:.1f} s ago" if one["last_at_ns"] else "-"
        table.add_row(
            name,
            one["state"],
            one["serial"] or "-",
            *(str(one[key]) for key in ("readings", "errors", "missed")),
            last,
            one["last_error"],
        )
    console.print(table)


def _show_spool(status: dict[str, Any], console: Console) -> None:
    spool, backfill = status["spool"], status["backfill"]
    full = f", full in {in_words(spool['full_in_s'])} if nothing were stored" if spool["full_in_s"] else ""
    fill = 100 * spool["waiting_bytes"] / max(1, spool["capacity_bytes"])
    console.print(f"spool {fill:.1f} % full{full}; {spool['records_per_s']:g} records/s", markup=False)
    if spool["trouble"]:
        console.print(f"the disk refuses to write: {spool['trouble']}", style="red", markup=False)
    if spool["full"]:
        console.print("the spool is full: new readings are refused", style="red", markup=False)
    if backfill is not None:
        left = (
            f", about {in_words(backfill['left'] / backfill['records_per_s'])} more"
            if backfill["records_per_s"]
            else ""
        )
        console.print(
            f"backlog: {backfill['left']} of {backfill['of']} records left, {backfill['records_per_s']}/s{left}",
            markup=False,
        )
