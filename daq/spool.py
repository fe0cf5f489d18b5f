"""The only queue: every record of a station, durable within milliseconds, kept until the database has it.

`put` never waits. A thread of its own commits what has gathered, with one fsync, and only then may a record leave the
station. At any moment acquired = stored + spooled + quarantined + dropped, and a dropped range is an event.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Literal, TypeVar

from daq.line_protocol import encode
from daq.ranges import Ranges
from daq.spool_file import Changes, SpoolError, SpoolFile, SpoolFull

__all__ = ["Ledger", "Spool", "SpoolError", "SpoolFull"]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from daq.batch import Ack, Rejection
    from daq.reading import Record

T = TypeVar("T")

LINGER = 0.010
"""Seconds between two commits: an fsync costs milliseconds, and what gathers meanwhile shares the next one."""
IDLE = 0.25
"""Seconds that an acknowledgement may wait for a record to share its fsync: losing one only means sending again."""
RETRY = 1.0
"""Seconds between two tries to write to a disk that failed."""
PRUNE = 10.0
COMMIT_ROWS = 2_000
"""Rows in one transaction at most: even a full file has room for that many after the oldest were removed."""
RECENT = 50_000
"""Committed rows kept in memory, so that the live road never reads the disk."""
WAITING_IN_MEMORY = 200_000
"""Records that wait for a failing disk before new ones are refused: over a minute at full speed."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """Where every record is."""

    acquired: int
    stored: int
    spooled: int
    quarantined: int
    dropped: int


class Spool:
    """The spool of a station, used from the event loop that opened it."""

    def __init__(
        self,
        path: Path,
        limit: int,
        keep: float = 30 * 86400.0,
        when_full: Literal["drop_oldest", "refuse_new"] = "drop_oldest",
    ) -> None:
        """Open `path`, at most `limit` bytes; rows stay `keep` seconds after they were stored. Raises SpoolError."""
        self._file = SpoolFile(path, limit)
        self._keep_ns = round(keep * 1e9)
        self._drop_when_full = when_full == "drop_oldest"
        self._loop = asyncio.get_running_loop()
        self._pending: deque[tuple[int, int, bytes]] = deque()
        self._stored: deque[tuple[int, int]] = deque()
        self._rejected: deque[Rejection] = deque()
        self._jobs: deque[Callable[[], None]] = deque()
        self._wake = threading.Event()
        self._closing = False
        self._recent: dict[int, bytes] = {}
        self._quarantined = Ranges(self._file.quarantined)
        self._dropped = Ranges(self._file.dropped)
        self._done = Ranges([*self._file.stored, *self._quarantined, *self._dropped])
        self._next = self._file.last + 1
        self.epoch = self._file.epoch
        self.damage = self._file.damage
        self.committed = self._file.last
        self.on_commit: Callable[[], None] = _nothing
        self.on_trouble: Callable[[str], None] = _nothing_with
        self.on_drop: Callable[[int, int], None] = _nothing_with
        self.progress = time.monotonic()
        self.finished: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._work, name="spool", daemon=True)
        self._thread.start()

    # -- what the event loop calls

    def put(self, record: Record) -> int:
        """Give a record its number and hand it to the disk; never waits. SpoolFull where the disk fails for long."""
        if len(self._pending) >= WAITING_IN_MEMORY:
            raise SpoolFull(f"{WAITING_IN_MEMORY} records wait for the disk of the spool")
        seq = self._next
        line = encode(record, seq, self.epoch)
        self._next += 1
        self._pending.append((seq, record.at, line))
        self._wake.set()
        return seq

    async def run_from(self, start: int, lines: int) -> tuple[int, list[bytes]] | None:
        """Give the first unbroken run of waiting records from `start` on, at most `lines`; None where there is none."""
        while (first := self._done.next_missing(start)) <= self.committed:
            beyond = self._done.next_present(first) or self.committed + 1
            last = min(first + lines - 1, beyond - 1, self.committed)
            try:
                return first, [self._recent[seq] for seq in range(first, last + 1)]
            except KeyError:
                found = await self._read(first, last)
            if found:
                return first, found
        return None

    async def _read(self, first: int, last: int) -> list[bytes]:
        rows = dict(await self._in_thread(lambda: self._file.read(first, last)))
        found: list[bytes] = []
        for seq in range(first, last + 1):
            if seq not in rows:  # the file has set it aside: damaged rows are never sent as good
                self._quarantined.add(seq, seq)
                self._done.add(seq, seq)
                break
            found.append(rows[seq])
        return found

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
        self._rejected.extend(rejected)
        self._stored.extend(ack.stored)
        self._wake.set()

    def is_done(self, first: int, last: int) -> bool:
        """Whether no record of first..last waits any more."""
        return self._done.next_missing(first) > last

    @property
    def ledger(self) -> Ledger:
        """Count every record; what waits in memory for its commit is not acquired yet."""
        quarantined, dropped = len(self._quarantined), len(self._dropped)
        stored = len(self._done) - quarantined - dropped
        return Ledger(self.committed, stored, self.committed - len(self._done), quarantined, dropped)

    async def count_waiting(self, prefix: bytes) -> int:
        """Count the waiting records whose lines begin with `prefix`."""
        count, start = 0, 1
        while (run := await self.run_from(start, COMMIT_ROWS)) is not None:
            start = run[0] + len(run[1])
            count += sum(line.startswith(prefix) for line in run[1])
        return count

    async def flush(self) -> None:
        """Return when everything put so far is committed."""
        last = self._next - 1
        while self.committed < last and not self.finished.done():
            await self._in_thread(_nothing)

    async def close(self) -> None:
        """Commit what is left and close the file."""
        self._closing = True
        self._wake.set()
        await self.finished

    async def _in_thread(self, job: Callable[[], T]) -> T:
        future: asyncio.Future[T] = self._loop.create_future()

        def run() -> None:
            try:
                result = job()
            except sqlite3.Error as error:
                self._loop.call_soon_threadsafe(_fail, future, SpoolError(f"the spool cannot be read: {error}"))
            else:
                self._loop.call_soon_threadsafe(_succeed, future, result)

        self._jobs.append(run)
        self._wake.set()
        return await future

    def _committed(self, rows: list[tuple[int, int, bytes]]) -> None:
        for seq, _, line in rows:
            self._recent[seq] = line
        while len(self._recent) > RECENT:
            del self._recent[next(iter(self._recent))]
        self.committed = rows[-1][0]
        self.on_commit()

    def _gave_up(self, first: int, last: int) -> None:
        self._dropped.add(first, last)
        self._done.add(first, last)
        self.on_drop(first, last)

    # -- what the thread does

    def _work(self) -> None:
        try:
            pruned = time.monotonic()
            while not self._closing or self._pending or self._stored or self._rejected or self._jobs:
                self._wake.wait(PRUNE)
                self._wake.clear()
                if not (self._pending or self._jobs or self._closing):
                    self._wake.wait(IDLE)
                self._commit(self._gather())
                if self._pending:
                    self._wake.set()  # more came meanwhile than one commit takes
                while self._jobs:
                    self._jobs.popleft()()
                self.progress = time.monotonic()
                if self.progress - pruned > PRUNE:
                    pruned = self.progress
                    self._prune()
                time.sleep(LINGER)
        finally:
            error = sys.exc_info()[1]
            self._file.close()
            self._loop.call_soon_threadsafe(_finish, self.finished, error)

    def _gather(self) -> Changes:
        # One popleft at a time: the event loop appends to these queues meanwhile.
        return Changes(
            list(islice(_taken(self._pending), COMMIT_ROWS)),
            list(_taken(self._stored)),
            list(_taken(self._rejected)),
        )

    def _commit(self, changes: Changes) -> None:
        """Write `changes`, however long the disk refuses; while closing, one failure is the last."""
        while changes:
            try:
                self._file.commit(changes)
            except SpoolFull as error:
                if self._make_room():
                    continue
                trouble: str = str(error)
            except sqlite3.Error as error:
                trouble = str(error)
            else:
                if changes.rows:
                    self._loop.call_soon_threadsafe(self._committed, changes.rows)
                return
            self._loop.call_soon_threadsafe(self.on_trouble, trouble)
            if self._closing:
                raise SpoolError(f"{len(changes.rows)} records could not be written at the end: {trouble}")
            time.sleep(RETRY)
            self.progress = time.monotonic()

    def _make_room(self) -> bool:
        try:
            if self._file.prune(before=time.time_ns()):
                return True
            dropped = self._file.drop_oldest() if self._drop_when_full else []
        except sqlite3.Error:
            return False
        for first, last in dropped:
            self._loop.call_soon_threadsafe(self._gave_up, first, last)
        return bool(dropped)

    def _prune(self) -> None:
        try:
            while self._file.prune(before=time.time_ns() - self._keep_ns) and not self._pending:
                pass
        except sqlite3.Error as error:
            self._loop.call_soon_threadsafe(self.on_trouble, f"old rows cannot be removed: {error}")


def _taken(queue: deque[T]) -> Iterator[T]:
    while queue:
        yield queue.popleft()


def _nothing() -> None:
    pass


def _nothing_with(*_: object) -> None:
    pass


def _succeed(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[T], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


def _finish(future: asyncio.Future[None], error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
