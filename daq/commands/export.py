"""`daq export`: readings as CSV, from the archive of a bridge or from the rows that a station keeps.

Columns that need words: `serial` is the serial number that was read from the wire, empty where none was
read; `identified` says whether that is the one of the config. `doubt` holds kind and text of every doubt whose span
covers the reading, and is empty where there is none; it is found whenever it was recorded.
"""

from __future__ import annotations

import csv
import fcntl
import sqlite3
import sys
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from daq.bridge.archive import points
from daq.commands.doubted import Doubted
from daq.commands.failing import fail
from daq.commands.span import ALL_TIME, span_of
from daq.road.point import NoLine, Point, parse
from drivers.sample import Status

if TYPE_CHECKING:
    from collections.abc import Iterator

COLUMNS = [
    "time", "time_ns", "station", "instrument", "channel", "quantity", "value", "unit", "status", "status_name",
    "doubt", "serial", "identified", "simulated", "clock", "clock_at_ns", "text", "rtt_ms", "epoch", "seq",
]  # fmt: skip

_READINGS = "SELECT line FROM record WHERE at >= ? AND at < ? ORDER BY seq"
_DOUBTS = "SELECT line FROM record WHERE at < ?"
"""The stamp of a doubt is where its span begins."""


def export_command(
    archive: Path | None,
    spool: Path | None,
    instrument: str | None,
    span: tuple[str | None, str | None],
    output: Path | None,
) -> None:
    """Write the readings of a span as CSV."""
    if (archive is None) == (spool is None):
        fail("name either --archive FILE or --spool FILE", 2)
    start, end = span_of(span, ALL_TIME)
    try:
        with ExitStack() as stack:
            if archive:
                doubts, found = points(archive, "doubt", end=end), points(archive, "reading", start, end)
            else:
                doubts, found = stack.enter_context(_spooled(spool or Path(), start, end))
            doubted = Doubted(one for one in doubts if int(one.fields["until"]) >= start)
            out = stack.enter_context(output.open("w", newline="")) if output else sys.stdout
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(COLUMNS)
            wanted = (point for point in found if instrument in {None, point.tags.get("instrument")})
            writer.writerows(_row(point, doubted) for point in wanted)
    except FileNotFoundError as error:
        fail(f"{error.filename or error}: there is no such file")
    except (sqlite3.Error, OSError, NoLine) as error:
        fail(f"{archive or spool}: {error}")


def _row(point: Point, doubted: Doubted) -> list[object]:
    tags, fields = point.tags, point.fields
    seconds, nanoseconds = divmod(point.time, 1_000_000_000)
    return [
        f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z",
        point.time,
        *(tags.get(key, "") for key in ("station", "instrument", "channel", "quantity")),
        point.text_of.get("value", ""),
        tags.get("unit", ""),
        fields["status"],
        Status(int(fields["status"])).name.lower(),
        "; ".join(doubted.words(point)),
        fields.get("serial", ""),
        fields.get("identified", True),
        fields.get("simulated", False),
        fields.get("clock", ""),
        fields.get("clock_at", ""),
        fields["text"],
        fields["rtt_ms"],
        fields["epoch"],
        fields["seq"],
    ]


@contextmanager
def _spooled(path: Path, start: int, end: int) -> Iterator[tuple[Iterator[Point], Iterator[Point]]]:
    """Give doubts and readings of a spool that no other process has open: a spool has exactly one owner."""
    if not path.is_file():
        raise FileNotFoundError(path)
    with path.with_name(path.name + ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fail(f"{path}: the station runs; stop it first, or export from the archive or the database")
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            doubts = connection.execute(_DOUBTS, (end,))
            readings = connection.execute(_READINGS, (start, end))
            yield (
                (parse(line) for (line,) in doubts if line.startswith(b"doubt,")),
                (parse(line) for (line,) in readings if line.startswith(b"reading,")),
            )
