"""`daq quarantine`: what the database rejected or the disk damaged: list it, show it, send it again."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from daq.commands.failing import config_errors, fail, spool_errors
from daq.commands.reach import reach, spool_of
from daq.station.installation import load_station

if TYPE_CHECKING:
    from pathlib import Path


def quarantine_command(config_path: Path, show: int | None, send: str | None, *, as_json: bool) -> None:
    """List what is in quarantine, show one record, or send some again."""
    wanted = None if send is None else _range(send)
    with config_errors():
        config = load_station(config_path)
    with spool_errors(), reach(spool_of(config)) as spool:
        if wanted is not None:
            count = spool.release(*wanted)
            when = "they are being sent" if spool.running else "they are sent when the station runs again"
            _print({"released": count}, f"{count} records taken out of quarantine; {when}", as_json=as_json)
            if not count:
                sys.exit(1)
            return
        rows = spool.quarantine()
    if show is not None:
        rows = [one for one in rows if one["seq"] == show]
        if not rows:
            fail(f"record {show} is not in quarantine")
    if as_json:
        sys.stdout.write(json.dumps({"quarantine": rows}) + "\n")
    elif show is not None:
        sys.stdout.write(f"record {show}\nsince   {_time(rows[0]['at_ns'])}\nreason  {rows[0]['reason']}\n")
        sys.stdout.write(f"line    {rows[0]['line'] or 'lost: it is not in the file any more'}\n")
    else:
        _list(rows)


def _range(text: str) -> tuple[int, int]:
    if text == "all":
        return 1, 2**62
    match = re.fullmatch(r"(\d{1,18})(?:-(\d{1,18}))?", text, re.ASCII)
    if match is None or int(match[2] or match[1]) < int(match[1]):
        fail(f'{text!r} is no record; write "4711", "4711-4720" or "all"', 2)
    return int(match[1]), int(match[2] or match[1])


def _print(result: dict[str, int], text: str, *, as_json: bool) -> None:
    sys.stdout.write((json.dumps(result) if as_json else text) + "\n")


def _time(nanoseconds: int) -> str:
    return f"{datetime.fromtimestamp(nanoseconds / 1e9, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _list(rows: list[dict[str, object]]) -> None:
    if not rows:
        sys.stdout.write("nothing is in quarantine\n")
        return
    table = Table("record", "since", "reason", "line", box=None, header_style="bold")
    for one in rows:
        line = "lost" if one["line"] is None else str(one["line"])[:60]
        table.add_row(str(one["seq"]), _time(int(str(one["at_ns"]))), str(one["reason"])[:80], line)
    console = Console()
    console.print(table)
    console.print(f"{len(rows)} records; show one with --show NUMBER, send them again with --send NUMBER or --send all")
