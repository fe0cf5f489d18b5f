"""The only queue: every record of a station, durable within milliseconds, kept until the database has it.

`put` never waits. A thread of its own commits what has gathered, with one fsync, and only then may a record leave the
station. At any moment acquired = stored + spooled + quarantined + dropped, and a dropped range is an event.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from daq.road.line_protocol import encode
from daq.road.point import renumbered
from daq.road.ranges import Ranges
from daq.spool.disk import Ballast, free_bytes
from daq.spool.file import SpoolFile, SpoolFull
from daq.spool.schema import SpoolError
from daq.spool.writer import COMMIT_ROWS, Retention, Writer

__all__ = ["Ledger", "Retention", "Spool", "SpoolError", "SpoolFull"]

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from daq.road.batch import Ack
    from daq.road.reading import Record

T = TypeVar("T")

READ_AHEAD = 5_000
"""Rows of a backlog that are read from the disk at once."""
RECENT = 50_000
"""Committed rows kept in memory, so that the live road never reads the disk."""
WAITING_IN_MEMORY = 200_000
"""Records that wait for a failing disk before new ones are refused: ten minutes at 300 a second."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """Where every record is."""

    acquired: int
    stored: int
    spooled: int
    quarantined: int
    dropped: int


class Spool:
    """The spool of a station, used from the event loop that opened it.

    `on_commit` is called when more can be sent, `on_trouble` with the words of a disk that refuses (empty: no more),
    `on_drop` with a range that was given up, `on_full` when new readings are refused or taken again, `on_lost` with
    rows that were found damaged or missing, `on_new_epoch` after the file was damaged and begun again, `on_salvaged`
    with the name of a damaged file and how many records were taken over from it.
    """

    def __init__(self, path: Path, limit: int, retention: Retention | None = None, ballast: int = 0) -> None:
        """Open `path`, at most `limit` bytes, with a ballast of so many bytes beside it. Raises SpoolError."""
        file = SpoolFile(path, limit)
        loop = asyncio.get_running_loop()
        weight = Ballast(path.with_name(path.name + ".ballast"), ballast)
        self.limit = limit
        self.finished: asyncio.Future[None] = loop.create_future()
        self._writer = Writer(file, retention or Retention(), weight, self, loop, self.finished)
        self._writer.used, self._writer.free = file.used, free_bytes(path.parent)
        self._file = file
        self._recent: dict[int, bytes] = {}
        self._ahead: dict[int, bytes] = {}
        self.full = False
        self.trouble = ""
        self.latest_stamp = file.latest_stamp
        self.on_commit: Callable[[], None] = _nothing
        self.on_trouble: Callable[[str], None] = _nothing_with
        self.on_drop: Callable[[int, int], None] = _nothing_with
        self.on_full: Callable[[bool], None] = _nothing_with
        self.on_lost: Callable[[list[int]], None] = _nothing_with
        self.on_new_epoch: Callable[[], None] = _nothing
        self.on_salvaged: Callable[[str, int], None] = _nothing_with
        self._adopt_epoch()
        self._writer.start()

    def _adopt_epoch(self) -> None:
        file = self._file
        self.epoch, self.damage, self.committed = file.epoch, file.damage, file.last
        self._quarantined = Ranges(file.quarantined)
        self._dropped = Ranges(file.dropped)
        self._done = Ranges([*file.stored, *self._quarantined, *self._dropped])
        self._next = file.last + 1
        self.salvaging = bool(file.aside)

    # -- records

    def put(self, record: Record, *, urgent: bool = False) -> int:
        """Give a record its number and hand it to the disk; never waits.

        Raises SpoolFull where readings are refused: the file is full and must drop nothing, or the disk fails for long.
        An `urgent` record, which says just that, is taken all the same.
        """
        pending = self._writer.pending
        if not urgent and self.full:
            raise SpoolFull(f"the spool has reached its {self.limit} bytes and may drop nothing")
        if not urgent and len(pending) >= WAITING_IN_MEMORY:
            raise SpoolFull(f"{len(pending)} records wait for the disk of the spool: {self.trouble}")
        seq = self._next
        line = encode(record, seq, self.epoch)
        self._next += 1
        pending.append((seq, record.at, line))
        self._writer.wake()
        return seq

    async def run_from(self, start: int, lines: int) -> tuple[int, list[bytes]] | None:
        """Give the first unbroken run of waiting records from `start` on, at most `lines`; None where there is none."""
        while (first := self._done.next_missing(start)) <= self.committed:
            beyond = self._done.next_present(first) or self.committed + 1
            last = min(first + lines - 1, beyond - 1, self.committed)
            for memory in (self._recent, self._ahead):
                try:
                    return first, [memory[seq] for seq in range(first, last + 1)]
                except KeyError:
                    continue
            if not await self._read_ahead(first, min(beyond - 1, self.committed, first + READ_AHEAD - 1)):
                return None
        return None

    async def _read_ahead(self, first: int, last: int) -> bool:
        """Read some thousand rows at once; what is damaged or missing goes to quarantine, and is never sent as good."""
        epoch = self.epoch
        rows = await self._writer.read(first, last)
        if epoch != self.epoch:
            return False  # the file was begun again meanwhile: other records have these numbers now
        for seq in range(first, last + 1):
            if seq not in rows:  # in quarantine, or stored or dropped and then removed while this was asked
                self._done.add(seq, seq)
        self._ahead = rows
        return True

    def acknowledge(self, ack: Ack) -> None:
        """Note what the database has stored and what it will never take; the caller has checked epoch and range."""
        rejected = [one for one in ack.rejected if one.seq not in self._done]
        for one in rejected:
            self._quarantined.add(one.seq, one.seq)
            self._done.add(one.seq, one.seq)
        for first, last in ack.stored:
            self._done.add(first, last)
            for seq in range(first, last + 1):
                self._recent.pop(seq, None)
        self._writer.rejected.extend(rejected)
        self._writer.stored.extend(ack.stored)
        self._writer.wake()

    def is_done(self, first: int, last: int) -> bool:
        """Whether no record of first..last waits any more."""
        return self._done.next_missing(first) > last

    def waiting_from(self, seq: int) -> int:
        """Count the committed records from `seq` on that wait."""
        return max(0, self.committed - seq + 1) - self._done.count(seq, self.committed)

    def waiting_until(self, seq: int) -> int:
        """Count the committed records before `seq` that wait."""
        return seq - 1 - self._done.count(1, seq - 1)

    @property
    def ledger(self) -> Ledger:
        """Count every record; what waits in memory for its commit is not acquired yet."""
        quarantined, dropped = len(self._quarantined), len(self._dropped)
        stored = len(self._done) - quarantined - dropped
        return Ledger(self.committed, stored, self.committed - len(self._done), quarantined, dropped)

    # -- the file

    @property
    def silent_for(self) -> float:
        """Seconds since the thread last moved on, by the one clock that the thread itself reads."""
        return time.monotonic() - self._writer.progress

    @property
    def used(self) -> int:
        """Bytes of the file that hold something."""
        return self._writer.used

    @property
    def oldest_waiting(self) -> int:
        """Stamp (UTC ns) of the oldest record that waits, some seconds old; 0 where none does."""
        return self._writer.oldest_waiting if self.ledger.spooled else 0

    @property
    def bytes_for_each(self) -> float:
        """Bytes that one record takes on the disk."""
        return self._writer.used / max(1, self._file.last - self._file.pruned)

    @property
    def capacity(self) -> int:
        """Bytes that the file can have: its limit, or less where the disk has less."""
        return min(self.limit, self._writer.used + self._writer.free)

    @property
    def head(self) -> tuple[int, bytes]:
        """Number and link of the last committed record: the head of the hash chain."""
        return self._file.head

    def set_retention(self, limit: int, retention: Retention) -> None:
        """Keep another limit and for another time from now on."""
        self.limit = limit
        self._writer.retention = retention
        self._writer.submit(lambda file: file.limit_to(limit))

    async def do(self, run: Callable[[SpoolFile], T]) -> T:
        """Let the thread do something with the file; SpoolError where the disk does not let it."""
        return await self._writer.do(run)

    async def release(self, first: int, last: int) -> int:
        """Let what is in quarantine of first..last wait again; gives how many."""
        released = await self.do(lambda file: file.release(first, last))
        count = 0
        for one, end in released:
            count += self._quarantined.remove(one, end)
            self._done.remove(one, end)
        self.on_commit()
        return count

    async def recall(self, start: int, end: int) -> int:
        """Let the stored records with stamps from `start` up to, not including, `end` (UTC ns) wait again."""
        waiting = await self.do(lambda file: file.recall(start, end))
        before = len(self._done)
        for first, last in waiting:
            self._done.remove(first, last)
        for first, last in (*self._quarantined, *self._dropped):  # while this was asked
            self._done.add(first, last)
        self.on_commit()
        return before - len(self._done)

    async def count_waiting(self, prefix: bytes) -> int:
        """Count the waiting records whose lines begin with `prefix`."""
        count, start = 0, 1
        while (run := await self.run_from(start, COMMIT_ROWS)) is not None:
            start = run[0] + len(run[1])
            count += sum(line.startswith(prefix) for line in run[1])
        return count

    async def flush(self) -> None:
        """Return when everything put so far is committed, however long the disk refuses."""
        last = self._next - 1
        while self.committed < last and not self.finished.done():
            with suppress(SpoolError):
                await self.do(_nothing_with)

    async def close(self) -> None:
        """Commit what is left and close the file."""
        self._writer.closing = True
        self._writer.wake()
        await self.finished

    # -- what the thread tells

    def committed_rows(self, rows: list[tuple[int, int, bytes]]) -> None:
        """Note that rows are durable, and that they may leave."""
        for seq, _, line in rows:
            self._recent[seq] = line
        while len(self._recent) > RECENT:
            del self._recent[next(iter(self._recent))]
        self.committed = rows[-1][0]
        self.on_commit()

    def gave_up(self, first: int, last: int) -> None:
        """Note that rows were dropped."""
        self._quarantined.remove(first, last)  # refused while it was dropped
        self._dropped.add(first, last)
        self._done.add(first, last)
        for seq in range(first, last + 1):
            self._recent.pop(seq, None)
        self.on_drop(first, last)

    def lost(self, seqs: list[int]) -> None:
        """Note that rows are damaged or missing."""
        for seq in seqs:
            self._quarantined.add(seq, seq)
            self._done.add(seq, seq)
        self.on_lost(seqs)

    def filled(self, *, full: bool) -> None:
        """Refuse new readings, or take them again."""
        self.full = full
        self.on_full(full)

    def troubled(self, what: str) -> None:
        """Note what the disk says; empty where it writes again."""
        self.trouble = what
        self.on_trouble(what)

    def new_epoch(self, rows: list[tuple[int, int, bytes]]) -> None:
        """Take the new file for the old one: what was not committed gets numbers of the new epoch."""
        waiting = [*rows, *self._writer.pending]
        for queue in (self._writer.pending, self._writer.stored, self._writer.rejected):
            queue.clear()
        self._recent.clear()
        self._ahead.clear()
        self._adopt_epoch()
        for _, at, line in waiting:
            self._writer.pending.append((self._next, at, renumbered(line, self._next, self.epoch)))
            self._next += 1
        self.on_new_epoch()
        self._writer.wake()

    def salvaged(self, rows: list[tuple[int, bytes]]) -> int:
        """Take over rows from a damaged file, under new numbers; gives the last of these."""
        for at, line in rows:
            self._writer.pending.append((self._next, at, renumbered(line, self._next, self.epoch)))
            self._next += 1
        self._writer.wake()
        return self._next - 1

    def salvage_ended(self, name: str, count: int) -> None:
        """Note that a damaged file was read to its end."""
        self.salvaging = bool(self._file.aside)
        self.on_salvaged(name, count)


def _nothing() -> None:
    pass


def _nothing_with(*_: object) -> None:
    pass
