"""`daq export`: readings as CSV, from the archive of a bridge or from the rows that a station keeps."""

from __future__ import annotations

import csv
import fcntl
import os
import sqlite3
import sys
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from daq.bridge.archive import points
from daq.commands.failing import fail
from daq.commands.span import span_of
from daq.road.point import NoLine, Point, parse
from drivers.sample import Status

if TYPE_CHECKING:
    from collections.abc import Iterator

COLUMNS = [
    "time", "time_ns", "station", "instrument", "channel", "quantity", "value", "unit", "status", "status_name",
    "identified", "simulated", "clock", "clock_at_ns", "text", "rtt_ms", "epoch", "seq",
]  # fmt: skip
ALL_TIME = (-(2**63), 2**63 - 1)


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
            found = (
                points(archive, "reading", start, end)
                if archive
                else stack.enter_context(_spooled(spool or Path(), start, end))
            )
            out = stack.enter_context(output.open("w", newline="")) if output else sys.stdout
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(_row(point) for point in found if instrument in {None, point.tags.get("instrument")})
    except FileNotFoundError as error:
        fail(f"{error.filename or error}: there is no such file")
    except (sqlite3.Error, OSError, NoLine) as error:
        fail(f"{archive or spool}: {error}")


def _row(point: Point) -> list[object]:
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
def _spooled(path: Path, start: int, end: int) -> Iterator[Iterator[Point]]:
    """Give the kept readings of a spool that no other process has open: a spool has exactly one owner."""
    if not path.is_file():
        raise FileNotFoundError(path)
    with path.with_name(path.name + ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fail(f"{path}: the station runs; stop it first, or export from the archive or the database")
        with closing(sqlite3.connect(f"file:{os.fspath(path)}?mode=ro", uri=True)) as connection:
            rows = connection.execute("SELECT line FROM record WHERE at >= ? AND at < ? ORDER BY seq", (start, end))
            yield (parse(line) for (line,) in rows if line.startswith(b"reading,"))
