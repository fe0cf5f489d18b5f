"""R20: somebody changes, removes, moves or adds a record in the station's file; the chain names the first place."""

from __future__ import annotations

import random
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from daq.road.line_protocol import encode
from daq.spool import chain
from daq.spool.file import Changes, SpoolFile
from daq.spool.writer import COMMIT_ROWS
from tests.drills.report import SEED, count, note
from tests.spools import GIB, reading

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator
    from pathlib import Path

ROWS = count(4_000, 100_000)
TRIALS = count(40, 1_000)

Deed = tuple[str, int]
"""What was done, and the number of the first record that does not fit any more."""


def written(path: Path) -> SpoolFile:
    file = SpoolFile(path, 4 * GIB)
    for first in range(1, ROWS + 1, COMMIT_ROWS):
        last = min(first + COMMIT_ROWS - 1, ROWS)
        rows = [(seq, reading(seq).at, encode(reading(seq), seq, file.epoch)) for seq in range(first, last + 1)]
        file.commit(Changes(rows, stored=[(first, last)]))
    return file


@contextmanager
def undone(connection: sqlite3.Connection) -> Iterator[None]:
    """Let a deed be seen, and then have it never been done."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


class Hand:
    """Does what a person with the file and SQLite could do; every checksum is made right again, the chain is not."""

    def __init__(self, connection: sqlite3.Connection, dice: random.Random) -> None:
        self._run = connection.execute
        self._dice = dice
        self.deeds: dict[str, Callable[[int], Deed]] = {
            "value": self.value,
            "one bit": self.bit,
            "stamp": self.stamp,
            "removed": self.removed,
            "tail removed": self.tail,
            "two swapped": self.swapped,
            "another's line": self.copied,
            "link taken away": self.unlinked,
            "chained anew from there": self.chained,
        }

    def _row(self, seq: int) -> tuple[int, bytes, bytes]:
        found: tuple[int, bytes, bytes] = self._run(
            "SELECT at, line, link FROM record WHERE seq = ?", (seq,)
        ).fetchone()
        return found

    def _write(self, seq: int, at: int, line: bytes) -> None:
        crc = chain.checksum(seq, at, line)
        self._run("UPDATE record SET at = ?, line = ?, crc = ? WHERE seq = ?", (at, line, crc, seq))

    def value(self, seq: int) -> Deed:
        at, line, _ = self._row(seq)
        self._write(seq, at, line.replace(b"value=", b"value=9", 1))
        return "value", seq

    def bit(self, seq: int) -> Deed:
        at, line, _ = self._row(seq)
        place = self._dice.randrange(len(line))
        self._write(seq, at, line[:place] + bytes([line[place] ^ 1 << self._dice.randrange(8)]) + line[place + 1 :])
        return "one bit", seq

    def stamp(self, seq: int) -> Deed:
        at, line, _ = self._row(seq)
        self._write(seq, at + 1, line)
        return "stamp", seq

    def removed(self, seq: int) -> Deed:
        self._run("DELETE FROM record WHERE seq = ?", (seq,))
        return "removed", seq

    def tail(self, seq: int) -> Deed:
        self._run("DELETE FROM record WHERE seq >= ?", (seq,))
        return "tail removed", seq

    def swapped(self, seq: int) -> Deed:
        other = seq + 1 if seq < ROWS else seq - 1
        one, two = self._row(seq), self._row(other)
        self._write(seq, two[0], two[1])
        self._write(other, one[0], one[1])
        return "two swapped", min(seq, other)

    def copied(self, seq: int) -> Deed:
        at, line, _ = self._row(self._dice.choice([one for one in (seq - 1, seq + 1) if 1 <= one <= ROWS]))
        self._write(seq, at, line)
        return "another's line", seq

    def unlinked(self, seq: int) -> Deed:
        _, line, _ = self._row(seq)
        crc = zlib.crc32(line)  # as before there was a chain
        self._run("UPDATE record SET link = NULL, crc = ? WHERE seq = ?", (crc, seq))
        return "link taken away", seq

    def chained(self, seq: int) -> Deed:
        """Give a changed record a link of its own: then the next one no longer follows, or the head does not."""
        at, line, _ = self._row(seq)
        changed = line.replace(b"value=", b"value=9", 1)
        self._write(seq, at, changed)
        before = self._row(seq - 1)[2] if seq > 1 else b""
        if seq == 1:
            (before,) = self._run("SELECT chain_link FROM head").fetchone()
        self._run("UPDATE record SET link = ? WHERE seq = ?", (chain.next_digest(before, seq, at, changed), seq))
        return "chained anew from there", min(seq + 1, ROWS)


@pytest.mark.timeout(3_600)
def test_every_deed_is_found_at_its_place(tmp_path: Path) -> None:
    dice = random.Random(SEED)
    file = written(tmp_path / "spool.sqlite")
    assert first_finding(file) is None
    hand = Hand(file._connection, dice)
    done = dict.fromkeys(hand.deeds, 0)
    for trial in range(TRIALS):
        name = sorted(hand.deeds)[trial % len(hand.deeds)]
        with undone(file._connection):
            _, seq = hand.deeds[name](dice.randint(1, ROWS))
            found = first_finding(file)
        assert found is not None, f"{name} at record {seq} was not found"
        assert found.seq == seq, f"{name} at record {seq}: {found}"
        done[name] += 1
    assert first_finding(file) is None, "all was undone"
    file.close()
    note(
        "R20",
        claim="a record that was changed, removed, moved or copied is found, at its place",
        aim="1,000 trials of 100,000 records: the first record that does not fit is named in 100 %",
        seen=f"{TRIALS:,} trials of {ROWS:,} records ({', '.join(f'{name} {n}' for name, n in done.items())}), each "
        "with its checksum made right: first record named in 100 %",
        test="pytest tests/drills/test_tampering.py",
        seed=SEED,
    )


def first_finding(file: SpoolFile) -> chain.Finding | None:
    """Follow the whole chain, as `daq verify` does, up to the first finding."""
    return next(iter(chain.check(all_rows(file), file.bounds)), None)


def all_rows(file: SpoolFile) -> Iterator[chain.Row]:
    after = 0
    while rows := file.rows(after, 5_000):
        yield from rows
        after = rows[-1].seq
