"""Takes what can still be read out of a damaged spool file, while the station acquires into a new one.

The damaged file is moved away, never deleted. Its rows go into the new spool under new numbers and a new epoch; where
that is cut off, it begins again at the next start: a row that the database has already replaces itself there.
"""

from __future__ import annotations

import itertools
import re
import sqlite3
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from daq.road.ranges import Ranges
from daq.spool.chain import Row
from daq.spool.leaf_pages import whole_rows
from daq.spool.schema import is_damage, seal

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

STEP = 1_000
"""Rows asked for at once."""

FILE_HEADER, PAGE = 100, 4096
_ALWAYS = {
    0: b"SQLite format 3\0" + PAGE.to_bytes(2, "big") + bytes([2, 2, 0, 64, 32, 32]),
    44: (4).to_bytes(4, "big"),  # schema format
    52: bytes(4),  # no auto-vacuum
    56: (1).to_bytes(4, "big"),  # UTF-8
    64: bytes(4),
    72: bytes(20),
}
READ = ".read"
"""Ends the name of a file that was moved away and read to its end."""
_ASIDE = re.compile(r"\.damaged-\d{8}T\d{6}(-\d+)?$")
_SOME = "SELECT * FROM record WHERE seq BETWEEN ? AND ? ORDER BY seq"


def move_away(path: Path) -> Path:
    """Rename a damaged spool with its write-ahead log, and give its new name."""
    name = f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}"
    numbers = itertools.chain([""], (f"-{count}" for count in itertools.count(2)))
    aside = next(one for number in numbers if _is_free(one := path.with_name(f"{name}{number}")))
    _rename(path, aside)
    return aside


def unread(path: Path) -> list[Path]:
    """Name the files of the spool at `path` that were moved away and not yet read to their end."""
    return sorted(one for one in path.parent.glob(f"{path.name}.damaged-*") if _ASIDE.search(one.name))


def note_read(aside: Path) -> None:
    """Let a file that was moved away be read no more; it stays where it is."""
    _rename(aside, aside.with_name(aside.name + READ))


def mend_header(path: Path) -> bool:
    """Write into the header of an unreadable file what it always says in a spool; gives whether that was missing.

    The first bytes as they were stay beside it, in a file that ends with `.header`. What they mean: "The Database
    Header", sqlite.org/fileformat2.html.
    """
    with path.open("r+b") as file:
        found = file.read(FILE_HEADER)
        if len(found) < FILE_HEADER:
            return False
        right = bytearray(found)
        for place, bytes_there in _ALWAYS.items():
            right[place : place + len(bytes_there)] = bytes_there
        if path.stat().st_size != PAGE * int.from_bytes(found[28:32], "big"):
            right[92:96] = bytes(4)  # then SQLite takes the size of the file for its size
        if right == found:
            return False
        path.with_name(path.name + ".header").write_bytes(found)
        file.seek(0)
        file.write(right)
    return True


def _is_free(path: Path) -> bool:
    return not (path.exists() or path.with_name(path.name + READ).exists())


def _rename(path: Path, to: Path) -> None:
    for suffix in ("-shm", "-wal", ""):  # the file itself last: where it still has its name, all is done again
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(to.with_name(to.name + suffix))


def rows(path: Path) -> Generator[tuple[int, bytes]]:
    """Give (stamp, line) of every row whose checksum fits: by the tree, then from pages that it does not lead to.

    Rows that the file knows to be stored come again where that table is damaged, too; that is harmless. Raises
    sqlite3.OperationalError or OSError where the disk lets nobody read at this moment.
    """
    if not _opens(path):
        with suppress(OSError):
            mend_header(path)
    done = Ranges()  # two ways of a damaged tree may lead to one page
    broken: list[Exception] = []
    for row in itertools.chain(_by_tree(path, done, broken), _by_page(path, broken)):
        if row.whole and row.seq not in done:
            done.add(row.seq, row.seq)
            yield row.at, row.line


def _opens(path: Path) -> bool:
    """Whether SQLite finds its way into the file at all."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            connection.execute("SELECT count(*) FROM record WHERE seq < 0").fetchone()
    except (sqlite3.Error, UnicodeDecodeError):
        return False
    return True


def _by_tree(path: Path, done: Ranges, broken: list[Exception]) -> Iterator[Row]:
    """Give the rows that the tree leads to; those that are stored go into `done`, what is in the way into `broken`."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_schema")
            # A range that may be too wide would hide rows that no database has; schema 1 has no checksum to ask.
            for low, high, crc in _read(connection, "SELECT first, last, crc FROM stored ORDER BY first", broken):
                if crc == seal(low, high):
                    done.add(low, high)
            ends = _read(connection, "SELECT min(seq), max(seq) FROM record", broken)
            first, last = ends[0] if ends and isinstance(ends[0][0], int) else (1, 0)
            for start in range(first, last + 1, STEP):
                for row in _read(connection, _SOME, broken, (start, min(start + STEP - 1, last))):
                    seq, at, line, crc, link = (*row, None)[:5]  # schema 1 knew no link
                    yield Row(seq, at, line, crc, link)
    except UnicodeDecodeError as error:  # Python cannot read what SQLite says of a damaged schema
        broken.append(error)
    except sqlite3.DatabaseError as error:
        if not is_damage(error, at_start=True):
            raise
        broken.append(error)


def _by_page(path: Path, broken: list[Exception]) -> Iterator[Row]:
    """Give every row of the file where something is in the way of the tree."""
    if broken:
        yield from whole_rows(path)


def _read(
    connection: sqlite3.Connection, query: str, broken: list[Exception], values: tuple[int, ...] = ()
) -> list[tuple[Any, ...]]:
    """Give what a query finds, up to where the file is damaged."""
    found: list[tuple[Any, ...]] = []
    try:
        found.extend(connection.execute(query, values))
    except (sqlite3.Error, UnicodeDecodeError) as error:
        broken.append(error)
    return found
