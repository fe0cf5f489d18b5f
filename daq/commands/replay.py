"""`daq replay`: what a station keeps is sent again, to refill a database that has lost it."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from daq.commands.failing import config_errors, fail
from daq.commands.reach import reach, spool_of
from daq.commands.span import span_of
from daq.spool.schema import SpoolError
from daq.station import control
from daq.station.control import ControlError
from daq.station.installation import load_station

if TYPE_CHECKING:
    from pathlib import Path

ALL_TIME = (-(2**62), 2**62)
LOOK_EVERY = 0.5


def replay_command(config_path: Path, span: tuple[str | None, str | None], *, wait: bool, as_json: bool) -> None:
    """Send a span again and, while the station runs, wait until the database has it."""
    start, end = span_of(span, ALL_TIME)
    with config_errors():
        config = load_station(config_path)
    path = spool_of(config)
    try:
        with reach(path) as spool:
            count, running = spool.replay(start, end), spool.running
        left = _follow(path, count) if wait and running and count else None
    except FileNotFoundError as error:
        fail(f"{error.args[0]}: there is no such file; name the config of the station that keeps it")
    except (ControlError, SpoolError) as error:
        fail(str(error))
    if as_json:
        sys.stdout.write(json.dumps({"recalled": count, "running": running, "left": left}) + "\n")
    elif not count:
        sys.stdout.write("the station keeps no stored record of that time\n")
    elif not running:
        sys.stdout.write(f"{count} records are sent when the station runs again\n")
    else:
        sys.stdout.write(f"{count} records sent again\n" if wait else f"{count} records are being sent again\n")


def _follow(path: Path, count: int) -> int:
    """Show how many records still wait; gives how many are left at the end."""
    console = Console(stderr=True)
    columns = (TextColumn("records"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("records", total=count)
        rounds_at_rate = 0
        while True:
            status: dict[str, Any] = control.ask(control.socket_of(path), "status")["status"]
            left = int(status["spooled"])
            progress.update(task, completed=max(0, count - left))
            # New records come all the time: the backlog is sent when only these wait, twice in a row.
            rounds_at_rate = rounds_at_rate + 1 if left <= max(100.0, 2 * status["spool"]["records_per_s"]) else 0
            if rounds_at_rate == 2:
                return left
            time.sleep(LOOK_EVERY)
