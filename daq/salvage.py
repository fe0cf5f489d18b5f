"""Takes what can still be read out of a damaged spool file, so that the station acquires again at once.

The damaged file is set aside, never deleted. Its rows go into a new spool under new numbers and a new epoch; a row that
the database had already replaces itself there.
"""

from __future__ import annotations

import itertools
import re
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from daq.chain import Row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STEP = 256
"""Rows asked for at once; where a page is damaged, each row is asked for alone."""

_NUMBER = re.compile(rb'([ ,])seq=\d+i,epoch="[0-9a-f]*"')


def set_aside(path: Path) -> Path:
    """Rename a damaged spool with its write-ahead log, and give its new name."""
    name = f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}"
    numbers = itertools.chain([""], (f"-{count}" for count in itertools.count(2)))
    aside = next(one for number in numbers if not (one := path.with_name(f"{name}{number}")).exists())
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside


def rows(path: Path) -> Iterator[tuple[int, bytes]]:
    """Give (stamp, line) of every row that can be read and whose checksum fits; a damaged page costs only its own rows.

    Rows that the file knows to be stored come again where that table is damaged, too; that is harmless.
    """
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            pairs = _read(connection, "SELECT first, last FROM stored ORDER BY first")
            stored = [(low, high) for low, high in pairs if isinstance(low, int) and isinstance(high, int)]
            first, last = _ends(connection)
            for start in range(first, last + 1, STEP):
                for seq, at, line, crc in _some(connection, start, min(start + STEP - 1, last)):
                    whole = isinstance(at, int) and any(Row(seq, at, line, crc, link).whole for link in (b"", None))
                    if whole and not any(low <= seq <= high for low, high in stored):
                        yield at, line
    except sqlite3.Error:
        return


def renumbered(line: bytes, seq: int, epoch: str) -> bytes:
    """Give a line its new number and epoch."""
    return _NUMBER.sub(rb'\1seq=%di,epoch="%s"' % (seq, epoch.encode()), line, count=1)


def _ends(connection: sqlite3.Connection) -> tuple[int, int]:
    """Find the first and last number; a tree that is broken at one end is searched from the other."""
    found = [
        int(value)
        for order in ("min", "max")
        for (value,) in _read(connection, f"SELECT {order}(seq) FROM record")  # noqa: S608  # two words of our own
        if isinstance(value, int)
    ]
    return (min(found), max(found)) if found else (1, 0)


def _some(connection: sqlite3.Connection, first: int, last: int) -> list[tuple[Any, ...]]:
    query = "SELECT seq, at, line, crc FROM record WHERE seq BETWEEN ? AND ? ORDER BY seq"
    try:
        return connection.execute(query, (first, last)).fetchall()
    except sqlite3.Error:
        return [row for seq in range(first, last + 1) for row in _read(connection, query, (seq, seq))]


def _read(connection: sqlite3.Connection, query: str, values: tuple[int, ...] = ()) -> list[tuple[Any, ...]]:
    try:
        return connection.execute(query, values).fetchall()
    except sqlite3.Error:
        return []
