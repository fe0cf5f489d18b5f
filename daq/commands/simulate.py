"""`daq simulate`: a simulated laboratory on serial and TCP ports."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from daq.commands.failing import CONFIG, fail
from daq.host.descriptors import allow_many
from daq.host.signals import stop_signals
from simulators.lab import Lab, LabError

if TYPE_CHECKING:
    from pathlib import Path


def simulate_command(lab: Path, truth: Path | None, station: Path | None, ports: Path, *, as_json: bool) -> None:
    """Serve until a signal."""
    allow_many()
    try:
        asyncio.run(_serve(Lab.from_file(lab, truth=truth, pty_folder=ports), station, as_json=as_json))
    except LabError as error:
        fail(str(error), CONFIG)
    except OSError as error:
        fail(f"{lab}: cannot be served: {error}")


async def _serve(lab: Lab, station: Path | None, *, as_json: bool) -> None:
    async with lab, stop_signals() as stop:
        if station is not None:
            tables = "\n\n".join(one.station_table() for one in lab.listening.values())
            _write(
                station,
                f'# Written by `daq simulate`: a station that reads the simulated lab.\nstation = "lab"\n\n{tables}\n',
            )
        if as_json:
            sys.stdout.write(json.dumps({name: asdict(one) for name, one in lab.listening.items()}) + "\n")
        else:
            width = max(map(len, lab.listening))
            for name, one in lab.listening.items():
                unit = "" if one.unit is None else f" unit {one.unit}"
                sys.stdout.write(f"{name:<{width}}  {one.simulator:<14} {one.address}{unit}\n")
            sys.stdout.write("simulated instruments; Ctrl-C ends them\n")
        sys.stdout.flush()
        await stop.wait()


def _write(path: Path, text: str) -> None:
    """Replace a file as a whole: a reader sees all of it or nothing."""
    draft = path.with_name(path.name + ".new")
    draft.write_text(text)
    draft.replace(path)
