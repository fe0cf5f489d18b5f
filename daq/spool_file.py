"""The SQLite file under the spool: its tables, its one transaction, its checksums; knows no thread and no loop."""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
import time
import zlib
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from daq import salvage
from daq.ranges import Ranges

if TYPE_CHECKING:
    from pathlib import Path

    from daq.batch import Rejection

SCHEMA = "1"
CHECK_SECONDS = 2.0
PRUNE_ROWS = 2_000
"""Rows removed in one transaction: a few milliseconds, so that no commit waits long for it."""

_TABLES = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS record (
    seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, line BLOB NOT NULL, crc INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS stored (first INTEGER PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS dropped (first INTEGER PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS quarantine (seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, reason TEXT NOT NULL);
"""


class SpoolError(Exception):
    """The spool cannot be used; the message says why and what to do."""


class SpoolFull(SpoolError):
    """The file has reached its limit and holds nothing that the database has already."""


@dataclass(slots=True)
class Changes:
    """What one transaction writes: new rows (seq, at, line), ranges that are stored, rows that were refused."""

    rows: list[tuple[int, int, bytes]] = field(default_factory=list)
    stored: list[tuple[int, int]] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.rows or self.stored or self.rejected)


class SpoolFile:
    """An open spool file; `stored`, `quarantined` and `dropped` are the rows that are not waiting any more."""

    def __init__(self, path: Path, limit: int) -> None:
        """Open or create `path` (at most `limit` bytes); SpoolError where it is in use or damaged."""
        self._lock = _lock(path)
        self.damage = ""
        try:
            self._open(path, limit)
            schema = self._meta("schema", SCHEMA)
        except sqlite3.Error as error:
            os.close(self._lock)
            raise SpoolError(f"{path}: cannot be used as a spool: {error}") from error
        if schema != SCHEMA:
            self.close()
            raise SpoolError(f"{path}: written by another version of daq (schema {schema}, this one knows {SCHEMA})")
        self.stored = Ranges(self._connection.execute("SELECT first, last FROM stored ORDER BY first"))
        self.dropped = Ranges(self._connection.execute("SELECT first, last FROM dropped ORDER BY first"))
        self.quarantined = Ranges(
            (seq, seq) for (seq,) in self._connection.execute("SELECT seq FROM quarantine ORDER BY seq")
        )
        self.last = max(self._scalar("SELECT max(seq) FROM record"), self.stored.last, self.dropped.last)

    def _open(self, path: Path, limit: int) -> None:
        """Open the file; where it is damaged, set it aside and begin a new one with what could be read of it."""
        try:
            self._connection = _connect(path, limit)
            self.epoch = self._meta("epoch", secrets.token_hex(16))
            _check(self._connection)
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
                raise
            if hasattr(self, "_connection"):
                self._connection.close()
            aside = salvage.set_aside(path)
            self._connection = _connect(path, limit)
            self.epoch = self._meta("epoch", secrets.token_hex(16))
            found = enumerate(salvage.rows(aside), 1)
            rows = [(seq, at, salvage.renumbered(line, seq, self.epoch)) for seq, (at, line) in found]
            self.stored = Ranges()
            for start in range(0, len(rows), PRUNE_ROWS):
                self.commit(Changes(rows[start : start + PRUNE_ROWS]))
            self.damage = (
                f"the spool was damaged ({error}) and set aside as {aside.name}; {len(rows)} records were read from it"
            )

    def _meta(self, key: str, default: str) -> str:
        with self._connection:
            self._connection.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (key, default))
        (value,) = self._connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return str(value)

    def _scalar(self, query: str) -> int:
        return int(self._connection.execute(query).fetchone()[0] or 0)

    def commit(self, changes: Changes) -> None:
        """Write everything or nothing, durably; SpoolFull at the limit, sqlite3.Error for what else a disk can do."""
        try:
            with self._connection:
                self._write(changes)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise SpoolFull(str(error)) from error
            raise

    def _write(self, changes: Changes) -> None:
        run = self._connection
        run.execute("BEGIN IMMEDIATE")
        run.executemany(
            "INSERT INTO record VALUES (?, ?, ?, ?)",
            ((seq, at, line, zlib.crc32(line)) for seq, at, line in changes.rows),
        )
        for first, last in changes.stored:
            self._write_range("stored", self.stored, first, last)
        now = time.time_ns()
        for one in changes.rejected:
            run.execute("INSERT OR REPLACE INTO quarantine VALUES (?, ?, ?)", (one.seq, now, one.reason))

    def _write_range(self, table: str, known: Ranges, first: int, last: int) -> None:
        first, last = known.merged(first, last)
        self._connection.execute(f"DELETE FROM {table} WHERE first BETWEEN ? AND ?", (first, last))  # noqa: S608  # our own table names
        self._connection.execute(f"INSERT INTO {table} VALUES (?, ?)", (first, last))  # noqa: S608
        known.add(first, last)

    def read(self, first: int, last: int) -> list[tuple[int, bytes]]:
        """Give the rows first..last; a row whose checksum does not fit goes to quarantine and is left out."""
        rows = self._connection.execute(
            "SELECT seq, line, crc FROM record WHERE seq BETWEEN ? AND ? ORDER BY seq", (first, last)
        ).fetchall()
        good = [(seq, line) for seq, line, crc in rows if isinstance(line, bytes) and zlib.crc32(line) == crc]
        bad = set(range(first, last + 1)) - {seq for seq, _ in good}
        if bad:
            self.quarantine(
                dict.fromkeys(bad, "damaged on the station's disk: missing row or checksum that does not fit")
            )
        return good

    def quarantine(self, reasons: dict[int, str]) -> None:
        """Set rows aside for a person to look at."""
        now = time.time_ns()
        with self._connection:
            self._connection.executemany(
                "INSERT OR REPLACE INTO quarantine VALUES (?, ?, ?)",
                ((seq, now, reason) for seq, reason in reasons.items()),
            )
        for seq in reasons:
            self.quarantined.add(seq, seq)

    def prune(self, before: int) -> int:
        """Remove the oldest rows if stored and older than `before` (UTC ns), some thousand at most; gives how many."""
        rows = self._connection.execute("SELECT seq, at FROM record ORDER BY seq LIMIT ?", (PRUNE_ROWS,)).fetchall()
        last = 0
        for seq, at in rows:
            if at >= before or seq not in self.stored:
                break
            last = seq
        if not last:
            return 0
        with self._connection:
            return self._connection.execute("DELETE FROM record WHERE seq <= ?", (last,)).rowcount

    def drop_oldest(self) -> list[tuple[int, int]]:
        """Give up the oldest waiting rows to make room, some thousand at most; gives their ranges."""
        gone = Ranges([*self.stored, *self.quarantined, *self.dropped])
        first = gone.next_missing(self._scalar("SELECT min(seq) FROM record"))
        end = min(first + PRUNE_ROWS, self._scalar("SELECT max(seq) FROM record") + 1)
        ranges = []
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            while first < end:
                beyond = min(gone.next_present(first) or end, end)
                self._connection.execute("DELETE FROM record WHERE seq BETWEEN ? AND ?", (first, beyond - 1))
                self._write_range("dropped", self.dropped, first, beyond - 1)
                ranges.append((first, beyond - 1))
                first = gone.next_missing(beyond)
        return ranges

    def close(self) -> None:
        """Fold the write-ahead log into the file and give up the lock."""
        self._connection.close()
        os.close(self._lock)


def _lock(path: Path) -> int:
    # SQLite before 3.51.3 can corrupt a WAL database that two connections use: the second opener is turned away here.
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise SpoolError(f"{path}: in use by another process; a spool has exactly one owner") from None
    return lock


def _check(connection: sqlite3.Connection) -> None:
    """Look for damage, for `CHECK_SECONDS` at most: the station must acquire again within seconds."""
    deadline = time.monotonic() + CHECK_SECONDS
    connection.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
    try:
        (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        said = "ok"
    finally:
        connection.set_progress_handler(None, 0)
    if said != "ok":
        damage = sqlite3.DatabaseError(said)
        damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise damage


def _connect(path: Path, limit: int) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=32)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # NORMAL lost every acknowledged row of a power cut
    connection.execute("PRAGMA journal_size_limit = 16777216")
    with closing(connection.execute("PRAGMA page_size")) as cursor:
        page_size = int(cursor.fetchone()[0])
    connection.execute(f"PRAGMA max_page_count = {max(64, limit // page_size)}")
    for statement in _TABLES.split(";"):
        connection.execute(statement)
    return connection
