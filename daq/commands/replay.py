"""`daq replay`: what a station keeps is sent again, to refill a database that has lost it."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

from daq.commands.failing import config_errors, spool_errors
from daq.commands.progress import progress
from daq.commands.reach import reach, spool_of
from daq.commands.span import ALL_TIME, span_of
from daq.station import control
from daq.station.installation import load_station

if TYPE_CHECKING:
    from pathlib import Path

LOOK_EVERY = 0.5


def replay_command(config_path: Path, span: tuple[str | None, str | None], *, wait: bool, as_json: bool) -> None:
    """Send a span again and, while the station runs, wait until the database has it."""
    start, end = span_of(span, ALL_TIME)
    with config_errors():
        config = load_station(config_path)
    path = spool_of(config)
    with spool_errors():
        with reach(path) as spool:
            count, running = spool.replay(start, end), spool.running
        left = _follow(path, count) if wait and running and count else None
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
    with progress() as bar:
        task = bar.add_task("records", total=count)
        rounds_at_rate = 0
        while True:
            status: dict[str, Any] = control.ask(control.socket_of(path), "status")["status"]
            left = int(status["spooled"])
            bar.update(task, completed=max(0, count - left))
            # New records come all the time: the backlog is sent when only these wait, twice in a row.
            rounds_at_rate = rounds_at_rate + 1 if left <= max(100.0, 2 * status["spool"]["records_per_s"]) else 0
            if rounds_at_rate == 2:
                return left
            time.sleep(LOOK_EVERY)
