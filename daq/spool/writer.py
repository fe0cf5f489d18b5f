"""The thread of a spool: commits what has gathered, keeps the file within its bounds, and outlives what a disk can do.

A full disk, an error of the disk and a damaged file end nothing here: what was not committed waits in memory, the
ballast is given up, the file is opened anew, and a damaged one is moved away and begun again.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from daq.road.ranges import Ranges
from daq.spool import salvage
from daq.spool.disk import free_bytes
from daq.spool.file import Changes, SpoolFile, SpoolFull
from daq.spool.schema import SpoolError, is_damage

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from daq.road.batch import Rejection
    from daq.spool.disk import Ballast

T = TypeVar("T")

LINGER = 0.010
"""Seconds between two commits: an fsync costs milliseconds, and what gathers meanwhile shares the next one."""
IDLE = 0.25
"""Seconds that an acknowledgement may wait for a record to share its fsync: losing one only means sending again."""
RETRY = 1.0
"""Seconds between two tries to write to a disk that failed."""
HOUSEKEEPING = 10.0
COMMIT_ROWS = 2_000
"""Rows in one transaction at most: even a full file has room for that many after the oldest were removed."""
ROOM_ROWS = 50_000
"""Stored rows that are removed at once where the disk is full: new ones take their place in the file."""
AUDIT_ROWS = 20_000
"""Waiting rows that are counted in the file in one round of housekeeping."""
FOREVER = 2**63 - 1


class Listener(Protocol):
    """What the thread tells, always in the event loop."""

    def committed_rows(self, rows: list[tuple[int, int, bytes]]) -> None:
        """Rows are durable."""

    def gave_up(self, first: int, last: int) -> None:
        """Rows that no database has were dropped to make room."""

    def lost(self, seqs: list[int]) -> None:
        """Rows that should wait in the file are not there, or are damaged: they are in quarantine."""

    def filled(self, *, full: bool) -> None:
        """Note that the file takes no new readings, or takes them again."""

    def troubled(self, what: str) -> None:
        """Note why the disk refuses to write, while rows wait in memory; empty: it writes again."""

    def new_epoch(self, rows: list[tuple[int, int, bytes]]) -> None:
        """Note that the file has another epoch; `rows` were not committed and need new numbers."""

    def salvaged(self, rows: list[tuple[int, bytes]]) -> int:
        """Take over (stamp, line) of rows from a damaged file; gives the number of the last one."""

    def salvage_ended(self, name: str, count: int) -> None:
        """Note that a damaged file was read to its end."""


@dataclass
class Retention:
    """How much a spool keeps: `keep` seconds after a row was stored, `keep_waiting` seconds (or for ever) before it."""

    keep: float = 30 * 86400.0
    keep_waiting: float | None = None
    when_full: Literal["drop_oldest", "refuse_new"] = "drop_oldest"


@dataclass
class Job:
    """Something to be done with the file, and the future that waits for it."""

    run: Callable[[SpoolFile], Any]
    future: asyncio.Future[Any]
    tried: bool = False


@dataclass
class Salvage:
    """A damaged file that is read while the station acquires."""

    aside: Path
    rows: Generator[tuple[int, bytes]]
    count: int = 0
    taken_over: bool = True
    """Whether the event loop has all that was read so far."""
    last: int = 0
    """Number of the last record that was taken over."""
    ended: bool = False


@dataclass
class Writer:
    """The one thread that touches the file."""

    file: SpoolFile
    retention: Retention
    ballast: Ballast
    listener: Listener
    loop: asyncio.AbstractEventLoop
    finished: asyncio.Future[None]
    pending: deque[tuple[int, int, bytes]] = field(default_factory=deque)
    stored: deque[tuple[int, int]] = field(default_factory=deque)
    rejected: deque[Rejection] = field(default_factory=deque)
    progress: float = field(default_factory=time.monotonic)
    used: int = 0
    """Bytes of the file that hold something."""
    free: int = 2**63
    """Bytes that the disk has left."""
    oldest_waiting: int = 0
    """Stamp (UTC ns) of the first row that waits; 0 where none does."""
    closing: bool = False
    _jobs: deque[Job] = field(default_factory=deque)
    _wake: threading.Event = field(default_factory=threading.Event)
    _asked: threading.Event = field(default_factory=threading.Event)
    _broken: bool = False
    _damage_seen: bool = False
    _damage_in_keeping: bool = False
    _keeping_failed: bool = False
    _hopeless: str = ""
    """What says that the file is damaged, also after it was opened anew; empty where nothing does."""
    _troubled: bool = False
    _full: bool = False
    _audited: int = 0
    _salvage: Salvage | None = None

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._work, name="spool", daemon=True).start()

    def wake(self) -> None:
        """Say that there is something to do."""
        self._wake.set()

    async def do(self, run: Callable[[SpoolFile], T]) -> T:
        """Let the thread do something with the file and give its result; SpoolError where the disk does not."""
        future: asyncio.Future[T] = self.loop.create_future()
        self._jobs.append(Job(run, future))
        self._asked.set()
        self._wake.set()
        return await future

    async def read(self, first: int, last: int) -> dict[int, bytes]:
        """Read rows; the listener hears which are lost, also where nobody waits for the answer any more."""
        return await self.do(lambda _: self._read(first, last))

    def submit(self, run: Callable[[SpoolFile], Any]) -> None:
        """Let the thread do something with the file; nobody waits for it."""
        future = self.loop.create_future()
        future.add_done_callback(lambda done: done.exception())
        self._jobs.append(Job(run, future))
        self._asked.set()
        self._wake.set()

    # -- all below runs in the thread

    def _work(self) -> None:
        failure: Exception | None = None
        try:
            self._run()
        except Exception as error:  # noqa: BLE001  # whoever waits for the end gets it: the station ends with it
            failure = error
        if self._salvage is not None:
            self._salvage.rows.close()  # its connection belongs to this thread
        try:
            self.file.close()
        except sqlite3.Error as error:
            failure = failure or error
        self.loop.call_soon_threadsafe(_finish, self.finished, failure)

    def _run(self) -> None:
        self._look_after_file()
        self._begin_salvage()
        kept = time.monotonic()
        while not self.closing or self.pending or self.stored or self.rejected or self._jobs:
            self._wake.wait(HOUSEKEEPING)
            self._wake.clear()
            if not (self.pending or self._jobs or self._salvage or self.closing):
                self._wake.wait(IDLE)
            self._commit(self._gather())
            if self.pending:
                self._wake.set()  # more came meanwhile than one commit takes
            self._do_jobs()
            self._salvage_some()
            self.progress = time.monotonic()
            if self.progress - kept > HOUSEKEEPING or self._damage_in_keeping:
                kept = self.progress
                self._look_after_file()
            self._asked.wait(LINGER)  # who asks is not kept waiting

    def _gather(self) -> Changes:
        # One popleft at a time: the event loop appends to these queues meanwhile.
        return Changes(
            list(islice(_taken(self.pending), COMMIT_ROWS)), list(_taken(self.stored)), list(_taken(self.rejected))
        )

    def _tell(self, what: Callable[..., None], *words: object) -> None:
        self.loop.call_soon_threadsafe(lambda: what(*words))

    def _commit(self, changes: Changes) -> None:
        """Write `changes`, however long the disk refuses; while closing, one failure is the last."""
        while changes or self._broken:
            try:
                if self._broken:
                    changes = self._mended(changes)
                    continue
                self.file.commit(changes)
                self._recovered(changes)
                self._keep_within_limit()
            except SpoolFull as error:
                if not self._make_room(changes):
                    self._wait_for_disk(changes, str(error), full=True)
                    self._note_acks(changes)
            except (sqlite3.Error, SpoolError) as error:
                self._broken = True
                if self._note_damage(error, seen=self._damage_seen):
                    self._damage_seen = True
                    continue
                self._wait_for_disk(changes, str(error))
            else:
                return

    def _note_damage(self, error: Exception, *, seen: bool) -> bool:
        """Let the file be opened anew where the error says that it is damaged; where that was `seen`, be begun anew."""
        if not is_damage(error):
            return False
        self._broken = True
        self._hopeless = str(error) if seen else ""
        self._wake.set()
        return True

    def _recovered(self, changes: Changes) -> None:
        if changes.rows:
            self._tell(self.listener.committed_rows, list(changes.rows))
            changes.rows.clear()  # what comes behind the commit may fail without writing them twice
        changes.stored.clear()
        changes.rejected.clear()
        self._damage_seen = False
        if self._troubled:
            self._troubled = False
            self._tell(self.listener.troubled, "")

    def _note_acks(self, changes: Changes) -> None:
        """Write what the database has told, also meanwhile, without the rows that find no room: it may make some."""
        changes.stored += _taken(self.stored)
        changes.rejected += _taken(self.rejected)
        if changes.stored or changes.rejected:
            with suppress(sqlite3.Error, SpoolError):  # the rows will say the same
                self.file.commit(Changes([], changes.stored, changes.rejected))
                changes.stored, changes.rejected = [], []

    def _wait_for_disk(self, changes: Changes, trouble: str, *, full: bool = False) -> None:
        self._troubled = True
        self._tell(self.listener.troubled, trouble)
        if self.closing:
            waiting = len(changes.rows) + len(self.pending)
            raise SpoolError(f"{waiting} records could not be written at the end: {trouble}")
        if full:
            self._do_jobs()  # what is full can be read, and only what is read and sent makes room
        for job in list(_taken(self._jobs)):
            self._failed(job, trouble)
        time.sleep(RETRY)
        self.progress = time.monotonic()

    def _mended(self, changes: Changes) -> Changes:
        """Open the file anew; gives what is still to be written."""
        epoch, hopeless = self.file.epoch, self._hopeless
        self._hopeless = ""
        if hopeless:
            self.file.begin_epoch(hopeless)
        else:
            self.file.reopen()
        self._broken = False
        if self.file.epoch != epoch:
            self._begin_salvage()
            done = threading.Event()
            self._tell(self.listener.new_epoch, changes.rows)
            self._tell(done.set)
            while not done.wait(0.1) and not self.loop.is_closed():
                self.progress = time.monotonic()
            if self._salvage is not None and self.pending:
                self._salvage.last = self.pending[-1][0]  # what was under way has other numbers now
            return Changes()
        there = [row for row in changes.rows if row[0] <= self.file.last]  # the failed commit may have been durable
        if there:
            self._tell(self.listener.committed_rows, there)
        return Changes(changes.rows[len(there) :], changes.stored, changes.rejected)

    def _do_jobs(self) -> None:
        self._asked.clear()
        for job in list(_taken(self._jobs)):
            try:
                result = job.run(self.file)
            except sqlite3.Error as error:
                if self._note_damage(error, seen=job.tried) or not job.tried:  # once more, on a file opened anew
                    job.tried, self._broken = True, True
                    self._jobs.append(job)
                    self._wake.set()
                else:
                    self._failed(job, str(error))
            except SpoolError as error:
                self._failed(job, str(error))
            except Exception as error:  # noqa: BLE001  # what was asked was wrong: told to who asked, and costs no reading
                self._tell(_fail, job.future, error)
            else:
                self._tell(_succeed, job.future, result)

    def _failed(self, job: Job, why: str) -> None:
        self._tell(_fail, job.future, SpoolError(f"the file of the spool cannot be used: {why}"))

    # -- what a damaged file still gives

    def _begin_salvage(self) -> None:
        if self._salvage is None and (aside := self.file.aside):
            self._salvage = Salvage(aside[0], salvage.rows(aside[0]))
            self._wake.set()

    def _salvage_some(self) -> None:
        """Read some rows of a damaged file, where those before have been taken over; they stay there, too."""
        one = self._salvage
        if one is None or not one.taken_over or len(self.pending) >= COMMIT_ROWS or self._troubled:
            return
        try:
            rows = [] if one.ended else list(islice(one.rows, COMMIT_ROWS))
        except (sqlite3.OperationalError, OSError) as error:  # it is tried again at the next start
            self._tell(self.listener.troubled, f"{one.aside.name} cannot be read: {error}")
            self._tell(self.listener.troubled, "")
            self._salvage = None
            return
        self._wake.set()
        if rows:
            one.taken_over = False
            one.count += len(rows)
            self._tell(self._take_over, one, rows)
            return
        one.ended = True
        if self.file.last >= one.last:
            salvage.note_read(one.aside)
            self._tell(self.listener.salvage_ended, one.aside.name, one.count)
            self._salvage = None
            self._begin_salvage()

    def _take_over(self, one: Salvage, rows: list[tuple[int, bytes]]) -> None:
        one.last = self.listener.salvaged(rows)
        one.taken_over = True

    # -- room

    def _keep_within_limit(self) -> None:
        self.used = self.file.used
        while self.file.beyond_limit(relieved=self._full):
            if self.file.prune(before=time.time_ns()):
                continue
            if self.retention.when_full == "refuse_new":
                if not self._full:
                    self._full = True
                    self._tell(lambda: self.listener.filled(full=True))
                return
            if not self._drop(FOREVER):
                return
        if self._full:
            self._full = False
            self._tell(lambda: self.listener.filled(full=False))

    def _make_room(self, changes: Changes) -> bool:
        """Find room for a commit that had none: in the file where that is full, else on the disk."""
        try:
            if self.file.is_limit(changes):
                if self.file.prune(before=time.time_ns()):
                    return True
                return self.retention.when_full == "drop_oldest" and self._drop(FOREVER)
            if self.ballast.give_up():
                self._troubled = True
                self._tell(self.listener.troubled, "the disk is full: its ballast was given up")
                self._prune_stored()  # even that needs some room, which new records would have taken
                return True
            return self._prune_stored()
        except (sqlite3.Error, OSError):
            return False

    def _prune_stored(self) -> bool:
        """Remove what is stored, for so many new records that others have time to free the disk; gives if any was."""
        removed = 0
        while removed < ROOM_ROWS and (some := self.file.prune(before=time.time_ns())):
            removed += some
        return removed > 0

    def _drop(self, before: int) -> bool:
        dropped = self.file.drop_oldest(before)
        for first, last in dropped:
            self._tell(self.listener.gave_up, first, last)
        return bool(dropped)

    # -- housekeeping

    def _look_after_file(self) -> None:
        try:
            now = time.time_ns()
            while self.file.prune(before=now - round(self.retention.keep * 1e9)) and not self.pending:
                pass
            if self.retention.keep_waiting is not None:
                while self._drop(now - round(self.retention.keep_waiting * 1e9)) and not self.pending:
                    pass
            self._audit()
            self.used, self.free = self.file.used, free_bytes(self.file.path.parent)
            if not self._troubled:
                self.ballast.lay()
            if self._keeping_failed:
                self._tell(self.listener.troubled, "")
            self._keeping_failed = self._damage_in_keeping = False
        except (sqlite3.Error, OSError) as error:
            self._note_damage(error, seen=self._damage_in_keeping)
            self._damage_in_keeping, self._keeping_failed = is_damage(error), True
            self._tell(self.listener.troubled, f"the file of the spool cannot be looked after: {error}")

    def _audit(self) -> None:
        """Count some of the waiting rows in the file itself: what should be there and is not goes to quarantine."""
        done = Ranges([*self.file.stored, *self.file.quarantined, *self.file.dropped])
        self.oldest_waiting = self.file.stamp(done.next_missing(self.file.pruned + 1))
        first = done.next_missing(max(self._audited, self.file.pruned) + 1)
        if first > self.file.last:
            self._audited = 0
            return
        last = min(first + AUDIT_ROWS, done.next_present(first) or FOREVER, self.file.last + 1) - 1
        if self.file.count(first, last) <= last - first:
            self._read(first, last)
        self._audited = last

    def _read(self, first: int, last: int) -> dict[int, bytes]:
        rows = dict(self.file.read(first, last))
        missing = (seq for seq in range(first, last + 1) if seq not in rows) if len(rows) <= last - first else ()
        if lost := [seq for seq in missing if seq in self.file.quarantined]:
            self._tell(self.listener.lost, lost)
        return rows


def _taken(queue: deque[T]) -> Iterator[T]:
    while queue:
        yield queue.popleft()


def _succeed(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[T], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


def _finish(future: asyncio.Future[None], error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
