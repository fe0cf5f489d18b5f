"""`daq read`: one reading now, to see that an instrument answers; nothing is stored."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from daq.commands.failing import config_errors, fail
from daq.station.installation import instrument_of, load_station
from drivers.errors import InstrumentError, Unreadable
from drivers.links import Wires

if TYPE_CHECKING:
    from pathlib import Path

    from daq.config import InstrumentTable
    from drivers.instrument import Answer, Instrument


def read_command(name: str, path: Path, *, raw: bool, as_json: bool) -> None:
    """Read every channel of one instrument once."""
    with config_errors():
        config = load_station(path)
    if name not in config.instruments:
        fail(f"{path}: no instrument {name!r}; there are {', '.join(config.instruments)}", 2)
    try:
        instrument, answers = asyncio.run(_read(name, config.instruments[name]))
    except InstrumentError as error:
        answer = f"\nits answer was {error.raw!r}" if isinstance(error, Unreadable) and raw and error.raw else ""
        fail(f"{name}: {error}{answer}")
    if as_json:
        sys.stdout.write(json.dumps(_as_dict(instrument, answers)) + "\n")
    else:
        _show(instrument, answers, raw=raw)


async def _read(name: str, table: InstrumentTable) -> tuple[Instrument[Any], list[Answer]]:
    wires = Wires()
    instrument = instrument_of(name, table, wires)
    try:
        return instrument, [await instrument.read(poll) for poll in instrument.driver.polls]
    finally:
        await instrument.close()
        await wires.close()


def _as_dict(instrument: Instrument[Any], answers: list[Answer]) -> dict[str, Any]:
    samples = [sample for answer in answers for sample in answer.samples]
    return {
        "instrument": instrument.name,
        "serial": instrument.serial,
        "channels": {
            channel.name: {
                "value": None if sample.value is None else str(sample.value),
                "unit": channel.unit,
                "status": sample.status.name.lower(),
            }
            for channel, sample in zip(instrument.driver.channels, samples, strict=True)
        },
        "raw": [answer.raw.decode("latin-1") for answer in answers],
        "rtt_ms": [round((answer.answered - answer.asked) * 1000, 3) for answer in answers],
    }


def _show(instrument: Instrument[Any], answers: list[Answer], *, raw: bool) -> None:
    console = Console()
    console.print(f"{instrument.name}: serial number {instrument.serial or 'not asked for'}", markup=False)
    table = Table("channel", "value", "unit", "status", "answered in", box=None, header_style="bold")
    for poll, answer in zip(instrument.driver.polls, answers, strict=True):
        for channel, sample in zip(poll.channels, answer.samples, strict=True):
            value = "-" if sample.value is None else str(sample.value)
            table.add_row(
                channel.name,
                value,
                channel.unit,
                sample.status.name.lower(),
                f"{(answer.answered - answer.asked) * 1000:.1f} ms",
            )
    console.print(table)
    if raw:
        for answer in answers:
            console.print(f"raw: {answer.text}", markup=False)
