"""The embedded sink: one SQLite file with the measurements, tags and fields of the database, for a lab without one yet.

A row is keyed by its series and stamp like a point of InfluxDB: writing it twice is writing it once.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from daq.bridge.sink import Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_TABLES = """
CREATE TABLE IF NOT EXISTS series (id INTEGER PRIMARY KEY, measurement TEXT NOT NULL, tags TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS point (
    series INTEGER NOT NULL REFERENCES series (id), time INTEGER NOT NULL, fields TEXT NOT NULL,
    PRIMARY KEY (series, time)
) WITHOUT ROWID;
"""

_LINE = re.compile(r"((?:\\.|[^\\ ])+) (.+) (-?\d{1,19})", re.ASCII)
_FIELD = re.compile(
    r'([A-Za-z_]+)=(?:"((?:[^"\\]|\\.)*)"|(true|false)|(-?\d+)i|(-?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?))(?:,|$)',
    re.ASCII,
)

Value = str | bool | int | float


@dataclass(frozen=True, slots=True)
class Point:
    """One point with its stamp in UTC nanoseconds; `text_of` gives the digits of a number as sent."""

    measurement: str
    tags: dict[str, str]
    fields: dict[str, Value]
    text_of: dict[str, str]
    time: int


class Archive:
    """The archive file of a bridge; has one writing thread, and any number of readers may open the file beside it."""

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
        except sqlite3.Error as error:
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
        key, fields, stamp = _parts(line)
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


def _parts(line: bytes) -> tuple[str, str, int]:
    """Split a line into series, fields and stamp, each checked."""
    try:
        match = _LINE.fullmatch(line.decode())
    except UnicodeDecodeError as error:
        raise Refused(f"a line that is no UTF-8: {error}") from error
    if match is None:
        raise Refused(f"no line protocol: {line[:80]!r}")
    key, fields, stamp = match.groups()
    if sum(len(found[0]) for found in _FIELD.finditer(fields)) != len(fields) or not -(2**63) <= int(stamp) < 2**63:
        raise Refused(f"no fields or stamp of line protocol: {line[:80]!r}")
    return key, fields, int(stamp)


@cache
def _tags(key: str) -> tuple[str, dict[str, str]]:
    measurement, *pairs = re.split(r"(?<!\\),", key)
    split = (re.split(r"(?<!\\)=", pair, maxsplit=1) for pair in pairs)
    return measurement, {name: re.sub(r"\\(.)", r"\1", value) for name, value in split}


def parse(line: bytes) -> Point:
    """Read one line of this road; Refused for any other."""
    key, fields, stamp = _parts(line)
    return _point(key, stamp, fields)


def _point(key: str, stamp: int, text: str) -> Point:
    measurement, tags = _tags(key)
    fields: dict[str, Value] = {}
    digits: dict[str, str] = {}
    for name, string, truth, whole, number in _FIELD.findall(text):
        if truth:
            fields[name] = truth == "true"
        elif whole:
            fields[name] = int(whole)
        elif number:
            fields[name] = float(number)
            digits[name] = number
        else:
            fields[name] = re.sub(r"\\([\"\\])", r"\1", string)
    return Point(measurement, tags, fields, digits, stamp)


def points(path: Path, measurement: str, start: int = -(2**63), end: int = 2**63 - 1) -> Iterator[Point]:
    """Give the points of a measurement from `start` up to but not including `end` (UTC ns), in order of time."""
    if not path.is_file():
        raise FileNotFoundError(path)
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        rows = connection.execute(
            "SELECT tags, time, fields FROM point JOIN series ON series.id = point.series "
            "WHERE measurement = ? AND time >= ? AND time < ? ORDER BY time, series.id",
            (measurement, start, end),
        )
        for key, stamp, fields in rows:
            yield _point(key, stamp, fields)
