"""`daq status`: the status of a running station, as it publishes it over MQTT."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from daq.commands.failing import config_errors, fail
from daq.commands.metrics import openmetrics
from daq.road.batch import topic
from daq.road.mqtt import BrokerError, connect
from daq.station.health import in_words
from daq.station.installation import load_station

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from daq.config import StationConfig

ANSWERS_WITHIN = 5.0
ENDLESS = 10_000
"""Columns of a terminal on which every table has room."""
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
        what = "is offline" if offline else "runs, and cannot say in which state"
        console.print(f"station {status.get('station')} {what}", markup=False)
        _show_parts(status, console)
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
    console.print(
        f"missed {status.get('missed', '-')} polls, recorded {status.get('doubts', '-')} doubts, since the start",
        markup=False,
    )
    _show_spool(status, console)
    _show_parts(status, console)
    _show_instruments(status, console)


def _show_parts(status: dict[str, Any], console: Console) -> None:
    """Show in which parts something went wrong."""
    for name, part in status.get("parts", {}).items():
        text = f"{name}: {part['state']}, failed {part['failures']} times; the last error: {part['last_error']}"
        console.print(text, style="red" if part["state"] == "failing" else None, markup=False, soft_wrap=True)


def _show_instruments(status: dict[str, Any], console: Console) -> None:
    """Show a row for each instrument, and below them what needs more words; no number is cut or divided."""
    table = Table(box=None, header_style="bold")
    for name in ("instrument", "state", "serial", "readings", "errors", "missed", "doubts", "last"):
        table.add_column(name, no_wrap=True)
    for name, one in status["instruments"].items():
        last = f"{time.time() - one['last_at_ns'] / 1e9:.1f} s ago" if one["last_at_ns"] else "-"
        counts = (str(one.get(key, "-")) for key in ("readings", "errors", "missed", "doubts"))
        table.add_row(name, one["state"], serial_in_words(one), *counts, last)
    needed = Measurement.get(console, console.options.update(max_width=ENDLESS), table).maximum
    console.width = max(console.width, needed)  # a terminal that is narrower begins a new line itself
    console.print(table)
    for name, one in status["instruments"].items():
        if one["last_error"]:
            console.print(f"{name}: the last error: {one['last_error']}", markup=False, soft_wrap=True)
    for line in doubts_in_words(status["instruments"]):
        console.print(line, style="yellow", markup=False, soft_wrap=True)


def serial_in_words(instrument: Mapping[str, Any]) -> str:
    """Say which serial number was read, and how far it is proven: "SIM001, proven every 5 s"."""
    serial, expected = instrument["serial"], instrument.get("expected_serial")
    if serial is not None and expected is not None and serial != expected:
        return f"{serial}, not {expected}"
    return ", ".join(filter(None, [serial, instrument.get("proven", "")])) or "-"


def doubts_in_words(instruments: Mapping[str, Any]) -> list[str]:
    """Say how many doubts there are of each instrument that has any, with the text of the newest."""
    return [
        f"{name}: {one['doubts']} {'doubt' if one['doubts'] == 1 else 'doubts'}, the newest: {one['last_doubt']}"
        for name, one in instruments.items()
        if one.get("doubts")
    ]


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
