"""R19: the file of an older version is taken over, also when the station is killed in the middle of it."""

from __future__ import annotations

import random
import secrets
import signal
import sqlite3
import subprocess
import sys
import time
import zlib
from typing import TYPE_CHECKING

import pytest

from daq.road.line_protocol import encode
from daq.spool import chain
from daq.spool.file import Changes, SpoolFile
from daq.spool.schema import SCHEMA, SpoolError
from tests.drills.report import SEED, count, note
from tests.drills.test_tampering import all_rows
from tests.spools import GIB, reading

if TYPE_CHECKING:
    from pathlib import Path

ROWS = count(20_000, 1_000_000)
KILLS = count(6, 60)
WITHIN = 30.0
STORED, REFUSED = ROWS // 2, 7
SCHEMA_1 = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE record (
    seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, line BLOB NOT NULL, crc INTEGER NOT NULL
);
CREATE TABLE stored (first INTEGER PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE dropped (first INTEGER PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE quarantine (seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, reason TEXT NOT NULL);
"""
"""As daq 0.1 wrote it, before there was a chain."""
OPENS = """
import sys
from pathlib import Path
from daq.spool.file import SpoolFile
print("ready", flush=True)
SpoolFile(Path(sys.argv[1]), 2**34).close()
print("done", flush=True)
"""


def written_by_schema_1(path: Path) -> str:
    """Write a spool as daq 0.1 did: half of it stored, one record in quarantine; gives its epoch."""
    epoch = secrets.token_hex(16)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(SCHEMA_1)
    connection.executemany("INSERT INTO meta VALUES (?, ?)", [("epoch", epoch), ("schema", "1")])
    for first in range(1, ROWS + 1, 10_000):
        rows = []
        for seq in range(first, min(first + 9_999, ROWS) + 1):
            line = encode(reading(seq), seq, epoch)
            rows.append((seq, reading(seq).at, line, zlib.crc32(line)))
        connection.executemany("INSERT INTO record VALUES (?, ?, ?, ?)", rows)
    connection.execute("INSERT INTO stored VALUES (?, ?)", (REFUSED + 1, STORED))
    connection.execute("INSERT INTO quarantine VALUES (?, ?, ?)", (REFUSED, 1, "no such field"))
    connection.commit()
    connection.close()
    return epoch


def opened_and_killed(path: Path, after: float) -> bool:
    """Open the file in a process of its own and kill that after so many seconds; gives whether it was done by then."""
    process = subprocess.Popen([sys.executable, "-c", OPENS, path], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    said = process.stdout.read()
    process.stdout.close()
    process.wait()
    return said == "done\n"


@pytest.mark.timeout(1_800)
def test_older_file_is_taken_over(tmp_path: Path) -> None:
    dice = random.Random(SEED)
    path = tmp_path / "spool.sqlite"
    epoch = written_by_schema_1(path)
    done = [opened_and_killed(path, dice.uniform(0.0, 0.02)) for _ in range(KILLS)]
    assert not all(done), "killed too late to prove anything"
    began = time.monotonic()
    file = SpoolFile(path, 16 * GIB)
    took = time.monotonic() - began
    assert took < WITHIN
    assert not file.damage
    assert (file.epoch, file.last) == (epoch, ROWS)
    assert list(file.stored) == [(REFUSED + 1, STORED)]
    assert file.quarantine_rows()[0][:3] == (REFUSED, 1, "no such field")
    for seq, row in enumerate(all_rows(file), 1):
        assert row.whole
        assert (row.seq, row.line) == (seq, encode(reading(seq), seq, epoch))
    assert seq == ROWS
    line = encode(reading(ROWS + 1), ROWS + 1, epoch)
    file.commit(Changes([(ROWS + 1, reading(ROWS + 1).at, line)]))
    assert list(chain.check(file.rows(ROWS, 10), file.bounds)) == []
    file.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA,)
    note(
        "R19",
        claim="the file of an older version is taken over at once, also where the station is killed meanwhile",
        aim=f"1,000,000 records: 0 lost, ≤ {WITHIN:.0f} s; a newer file is refused and left as it is",
        seen=f"{ROWS:,} records of schema 1, killed {KILLS} times while opening ({done.count(False)} before it was "
        f"done): 0 lost, 0 changed; opened in {took:.2f} s",
        test="pytest tests/drills/test_migration.py",
        seed=SEED,
    )


def test_newer_file_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "spool.sqlite"
    SpoolFile(path, GIB).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA + 1}")
        (mark,) = connection.execute("PRAGMA application_id").fetchone()
        connection.execute(f"PRAGMA application_id = {mark + 1}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(SpoolError, match="written by a newer daq"):
        SpoolFile(path, GIB)
    assert path.read_bytes() == before
