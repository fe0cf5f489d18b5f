"""The records of a spool on the disk: every transaction that there is; knows no thread and no loop."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from daq.road.ranges import Ranges
from daq.spool import chain, salvage, schema
from daq.spool.chain import Bounds, Row
from daq.spool.schema import SpoolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from daq.road.batch import Rejection

PRUNE_ROWS = 2_000
"""Rows removed in one transaction: a few milliseconds, so that no commit waits long for it."""
RESERVE = 8 * 2**20
"""Bytes below the limit that no reading may use: acknowledgements and the words of why readings were refused do."""
DAMAGED_ROW = "damaged on the station's disk: missing row or checksum that does not fit"


class SpoolFull(SpoolError):
    """No room: the file has reached its limit, or the disk has."""


@dataclass(slots=True)
class Changes:
    """What one transaction writes: new rows (seq, at, line), ranges that are stored, rows that were refused."""

    rows: list[tuple[int, int, bytes]] = field(default_factory=list)
    stored: list[tuple[int, int]] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.rows or self.stored or self.rejected)


class SpoolFile:
    """An open spool file; `stored`, `quarantined` and `dropped` are the rows that are not waiting any more.

    `head` is the number of the newest row and its link of the chain. As it was opened: `damage` is what was found,
    `latest_stamp` the latest stamp (UTC ns) among the newest rows (0: none).
    """

    def __init__(self, path: Path, limit: int, *, may_begin_epoch: bool = True) -> None:
        """Open or create `path` (at most `limit` bytes); SpoolError where it is in use or cannot be opened.

        Who only looks at a file lets it lie where it is damaged: not `may_begin_epoch`.
        """
        self.path = path
        self._may_begin_epoch = may_begin_epoch
        self.damage = ""
        self._limit = limit
        try:
            self._lock = schema.lock(path)
        except OSError as error:
            raise SpoolError(f"{path}: cannot be used as a spool: {error}") from error
        try:
            self._open()
        except SpoolError:
            os.close(self._lock)
            raise
        except (sqlite3.Error, OSError) as error:
            os.close(self._lock)
            raise SpoolError(f"{path}: cannot be used as a spool: {error}") from error

    def reopen(self) -> None:
        """Begin anew after a disk error: what the failed connection knew is not believed."""
        self._connection.close()
        self._open()

    def _open(self) -> None:
        """Open the file; where it is damaged, move it away and begin a new one with what could be read of it."""
        self.damage = ""
        try:
            self._connection = schema.connect(self.path, self._limit)
            schema.check(self._connection, self.path)
            self._load()
            if self._may_begin_epoch:
                schema.check_writing(self._connection, self.path)
            if earlier := self.aside:
                self.damage = f"{earlier[0].name} was moved away earlier, as damaged, and is now read"
        except sqlite3.DatabaseError as error:
            if not (self._may_begin_epoch and schema.is_damage(error, at_start=True)):
                raise
            self.begin_epoch(str(error))

    def begin_epoch(self, why: str) -> None:
        """Move a damaged file away and begin a new one; what it still holds is read from it afterwards."""
        if hasattr(self, "_connection"):
            with suppress(sqlite3.Error):
                self._connection.close()
        aside = salvage.move_away(self.path)
        self.damage = f"the spool is damaged ({why}) and was moved away as {aside.name}; a new one was begun"
        self._connection = schema.connect(self.path, self._limit)
        self._load()

    def _load(self) -> None:
        sealed = schema.sealed
        heads = sealed(self._connection, "SELECT * FROM head")
        if len(heads) != 1:
            raise schema.damage(f"{len(heads)} heads")
        epoch, last, link, pruned, start, start_digest = heads[0]
        self.epoch = str(epoch)
        self.head: tuple[int, bytes] = (last, link)
        self.pruned = int(pruned)
        self._chain: tuple[int, bytes] = (start, start_digest)
        self.stored = Ranges(sealed(self._connection, "SELECT * FROM stored ORDER BY first"))
        dropped = sealed(self._connection, "SELECT * FROM dropped ORDER BY first")
        self.dropped = Ranges((first, last) for first, last, _ in dropped)
        quarantined = sealed(self._connection, "SELECT * FROM quarantine ORDER BY seq")
        self.quarantined = Ranges((seq, seq) for seq, _, _ in quarantined)
        self._page_size = self._scalar("PRAGMA page_size")
        if (newest := self._scalar("SELECT max(seq) FROM record")) > last:
            raise schema.damage(f"record {newest} lies behind the head {last}")
        self.latest_stamp = self._scalar("SELECT max(at) FROM (SELECT at FROM record ORDER BY seq DESC LIMIT 5000)")

    @property
    def aside(self) -> list[Path]:
        """Damaged files whose rows still have to be taken over."""
        return salvage.unread(self.path)

    @property
    def last(self) -> int:
        """Number of the newest row."""
        return self.head[0]

    def _scalar(self, query: str, *values: int) -> int:
        return int(self._connection.execute(query, values).fetchone()[0] or 0)

    # -- what comes in

    def commit(self, changes: Changes) -> None:
        """Write everything or nothing, durably; SpoolFull without room, sqlite3.Error for what else a disk can do."""
        stored = Ranges(self.stored) if changes.stored else self.stored
        rejected = [one for one in changes.rejected if one.seq not in self.dropped]
        try:
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                link = self._write_rows(changes.rows)
                for first, last in changes.stored:
                    self._write_range("stored", stored, first, last)
                now = time.time_ns()
                self._write_quarantine((one.seq, now, one.reason) for one in rejected)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise SpoolFull(str(error)) from error
            raise
        self.stored = stored
        for one in rejected:
            self.quarantined.add(one.seq, one.seq)
        if changes.rows:
            self.head = changes.rows[-1][0], link  # in one piece: the event loop looks at it, too

    def _write_rows(self, rows: list[tuple[int, int, bytes]]) -> bytes:
        """Write rows with checksum and link, and the new head of the chain; gives its link."""
        (_, link), written = self.head, []
        for seq, at, line in rows:
            link = chain.next_digest(link, seq, at, line)
            written.append((seq, at, line, chain.checksum(seq, at, line), link))
        if written:
            self._connection.executemany("INSERT INTO record VALUES (?, ?, ?, ?, ?)", written)
            self._write_head((written[-1][0], link), self.pruned, self._chain)
        return link

    def _write_head(self, head: tuple[int, bytes], pruned: int, chain_from: tuple[int, bytes]) -> None:
        schema.write_head(self._connection, self.epoch, *head, pruned, *chain_from)

    def _write_range(self, table: str, known: Ranges, first: int, last: int, link: bytes | None = None) -> None:
        first, last = known.merged(first, last)
        run = self._connection.execute
        if table == "dropped":
            there = run("SELECT link FROM dropped WHERE last = ?", (last,)).fetchone()
            link = there[0] if there else link
            run("DELETE FROM dropped WHERE first BETWEEN ? AND ?", (first, last))
            run("INSERT INTO dropped VALUES (?, ?, ?, ?)", (first, last, link, schema.seal(first, last, link)))
        else:
            run("DELETE FROM stored WHERE first BETWEEN ? AND ?", (first, last))
            run("INSERT INTO stored VALUES (?, ?, ?)", (first, last, schema.seal(first, last)))
        known.add(first, last)

    # -- what goes out

    def read(self, first: int, last: int) -> list[tuple[int, bytes]]:
        """Give the rows first..last; one that should be there and whole, and is not, goes to quarantine."""
        good = [(row.seq, row.line) for row in self._rows("seq BETWEEN ? AND ? ORDER BY seq", first, last) if row.whole]
        if len(good) <= last - first:
            there = {seq for seq, _ in good}
            bad = [seq for seq in range(first, last + 1) if seq not in there and not self._is_gone(seq)]
            self.quarantine(dict.fromkeys(bad, DAMAGED_ROW))
        return good

    def _is_gone(self, seq: int) -> bool:
        """Whether a row need not be there any more, or lies in quarantine for what the database said."""
        return seq in self.stored or seq in self.dropped or seq in self.quarantined

    def rows(self, after: int, count: int, start: int = -(2**63), end: int = 2**63 - 1) -> list[Row]:
        """Give up to `count` kept rows behind number `after` with stamps from `start` up to, not including, `end`."""
        return self._rows("seq > ? AND at >= ? AND at < ? ORDER BY seq LIMIT ?", after, start, end, count)

    def lines_before(self, seq: int, count: int, wanted: Callable[[bytes], bool]) -> tuple[int, list[bytes]]:
        """Of `count` rows before `seq` give the lowest number (0: none) and the whole, wanted lines, newest first."""
        rows = self._rows("seq < ? ORDER BY seq DESC LIMIT ?", seq, count)
        lines = [row.line for row in rows if isinstance(row.line, bytes) and wanted(row.line) and row.whole]
        return (rows[-1].seq if rows else 0), lines

    def _rows(self, where: str, *values: int) -> list[Row]:
        found = self._connection.execute(f"SELECT seq, at, line, crc, link FROM record WHERE {where}", values)  # noqa: S608
        return [Row(*row) for row in found]

    @property
    def bounds(self) -> Bounds:
        """Where the chain begins and ends, and what it may step over."""
        dropped = self._connection.execute("SELECT first, last, link FROM dropped ORDER BY first").fetchall()
        return Bounds(self.epoch, *self._chain, *self.head, dropped)

    def stamp(self, seq: int) -> int:
        """Give the stamp of the first row from `seq` on; 0 where there is none."""
        found = self._connection.execute("SELECT at FROM record WHERE seq >= ? ORDER BY seq LIMIT 1", (seq,)).fetchone()
        return int(found[0]) if found else 0

    def count(self, first: int, last: int) -> int:
        """Count the rows of first..last that are really there."""
        return self._scalar("SELECT count(*) FROM record WHERE seq BETWEEN ? AND ?", first, last)

    # -- quarantine, and what is sent again

    def _write_quarantine(self, rows: Iterable[tuple[int, int, str]]) -> None:
        sealed = ((*row, schema.seal(*row)) for row in rows)
        self._connection.executemany("INSERT OR REPLACE INTO quarantine VALUES (?, ?, ?, ?)", sealed)

    def quarantine(self, reasons: dict[int, str]) -> None:
        """Put rows into quarantine, for a person to look at."""
        now = time.time_ns()
        with self._connection:
            self._write_quarantine((seq, now, reason) for seq, reason in reasons.items())
        for seq in reasons:
            self.quarantined.add(seq, seq)

    def quarantine_rows(self) -> list[tuple[int, int, str, bytes | None]]:
        """Give number, instant, reason and line (None where the row itself is lost) of every row in quarantine."""
        return self._connection.execute(
            "SELECT quarantine.seq, quarantine.at, reason, line FROM quarantine "
            "LEFT JOIN record ON record.seq = quarantine.seq ORDER BY quarantine.seq"
        ).fetchall()

    def release(self, first: int, last: int) -> list[tuple[int, int]]:
        """Let the rows first..last that are in quarantine and whole wait again; gives those that did."""
        where = "seq IN (SELECT seq FROM quarantine) AND seq BETWEEN ? AND ? ORDER BY seq"
        whole = [row.seq for row in self._rows(where, first, last) if row.whole]
        with self._connection:
            self._connection.executemany("DELETE FROM quarantine WHERE seq = ?", ((seq,) for seq in whole))
        for seq in whole:
            self.quarantined.remove(seq, seq)
        return list(Ranges((seq, seq) for seq in whole))

    def recall(self, start: int, end: int) -> list[tuple[int, int]]:
        """Let the stored rows with stamps from `start` up to, not including, `end` wait; gives all that then wait."""
        found = self._connection.execute("SELECT seq FROM record WHERE at >= ? AND at < ? ORDER BY seq", (start, end))
        again = Ranges((seq, seq) for (seq,) in found if seq not in self.quarantined)
        left = Ranges(self.stored)
        for first, last in again:
            left.remove(first, last)
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("DELETE FROM stored")
            sealed = ((first, last, schema.seal(first, last)) for first, last in left)
            self._connection.executemany("INSERT INTO stored VALUES (?, ?, ?)", sealed)
        self.stored = left
        return list(again)

    # -- room

    @property
    def used(self) -> int:
        """Bytes of the file that hold something."""
        return (self._scalar("PRAGMA page_count") - self._scalar("PRAGMA freelist_count")) * self._page_size

    def beyond_limit(self, *, relieved: bool) -> bool:
        """Whether readings use more than their part of the limit; `relieved`: or nearly as much."""
        reserve = min(RESERVE, self._limit // 8)
        return self.used > self._limit - (reserve * 3 // 2 if relieved else reserve)

    def is_limit(self, changes: Changes) -> bool:
        """Whether it is the file's own limit that leaves no room for `changes`, and not the disk."""
        need = sum(len(line) + 100 for _, _, line in changes.rows)
        return self.used + 2 * need + 64 * self._page_size > self._limit

    def limit_to(self, limit: int) -> None:
        """Set another limit; a file that is larger already stays so until its rows are removed."""
        self._limit = limit
        self._connection.execute(f"PRAGMA max_page_count = {max(64, limit // self._page_size)}")

    def prune(self, before: int) -> int:
        """Remove the oldest rows if done and older than `before` (UTC ns), some thousand at most; gives how many.

        What is in quarantine stays until a person has let it go.
        """
        gone = Ranges([*self.stored, *self.quarantined, *self.dropped])
        rows = self._connection.execute(
            "SELECT seq, at, link FROM record WHERE seq > ? ORDER BY seq LIMIT ?", (self.pruned, PRUNE_ROWS)
        ).fetchall()
        last, link = 0, None
        for seq, at, one in rows:
            if at >= before or seq not in gone:
                break
            last, link = seq, one
        if not last:
            return 0
        chain_from = (last, link) if link is not None else self._chain
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            removed = self._connection.execute(
                "DELETE FROM record WHERE seq <= ? AND seq NOT IN (SELECT seq FROM quarantine)", (last,)
            ).rowcount
            self._write_head(self.head, last, chain_from)
        self.pruned, self._chain = last, chain_from
        return removed or 1

    def drop_oldest(self, before: int = 2**63 - 1) -> list[tuple[int, int]]:
        """Give up the oldest waiting rows if older than `before`, some thousand at most; gives their ranges."""
        done = Ranges([*self.stored, *self.quarantined, *self.dropped])
        first = done.next_missing(max(self.pruned + 1, self._scalar("SELECT min(seq) FROM record")))
        rows = self._connection.execute(
            "SELECT seq, at, link FROM record WHERE seq >= ? ORDER BY seq LIMIT ?", (first, PRUNE_ROWS)
        ).fetchall()
        links: dict[int, bytes | None] = {}
        for seq, at, link in rows:
            if at >= before:
                break
            links[seq] = link
        going = Ranges((seq, seq) for seq in links if seq not in done)
        dropped = Ranges(self.dropped)
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            for one, last in going:
                self._connection.execute("DELETE FROM record WHERE seq BETWEEN ? AND ?", (one, last))
                self._write_range("dropped", dropped, one, last, links[last])
        self.dropped = dropped
        return list(going)

    def close(self) -> None:
        """Fold the write-ahead log into the file and give up the lock."""
        self._connection.close()
        os.close(self._lock)
