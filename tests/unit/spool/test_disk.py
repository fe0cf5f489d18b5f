"""The disk for tests keeps what it was told, fails when it was told, and loses what a power cut may take."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest

from tests.disk import Call, Disk, Operation, _library, faulty_disk
from tests.power_cut import cut, replay

if TYPE_CHECKING:
    from pathlib import Path

COMMITS = 40


def connected(path: Path, journal: str = "WAL", synchronous: str = "FULL") -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute(f"PRAGMA journal_mode = {journal}")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA wal_autocheckpoint = 20")
        connection.execute("CREATE TABLE IF NOT EXISTS row (number INTEGER PRIMARY KEY, text TEXT)")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def insert(connection: sqlite3.Connection, number: int) -> None:
    connection.execute("INSERT INTO row VALUES (?, ?)", (number, f"row {number} " * 50))


def on_disk(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith("-shm")}


@pytest.mark.parametrize("journal", ["WAL", "DELETE", "TRUNCATE"])
def test_log_replayed_in_full_is_what_lies_there(tmp_path: Path, journal: str) -> None:
    with closing(connected(tmp_path / "old.sqlite")) as connection:
        insert(connection, 1)
    with faulty_disk(tmp_path) as disk:
        with closing(connected(tmp_path / "new.sqlite", journal)) as connection, connection:
            for number in range(COMMITS):
                insert(connection, number)
            connection.execute("DELETE FROM row WHERE number > 10")
            connection.execute("VACUUM")
            assert replay(disk.log) == on_disk(tmp_path)
        with closing(connected(tmp_path / "old.sqlite", journal)) as connection:
            insert(connection, 2)
        assert set(on_disk(tmp_path)) >= {"old.sqlite", "new.sqlite"}
        assert replay(disk.log) == on_disk(tmp_path)


def test_other_folders_and_later_connections_are_let_alone(tmp_path: Path) -> None:
    ours = tmp_path / "ours"
    ours.mkdir()
    with faulty_disk(ours) as disk:
        disk.fail_for_ever("open", 1, sqlite3.SQLITE_CANTOPEN)
        connected(tmp_path / "other.sqlite").close()
        with pytest.raises(sqlite3.OperationalError, match="unable to open"):
            connected(ours / "s.sqlite")
    calls = dict(disk.calls)
    connected(ours / "s.sqlite").close()
    assert (dict(disk.calls), disk.log) == (calls, [])


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("write", sqlite3.SQLITE_FULL),
        ("write", sqlite3.SQLITE_IOERR_WRITE),
        ("sync", sqlite3.SQLITE_IOERR_FSYNC),
    ],
)
def test_fault_is_an_error_and_passes(tmp_path: Path, call: Call, code: int) -> None:
    with faulty_disk(tmp_path) as disk, closing(connected(tmp_path / "s.sqlite")) as connection:
        insert(connection, 1)
        disk.fail(call, 1, code)
        with pytest.raises(sqlite3.OperationalError) as caught:
            insert(connection, 2)
        assert caught.value.sqlite_errorcode == code
        insert(connection, 3)
        disk.fail_for_ever(call, 1, code)
        for number in (4, 5):
            with pytest.raises(sqlite3.OperationalError):
                insert(connection, number)
        disk.heal()
        insert(connection, 6)
        assert [number for (number,) in connection.execute("SELECT number FROM row")] == [1, 3, 6]


def test_fault_in_reading(tmp_path: Path) -> None:
    connected(tmp_path / "s.sqlite").close()
    with faulty_disk(tmp_path) as disk, closing(sqlite3.connect(tmp_path / "s.sqlite")) as connection:
        disk.fail("read", 1, sqlite3.SQLITE_IOERR_READ)
        with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
            connection.execute("SELECT * FROM row")
        assert connection.execute("SELECT * FROM row").fetchall() == []


@pytest.mark.parametrize("call", ["open", "write", "sync", "truncate", "read", "size", "delete"])
def test_every_call_can_be_walked(tmp_path: Path, call: Call) -> None:
    """Each of the N calls fails once; what had been committed without an error is there afterwards."""
    (tmp_path / "0").mkdir()
    with faulty_disk(tmp_path / "0") as disk:
        assert _life(tmp_path / "0" / "s.sqlite") == list(range(12))
    errors = 0
    for k in range(1, disk.calls[call] + 1):
        path = tmp_path / str(k) / "s.sqlite"
        path.parent.mkdir()
        with faulty_disk(path.parent) as failing:
            failing.fail(call, k, sqlite3.SQLITE_IOERR)
            committed = _life(path)
        assert failing.calls[call] >= k
        errors += len(committed) < 12
        with closing(connected(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert [number for (number,) in connection.execute("SELECT number FROM row")] == committed
    assert disk.calls[call] > 0
    assert errors or call in {"truncate", "delete"}, "both only tidy up: SQLite goes on without them"


def _life(path: Path) -> list[int]:
    """Give the rows whose commits returned."""
    committed = []
    with suppress(sqlite3.OperationalError), closing(connected(path)) as connection:
        for number in range(12):
            with suppress(sqlite3.OperationalError):
                insert(connection, number)
                committed.append(number)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return committed


def test_cut_keeps_what_was_synced_and_tears_the_rest() -> None:
    log = [
        Operation("create", "s"),
        Operation("write", "s", 0, b"a" * 1024),
        Operation("sync", "s", folder=True),
        Operation("write", "s", 256, b"b" * 1024),
        Operation("create", "t"),
    ]
    seen = [cut(log, len(log), random.Random(seed)) for seed in range(300)]
    assert {tuple(files) for files in seen} == {("s",), ("s", "t")}
    assert all(files["s"][:256] == b"a" * 256 for files in seen)
    parts = {tuple(files["s"][at : at + 1] for at in (256, 512, 1024)) for files in seen}
    assert parts == {(x, y, z) for x in (b"a", b"b") for y in (b"a", b"b") for z in (b"", b"b")}
    assert cut(log, 2, random.Random(1)) in ({}, {"s": b""}, {"s": b"a" * 512}, {"s": b"a" * 1024})


@pytest.mark.parametrize(
    ("journal", "synchronous", "loses"),
    [
        ("WAL", "FULL", False),
        ("WAL", "NORMAL", True),
        ("WAL", "OFF", True),
        ("DELETE", "EXTRA", False),
        ("DELETE", "FULL", True),  # the deletion of the journal is the commit, and nobody syncs the folder
    ],
)
def test_power_cut_takes_what_was_not_synced(tmp_path: Path, journal: str, synchronous: str, loses: bool) -> None:
    written = tmp_path / "written"
    written.mkdir()
    with (
        faulty_disk(written) as disk,
        closing(connected(written / "s.sqlite", journal, synchronous)) as connection,
    ):
        disk.mark(0)
        for number in range(1, COMMITS + 1):
            insert(connection, number)
            disk.mark(number)
    lost = sum(_lost(tmp_path / str(seed), disk, random.Random(seed), synchronous) for seed in range(60))
    assert (lost > 0) == loses


def _lost(folder: Path, disk: Disk, dice: random.Random, synchronous: str) -> int:
    """Cut the power somewhere, and count the committed rows that are not there."""
    begun = disk.log.index(Operation("mark"))
    position = dice.randrange(begun + 1, len(disk.log) + 1)
    committed = max(one.number for one in disk.log[:position] if one.kind == "mark")
    folder.mkdir()
    for name, data in cut(disk.log, position, dice).items():
        (folder / name).write_bytes(data)
    try:
        with closing(connected(folder / "s.sqlite")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            (found,) = connection.execute("SELECT count(*) FROM row WHERE number <= ?", (committed,)).fetchone()
    except (sqlite3.DatabaseError, AssertionError):
        if synchronous != "OFF":
            raise
        return committed
    return committed - int(found)


def test_python_with_sqlite_inside_is_told() -> None:
    with pytest.raises(RuntimeError, match="has SQLite inside itself"):
        _library("7f00-7f01 r-xp 00000000 fe:00 1 /usr/bin/python3\n")
