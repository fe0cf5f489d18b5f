"""Opens the SQLite file of a spool: lock, tables, settings, damage, and the step from an older version."""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
import time
import zlib
from contextlib import closing
from typing import TYPE_CHECKING, Any

from daq.spool import chain, write_ahead

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = 2
_MARK = 0x64617100  # "daq" and the schema again: one bit that turned makes no newer version
CHECK_BYTES = 64 * 2**20
"""A larger file is not looked through at the start, which takes seconds for each GB: damage shows when it is met."""
AGAIN_AFTER = 0.2
DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
DAMAGED_AT_START = DAMAGED | {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_FORMAT}
"""What SQLite says to statements that are right where a header or a schema is not what it was."""

# SQLite finds a page that is no page any more, but not a bit that has turned in a value: each row has its checksum.
_TABLES = """
CREATE TABLE record (
    seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, line BLOB NOT NULL, crc INTEGER NOT NULL, link BLOB
);
CREATE TABLE stored (first INTEGER PRIMARY KEY, last INTEGER NOT NULL, crc INTEGER) WITHOUT ROWID;
CREATE TABLE dropped (first INTEGER PRIMARY KEY, last INTEGER NOT NULL, link BLOB, crc INTEGER) WITHOUT ROWID;
CREATE TABLE quarantine (seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, reason TEXT NOT NULL, crc INTEGER);
"""
_HEAD = """
CREATE TABLE head (
    epoch TEXT PRIMARY KEY, seq INTEGER NOT NULL, link BLOB NOT NULL,
    pruned INTEGER NOT NULL, chain_start INTEGER NOT NULL, chain_link BLOB NOT NULL, crc INTEGER NOT NULL
);
"""


class SpoolError(Exception):
    """The spool cannot be used; the message says why and what to do."""


def lock(path: Path) -> int:
    """Become the one owner of the spool at `path`; gives what holds the lock until it is closed.

    SQLite before 3.51.3 can corrupt a WAL database that two connections use: the second opener is turned away here.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    held = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        raise SpoolError(f"{path}: in use by another process; a spool has exactly one owner") from None
    return held


def connect(path: Path, limit: int) -> sqlite3.Connection:
    """Open or create the file, at most `limit` bytes; sqlite3.Error where that fails, SpoolError if it is too new."""
    commits = write_ahead.commits(path.with_name(path.name + "-wal"))
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=32)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # NORMAL lost every acknowledged row of a power cut
        connection.execute("PRAGMA journal_size_limit = 16777216")
        with closing(connection.execute("PRAGMA page_size")) as cursor:
            page_size = int(cursor.fetchone()[0])
        connection.execute(f"PRAGMA max_page_count = {max(64, limit // page_size)}")
        connection.text_factory = lambda raw: raw.decode(errors="replace")
        (_, frames, _) = connection.execute("PRAGMA wal_checkpoint").fetchone()
        if lost := write_ahead.passed_over(commits, frames):
            raise damage(f"the last {lost} commits in its write-ahead log cannot be read")
        _bring_up_to_date(connection, path)
    except (sqlite3.Error, SpoolError):
        connection.close()
        raise
    except UnicodeDecodeError as error:  # Python cannot read what SQLite says of a damaged schema
        connection.close()
        raise damage("its schema cannot be read") from error
    return connection


def _bring_up_to_date(connection: sqlite3.Connection, path: Path) -> None:
    """Create what is missing, in one transaction: a kill leaves the file as it was."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (mark,) = connection.execute("PRAGMA application_id").fetchone()
        tables = {str(name) for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        if not tables and version == 0:
            _create(connection)
        elif version == 0 and "meta" in tables:
            _from_1(connection)
        elif version > SCHEMA and mark == _MARK + version:
            raise SpoolError(
                f"{path}: written by a newer daq (schema {version}, this one knows {SCHEMA}); nothing was changed: "
                "install that version again, or move the file away and keep it"
            )
        elif version != SCHEMA or "head" not in tables:
            raise damage(f"schema {version} with the tables {', '.join(sorted(tables))}")


def _create(connection: sqlite3.Connection) -> None:
    for statement in (_TABLES + _HEAD).split(";"):
        connection.execute(statement)
    epoch = secrets.token_hex(16)
    first = chain.genesis(epoch)
    write_head(connection, epoch, 0, first, 0, 0, first)
    _write_version(connection)


def _from_1(connection: sqlite3.Connection) -> None:
    """Add chain and checksums; the chain begins behind the records that are there: a million of them cost no time."""
    for statement in (
        "ALTER TABLE record ADD COLUMN link BLOB",
        "ALTER TABLE dropped ADD COLUMN link BLOB",
        "ALTER TABLE stored ADD COLUMN crc INTEGER",
        "ALTER TABLE dropped ADD COLUMN crc INTEGER",
        "ALTER TABLE quarantine ADD COLUMN crc INTEGER",
        _HEAD.strip().rstrip(";"),
    ):
        connection.execute(statement)
    (epoch,) = connection.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()
    (last,) = connection.execute(
        "SELECT max(ifnull((SELECT max(seq) FROM record), 0), ifnull((SELECT max(last) FROM stored), 0), "
        "ifnull((SELECT max(last) FROM dropped), 0))"
    ).fetchone()
    first = chain.genesis(epoch)
    write_head(connection, epoch, last, first, 0, last, first)
    for table, columns in (
        ("stored", "first, last"),
        ("dropped", "first, last, link"),
        ("quarantine", "seq, at, reason"),
    ):
        key = columns.split(",")[0]
        rows = connection.execute(f"SELECT {columns} FROM {table}").fetchall()  # noqa: S608  # our own names
        connection.executemany(
            f"UPDATE {table} SET crc = ? WHERE {key} = ?",  # noqa: S608
            [(seal(*row), row[0]) for row in rows],
        )
    connection.execute("DROP TABLE meta")
    _write_version(connection)


def _write_version(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA user_version = {SCHEMA}")
    connection.execute(f"PRAGMA application_id = {_MARK + SCHEMA}")


def seal(*values: object) -> int:
    """Give the checksum of a row of the small tables."""
    return zlib.crc32(repr(values).encode())


def write_head(connection: sqlite3.Connection, *values: object) -> None:
    """Write epoch, newest number, its link, last pruned number, and where the chain begins: number and link."""
    connection.execute("INSERT OR REPLACE INTO head VALUES (?, ?, ?, ?, ?, ?, ?)", (*values, seal(*values)))


def sealed(connection: sqlite3.Connection, query: str) -> list[tuple[Any, ...]]:
    """Give rows whose last column is their checksum, without it; sqlite3.DatabaseError where one does not fit."""
    rows = connection.execute(query).fetchall()
    if wrong := next((row for row in rows if seal(*row[:-1]) != row[-1]), None):
        raise damage(f"the checksum of {wrong[:-1]} does not fit")
    return [row[:-1] for row in rows]


def check(connection: sqlite3.Connection, path: Path) -> None:
    """Look for damage where that is soon done: the station must acquire again within seconds.

    A page that cannot be read is damage where it cannot be read at the second try either.
    """
    if path.stat().st_size > CHECK_BYTES:
        return
    said = _said_by_check(connection)
    if "unable to get the page" in said:
        time.sleep(AGAIN_AFTER)
        said = _said_by_check(connection)
    if said != "ok":
        raise damage(" ".join(said.split()))


def _said_by_check(connection: sqlite3.Connection) -> str:
    return str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])


def check_writing(connection: sqlite3.Connection, path: Path) -> None:
    """Write what is there already: one bit in its header makes a file that SQLite reads and never writes again."""
    try:
        connection.execute("UPDATE head SET epoch = epoch")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_READONLY and os.access(path, os.W_OK):
            raise damage("SQLite does not write into it any more") from error
        raise


def damage(what: str) -> sqlite3.DatabaseError:
    """Give the error of a file that is damaged, as SQLite itself raises it."""
    error = sqlite3.DatabaseError(what)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def is_damage(error: Exception, *, at_start: bool = False) -> bool:
    """Whether an error says that the file itself is not what SQLite wrote."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (DAMAGED_AT_START if at_start else DAMAGED)
