"""The embedded sink: one SQLite file with the measurements, tags and fields of the database, for a lab without one yet.

A row is keyed by its series and stamp like a point of InfluxDB: writing it twice leaves it once.
"""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

from daq.bridge.sink import Refused, Unavailable
from daq.road.point import NoLine, joined, split

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from daq.road.point import Point

_TABLES = """
CREATE TABLE IF NOT EXISTS series (id INTEGER PRIMARY KEY, measurement TEXT NOT NULL, tags TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS point (
    series INTEGER NOT NULL REFERENCES series (id), time INTEGER NOT NULL, fields TEXT NOT NULL,
    PRIMARY KEY (series, time)
) WITHOUT ROWID;
"""


class Archive:
    """The archive file of a bridge; one thread writes, and any number of readers may have the file open."""

    def __init__(self, path: Path) -> None:
        self.name = f"archive {path}"
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="archive")
        self._connection: sqlite3.Connection | None = None
        self._ids: dict[str, int] = {}

    async def write(self, lines: Sequence[bytes]) -> None:
        """Write all lines, durably; Refused where one is no line of this road, Unavailable where the disk fails."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._write, lines)

    def _write(self, lines: Sequence[bytes]) -> None:
        try:
            connection = self._connection or self._open()
            rows = [self._row(connection, line) for line in lines]
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany("INSERT OR REPLACE INTO point VALUES (?, ?, ?)", rows)
        except (sqlite3.Error, OSError) as error:
            self._ids.clear()
            raise Unavailable(f"{self._path}: {error}") from error

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(_TABLES)
        self._connection = connection
        return connection

    def _row(self, connection: sqlite3.Connection, line: bytes) -> tuple[int, int, str]:
        try:
            key, fields, stamp = split(line)
        except NoLine as error:
            raise Refused(str(error)) from error
        if key not in self._ids:
            measurement = key.partition(",")[0]
            connection.execute("INSERT OR IGNORE INTO series (measurement, tags) VALUES (?, ?)", (measurement, key))
            (self._ids[key],) = connection.execute("SELECT id FROM series WHERE tags = ?", (key,)).fetchone()
        return self._ids[key], stamp, fields

    async def close(self) -> None:
        """Close the file."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def points(path: Path, measurement: str, start: int = -(2**63), end: int = 2**63 - 1) -> Iterator[Point]:
    """Give the points of a measurement from `start` up to but not including `end` (UTC ns), in order of time."""
    if not path.is_file():
        raise FileNotFoundError(path)
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        rows = connection.execute(
            "SELECT tags, time, fields FROM point JOIN series ON series.id = point.series "
            "WHERE measurement = ? AND time >= ? AND time < ? ORDER BY time, series.id",
            (measurement, start, end),
        )
        for key, stamp, fields in rows:
            yield joined(key, fields, stamp)
