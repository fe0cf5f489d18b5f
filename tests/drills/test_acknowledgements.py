"""R11: whatever the road does with batches and acknowledgements, no record is lost and none is believed stored falsely.

A machine of rules plays everything that can happen between the spool, the publisher, the bridge and a database, and
compares after each step with a model that knows every record that was ever put. The thread of the spool has its turns
when the machine says so, and all its constants are small: the same sequence is the same at each run, and twenty records
go through every path that otherwise needs thousands.
"""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
import sqlite3
import tempfile
import threading
from collections import Counter
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from daq.bridge.sink import Refused
from daq.bridge.storing import Bridge, acknowledgements
from daq.road.batch import Ack, Batch, Rejection
from daq.road.mqtt import BrokerError, BrokerLost, Message
from daq.road.point import seq_of
from daq.road.reading import Reading, Series
from daq.spool import file as spool_file
from daq.spool import queue as spool_module
from daq.spool import writer as spool_writer
from daq.spool.file import DAMAGED_ROW
from daq.spool.queue import Ledger, Retention, Spool, SpoolFull
from daq.spool.writer import IDLE, LINGER, Writer
from daq.station import live as live_module
from daq.station import outgoing as outgoing_module
from daq.station import publisher as publisher_module
from daq.station.publisher import Publisher
from drivers.sample import Status
from tests.drills.report import LONG, SEED, count, note
from tests.jumping_clock import JumpingClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence

T = TypeVar("T")
Key = tuple[bytes, bytes]
"""What a database knows a line by: its series and its stamp."""

MACHINES = count(short=30, long=3_000)
STEPS_EACH = 50
STARTS = 5
"""Starts of the station in one life: more of them, and the road would never carry much."""
NAME = "s.sqlite"
ROOM = Path("/dev/shm")  # noqa: S108  # folders of our own in it; whether a disk is true is not asked here
GIB = 2**30
SMALL_FILE = 64 * 4096
"""The smallest limit that a spool keeps to."""
LONG_TEXT = "S S  100.00 g " * 400
SECOND = 1_000_000_000
SERIES = [Series("lab", "balance", channel, "mass", "g") for channel in ("mass", "tare")]
WORDS = "field type conflict"

SMALL: dict[Any, dict[str, object]] = {
    outgoing_module: {
        "WINDOW": 4,
        "SMALLEST_WINDOW": 2,
        "LARGEST_WINDOW": 8,
        "LIVE_WINDOW": 1,
        "BACKLOG": 20,
        "BATCH_LINES": 3,
        "BATCH_BYTES": 600,
    },
    publisher_module: {"STATUS": 60.0},
    live_module: {"EVERY": 60.0},
    spool_module: {"READ_AHEAD": 5, "RECENT": 6},
    spool_writer: {"COMMIT_ROWS": 5, "AUDIT_ROWS": 8},
    spool_file: {"PRUNE_ROWS": 4},
}


class Killed(BaseException):
    """Ends the thread of a spool as SIGKILL would: nothing is written, nothing is closed."""


class Worker(threading.Thread):
    """The thread of a spool: works when it is given a turn, and hands it back where it would wait."""

    def __init__(self, writer: Writer) -> None:
        super().__init__(daemon=True)
        self.killed = False
        self._writer = writer
        self._go = threading.Semaphore(0)
        self._back = threading.Semaphore(0)

    def run(self) -> None:
        with suppress(Killed):
            self._writer._work()
        if (salvage := self._writer._salvage) is not None:
            salvage.rows.close()  # a generator, whose connection belongs to this thread
        self._back.release()

    def begin(self) -> None:
        self.start()
        self._back.acquire()

    def give_turn(self) -> None:
        if self.is_alive():
            self._go.release()
            self._back.acquire()

    def hand_back(self) -> None:
        self._back.release()
        self._go.acquire()
        if self.killed:
            raise Killed

    def kill(self) -> None:
        self.killed = True
        self.give_turn()
        self.join()


class Gate(threading.Event):
    """An event of the spool's thread; whoever waits for it hands back the turn."""

    def wait(self, timeout: float | None = None) -> bool:
        if timeout not in (LINGER, IDLE):
            hand_back()
        return self.is_set()


def hand_back() -> None:
    worker = threading.current_thread()
    assert isinstance(worker, Worker)
    worker.hand_back()


def start_in_turns(writer: Writer) -> None:
    writer._wake, writer._asked = Gate(), Gate()
    worker = Worker(writer)
    writer.worker = worker  # type: ignore[attr-defined]
    worker.begin()


@dataclass
class Road:
    """A connection whose broker and bridge the machine plays."""

    data: list[Batch] = field(default_factory=list)
    acks: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)

    async def subscribe(self, name: str, qos: int = 1) -> None:
        pass

    async def publish(self, name: str, payload: bytes, qos: int = 1, *, retain: bool = False) -> None:
        if name == "daq/1/lab/data":
            self.data.append(Batch.decode(payload))

    async def messages(self) -> AsyncIterator[Message]:
        while (payload := await self.acks.get()) is not None:
            yield Message("daq/1/lab/ack", payload)
        raise BrokerLost("the connection broke")


_NUMBER = re.compile(rb'seq=\d+i,epoch="[0-9a-f]{32}"')


@lru_cache(maxsize=5_000)
def key_of(line: bytes) -> Key:
    series, _, rest = line.partition(b" ")
    return series, rest.rpartition(b" ")[2]


@lru_cache(maxsize=5_000)
def content_of(line: bytes) -> bytes:
    """Give what a line says of the world: all but its number and epoch, which a salvage changes."""
    content, found = _NUMBER.subn(b"", line)
    assert found == 1, line
    return content


@dataclass
class Database:
    """A keyed store, as InfluxDB is one; `whole`: it stores nothing of a request that it refuses."""

    put: dict[Key, bytes]
    whole: bool = False
    name: str = "a database"
    lines: dict[Key, bytes] = field(default_factory=dict)
    refuses: set[Key] = field(default_factory=set)
    refused: set[Key] = field(default_factory=set)

    async def write(self, lines: Sequence[bytes]) -> None:
        bad = {key for line in lines if (key := key_of(line)) in self.refuses}
        self.refused |= bad
        for line in lines:
            key = key_of(line)
            assert content_of(line) == self.put.get(key), f"nobody ever put {line!r}"
            if key not in bad and not (bad and self.whole):
                self.lines[key] = line
        if bad:
            raise Refused(WORDS)

    async def close(self) -> None:
        pass


def members(ranges: Iterable[tuple[int, int]]) -> set[int]:
    return {seq for first, last in list(ranges) for seq in range(first, last + 1)}


class Machine(RuleBasedStateMachine):
    """One life of a station, its road and its database."""

    steps: ClassVar[int] = 0
    seen: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.folder = Path(tempfile.mkdtemp(prefix="daq-acks-", dir=ROOM if ROOM.is_dir() else None))
        self.stack.callback(shutil.rmtree, self.folder)
        self.loop = asyncio.new_event_loop()
        self.stack.callback(self.loop.close)
        self.clock = JumpingClock()
        spool_time = SimpleNamespace(
            time_ns=self.clock.utc_ns, monotonic=self.clock.monotonic, sleep=lambda _: hand_back()
        )
        self.stack.enter_context(patch.object(Writer, "start", start_in_turns))
        self.stack.enter_context(
            patch.multiple(spool_writer, time=spool_time, threading=SimpleNamespace(Event=Gate), HOUSEKEEPING=9.0)
        )
        for module, constants in SMALL.items():
            for name, value in constants.items():
                self.stack.enter_context(patch.object(module, name, value))
        self.sound = True  # a broken machine is not driven home
        self.put: dict[Key, bytes] = {}
        self.database = Database(self.put)
        self.bridge = Bridge(self.database, "a bridge", None, self.clock)
        self.on_road: list[Batch] = []
        self.acks: list[bytes] = []
        self.books: dict[str, dict[int, Key]] = {}
        """Which record each number of each epoch stands for, from its commit on."""
        self.given: dict[int, Key] = {}
        """What was put and is not committed yet."""
        self.kept: set[Key] = set()
        """Every record that was ever committed."""
        self.aside: set[Key] = set()
        """Records that can be read in a damaged file, and have to come out of it."""
        self.given_up: set[Key] = set()
        """Records that were dropped in an epoch before this one, and reported."""
        self.perished: set[Key] = set()
        """Records that a damaged file holds no more."""
        self.damaged: set[int] = set()
        self.hurt = False
        """Whether bytes of this file were overwritten, so that any of its records may be found damaged."""
        self.damages = self.starts = 0
        self.life = 0
        self.serving: asyncio.Task[None] | None = None
        self.epoch = ""
        self.last = 0
        """The last number whose commit is known."""
        self.done, self.quarantined = set[int](), set[int]()
        self.gone: set[int] = set()
        """Numbers that were reported as dropped."""
        self.cut_off = False
        """Whether the station was killed last, and may have had no time to report a drop."""

    # -- the machinery

    def run(self, step: Coroutine[Any, Any, None]) -> None:
        """Do one step, and look at everything."""
        Machine.steps += 1
        self.sound = False

        async def whole() -> None:
            await step
            await self.settle()
            self.look()

        self.loop.run_until_complete(whole())
        self.sound = True

    async def settle(self) -> None:
        await self.clock.run_for(0.0)

    async def turn(self) -> None:
        """Let the thread of the spool work once, and the loop hear of it."""
        self.worker.give_turn()
        await self.settle()
        self.hear()

    async def until(self, done: Coroutine[Any, Any, T], turns: int = 200) -> T | None:
        """Give turns until something is done; None where the disk does not let it."""
        task = asyncio.ensure_future(done)
        for _ in range(turns):
            await self.settle()
            if task.done():
                return task.result()
            await self.turn()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return None

    @property
    def worker(self) -> Worker:
        worker: Worker = self.writer.worker  # type: ignore[attr-defined]  # start_in_turns has set it
        return worker

    def count(self, what: str, times: int = 1) -> None:
        Machine.seen[what] += times

    # -- the station

    def open(self) -> None:
        """Start a station on the files that are there."""
        self.starts += 1
        spool = self.spool = Spool(self.folder / str(self.life) / NAME, self.limit, self.bounds)
        self.writer = spool._writer
        self.publisher = Publisher("lab", spool, self.clock, dict)
        spool.on_drop = self.dropped
        spool.on_lost = self.lost
        spool.on_new_epoch = self.publisher.begin_epoch
        spool.on_salvaged = lambda _, __: None
        self.publisher.on_strange_ack = lambda _: self.count("strange acks")
        self.sent: set[int] = set()
        self.strange = 0
        if spool.epoch in self.books:
            assert spool.epoch == self.epoch
            self.gone |= members(spool._dropped) if self.cut_off else set()
            self.cut_off = False
        else:
            self.begin_epoch()
        self.hear()
        self.given.clear()  # what was not committed when a station was killed has gone with it

    def dropped(self, first: int, last: int) -> None:
        self.count("records dropped", last - first + 1)
        self.gone |= set(range(first, last + 1))

    def lost(self, seqs: list[int]) -> None:
        self.count("records found damaged", len(seqs))
        if not self.hurt:
            assert set(seqs) <= self.damaged, f"{seqs} are said to be damaged; only {self.damaged} are"

    def begin_epoch(self) -> None:
        """Take a new file for the old one: what the old one still holds has to come out of it."""
        if self.books:
            self.count("new epochs")
            readable = self.still_readable()
            waiting = {
                key for seq, key in self.books[self.epoch].items() if seq not in self.done or seq in self.quarantined
            }
            self.given_up |= {self.books[self.epoch][seq] for seq in self.gone}
            self.perished |= waiting - readable
            self.aside |= waiting & readable
        self.epoch = self.spool.epoch
        assert self.epoch not in self.books
        self.books[self.epoch] = {}
        self.last = 0
        self.gone = set()
        self.damaged.clear()
        self.sent.clear()
        self.given.clear()
        self.hurt = self.cut_off = False
        self.done, self.quarantined = set[int](), set[int]()

    def still_readable(self) -> set[Key]:
        """Ask SQLite itself which records of the epoch before lie whole in a file that was moved away."""
        book, found = self.books[self.epoch], set()
        for path in (self.folder / str(self.life)).glob(f"{NAME}.damaged-*"):
            if path.name.endswith(("-wal", "-shm")):
                continue
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
                for seq, key in book.items():
                    with suppress(sqlite3.Error, UnicodeDecodeError):
                        for (line,) in connection.execute("SELECT line FROM record WHERE seq = ?", (seq,)).fetchall():
                            if isinstance(line, bytes) and self.is_written(line, seq, key):
                                found.add(key)
        return found

    def is_written(self, line: bytes, seq: int, key: Key) -> bool:
        return (
            f'seq={seq}i,epoch="{self.epoch}"'.encode() in line
            and key_of(line) == key
            and content_of(line) == self.put[key]
        )

    async def connect(self) -> None:
        self.road = Road()
        self.serving = asyncio.ensure_future(self.publisher.serve(self.road))  # type: ignore[arg-type]  # Road has all that is used
        await self.settle()

    async def disconnect(self, *, cancel: bool = False) -> None:
        self.collect()
        if self.serving is None:
            return
        task, self.serving = self.serving, None
        if cancel:
            task.cancel()
        else:
            self.road.acks.put_nowait(None)
        await asyncio.wait([task])
        self.collect()
        if not task.cancelled():
            error = task.exception()
            assert isinstance(error, BaseExceptionGroup)
            assert error.split(BrokerError)[1] is None, error

    async def close(self) -> None:
        await self.disconnect(cancel=True)
        before = self.spool._next - 1
        ended = asyncio.ensure_future(self.spool.close())
        for _ in range(200):
            await self.turn()
            if ended.done():
                break
        ended.result()
        self.look()
        assert self.spool.committed >= before

    def collect(self) -> None:
        """Take what was published since the last look to the road, where everything can happen to it."""
        if self.serving is None:
            return
        self.hear()
        batches, self.road.data = self.road.data, []
        for batch in batches:
            book = self.books.get(batch.epoch)
            assert book is not None
            for seq, line in enumerate(batch.lines, batch.first):
                assert seq_of(line) == seq
                key = key_of(line)
                assert content_of(line) == self.put.get(key), f"nobody ever put {line!r}"
                assert book[seq] == key, f"number {seq} stands for two records"
            if batch.epoch == self.epoch:
                self.sent |= set(range(batch.first, batch.last + 1))
        self.on_road += batches

    # -- what must be so after every step

    def look(self) -> None:
        spool, file = self.spool, self.spool._file
        self.hear()
        self.collect()
        book = self.books[self.epoch]
        done, quarantined, dropped = members(spool._done), members(spool._quarantined), members(spool._dropped)
        self.done, self.quarantined = done, quarantined
        everything = set(book)
        assert everything == set(range(1, spool.committed + 1))
        assert not quarantined & dropped, f"{quarantined & dropped} are in quarantine and were dropped"
        assert quarantined | dropped <= done <= everything
        stored = done - quarantined - dropped
        assert spool.ledger == Ledger(
            len(everything), len(stored), len(everything - done), len(quarantined), len(dropped)
        )
        assert spool.ledger.acquired == sum(
            (spool.ledger.stored, spool.ledger.spooled, spool.ledger.quarantined, spool.ledger.dropped)
        )
        for seq in stored | (members(file.stored) - quarantined - dropped):
            assert book[seq] in self.database.lines, f"record {seq} is believed stored and is not"
        assert dropped <= self.gone, f"{dropped - self.gone} were dropped and nobody was told"
        if not (self.writer.pending or self.writer.stored or self.writer.rejected or self.is_stuck()):
            self.look_into_file(done, quarantined, dropped)
        if not spool.salvaging and not self.writer.pending and spool._next == spool.committed + 1:
            assert self.aside <= self.database.lines.keys() | set(book.values()), "lost in a damaged file"
            self.aside.clear()
        if self.serving is not None and self.road.acks.empty():
            assert self.publisher.strange_acks == self.strange

    def look_into_file(self, done: set[int], quarantined: set[int], dropped: set[int]) -> None:
        """Compare the file with what is in memory, where nothing is under way between them."""
        file = self.spool._file
        # The thread sets a damaged row aside at once; the loop hears of it with the answer, unless nobody waits for it.
        unheard = members(file.quarantined) - quarantined
        assert quarantined <= members(file.quarantined)
        assert self.hurt or unheard <= self.damaged
        assert members(file.dropped) == dropped
        # An acknowledgement that comes while its record is recalled counts for the file; the record is sent again.
        assert done <= members(file.stored) | quarantined | dropped
        if quarantined and self.worker.is_alive() and not self.hurt:
            reasons = {seq: reason for seq, _, reason, _ in file.quarantine_rows()}
            assert reasons.keys() == members(file.quarantined)
            assert set(reasons.values()) <= {WORDS, DAMAGED_ROW}

    def hear(self) -> None:
        """Note what is committed now; the numbers must be those that `put` gave."""
        spool = self.spool
        if spool.epoch != self.epoch:
            self.begin_epoch()
        book = self.books[self.epoch]
        rows = self.rows_behind(self.last) if spool.committed > self.last else {}
        for seq in range(self.last + 1, spool.committed + 1):
            given = self.given.pop(seq, None)
            if (line := rows.get(seq)) is None:
                assert given is not None, f"record {seq} came from nowhere and went at once"
                key = given
            else:
                key = key_of(line)
                assert self.hurt or self.is_written(line, seq, key)
                assert given in (None, key)
            assert book.setdefault(seq, key) == key
            self.kept.add(key)
        self.last = spool.committed
        for seq, _, line in self.writer.pending:  # what comes out of a damaged file has its numbers from the spool
            self.given.setdefault(seq, key_of(line))

    def rows_behind(self, seq: int) -> dict[int, bytes]:
        query = "SELECT seq, line FROM record WHERE seq > ?"
        if self.worker.is_alive():
            return dict(self.spool._file._connection.execute(query, (seq,)).fetchall())
        with closing(sqlite3.connect(self.spool._file.path)) as connection:
            return dict(connection.execute(query, (seq,)).fetchall())

    # -- rules: the station

    @initialize(
        small=st.booleans(),
        refuse=st.booleans(),
        keep=st.sampled_from([30 * 86400.0, 20.0]),
        keep_waiting=st.sampled_from([None, None, 30.0]),
        whole=st.booleans(),
        fragile=st.booleans(),
    )
    def begin(
        self, *, small: bool, refuse: bool, keep: float, keep_waiting: float | None, whole: bool, fragile: bool
    ) -> None:
        self.limit = SMALL_FILE if small else GIB
        self.bounds = Retention(keep, keep_waiting, "refuse_new" if refuse else "drop_oldest")
        self.database.whole = whole
        self.fragile = fragile

        async def step() -> None:
            self.open()
            await self.connect()

        self.run(step())

    @rule(number=st.integers(1, 12), long=st.booleans(), refused=st.booleans(), turn=st.booleans())
    def put_readings(self, number: int, *, long: bool, refused: bool, turn: bool) -> None:
        async def step() -> None:
            for place in range(number):
                self.put_one(long=long and not refused, refused=refused and place == number // 2)
            if turn:
                await self.turn()

        self.run(step())

    def put_one(self, *, long: bool, refused: bool) -> None:
        value = len(self.put)
        at = self.clock.utc_ns() + value
        text = LONG_TEXT if long else f"S S {value:10}.00 g"
        series = SERIES[value % 2]
        reading = Reading(series, at, Decimal(value), Status.GOOD, text, 12.5, True, False)
        try:
            seq = self.spool.put(reading)
        except SpoolFull:
            self.count("readings refused by a full spool")
            return
        _, _, line = self.writer.pending[-1]
        key = key_of(line)
        assert key not in self.put
        assert seq not in self.given
        assert seq > self.last
        self.put[key] = content_of(line)
        self.given[seq] = key
        if refused:
            self.database.refuses.add(key)

    @rule(turns=st.integers(1, 3))
    def disk_works(self, turns: int) -> None:
        async def step() -> None:
            for _ in range(turns):
                await self.turn()

        self.run(step())

    @rule()
    def flush(self) -> None:
        async def step() -> None:
            await self.until(self.spool.flush(), 20)

        self.run(step())

    @rule(seconds=st.sampled_from([0.1, 1.5, 5.5, 11.0, 35.0]))
    def time_passes(self, seconds: float) -> None:
        self.run(self.let_pass(seconds))

    async def let_pass(self, seconds: float) -> None:
        while seconds > 0.0:
            await self.clock.run_for(min(2.5, seconds))
            await self.turn()
            seconds -= 2.5

    @precondition(lambda self: self.starts < STARTS)
    @rule()
    def restart(self) -> None:
        async def step() -> None:
            if not self.is_stuck():
                await self.close()
                self.count("restarts")
                self.open()
                await self.connect()

        self.run(step())

    @precondition(lambda self: self.starts < STARTS)
    @rule(unheard=st.booleans())
    def kill(self, *, unheard: bool) -> None:
        """End the station between two transactions, `unheard`: before anybody was told of the last one."""

        async def step() -> None:
            if unheard:
                self.worker.give_turn()
            await self.end_abruptly()
            self.count("kills")
            self.open()
            await self.connect()

        self.run(step())

    async def end_abruptly(self) -> None:
        old, new = self.folder / str(self.life), self.folder / str(self.life + 1)
        ignored = shutil.ignore_patterns("*-shm", "*.lock")
        file, self.cut_off = self.spool._file, True
        shutil.copytree(old, new, ignore=ignored)
        self.worker.kill()
        await self.disconnect(cancel=True)
        file.close()
        shutil.rmtree(old)
        self.life += 1

    def is_stuck(self) -> bool:
        """Whether records wait in memory for room that only the database can make."""
        return self.writer._troubled or self.writer._broken

    # -- rules: the road to the database

    @precondition(lambda self: self.on_road)
    @rule(picks=st.lists(st.integers(0, 63), min_size=1, max_size=4))
    def deliver(self, picks: list[int]) -> None:
        """Bring some batches to a bridge, in any order, and its words on their way back."""

        async def step() -> None:
            await self.bring([self.on_road.pop(pick % len(self.on_road)) for pick in picks if self.on_road])

        self.run(step())

    @precondition(lambda self: self.on_road)
    @rule(together=st.booleans())
    def deliver_all(self, *, together: bool) -> None:
        async def step() -> None:
            taken, self.on_road = self.on_road, []
            for some in [taken] if together else [[batch] for batch in taken]:
                await self.bring(some)

        self.run(step())

    @precondition(lambda self: self.serving is not None)
    @rule(rounds=st.integers(1, 4), number=st.integers(0, 4))
    def all_works(self, rounds: int, number: int) -> None:
        async def step() -> None:
            for _ in range(rounds):
                for _ in range(number):
                    self.put_one(long=False, refused=False)
                await self.turn()
                self.look()
                taken, self.on_road = self.on_road, []
                await self.bring(taken)
                self.hand_over_all()
                await self.turn()

        self.run(step())

    async def bring(self, batches: list[Batch]) -> None:
        for station, ack in acknowledgements(await self.bridge._settle(batches), self.bridge.name):
            assert station == "lab"
            self.acks.append(ack.encode())
        self.count("batches stored", len(batches))

    @precondition(lambda self: self.on_road)
    @rule(pick=st.integers(0, 63))
    def lose_batch(self, pick: int) -> None:
        async def step() -> None:
            self.on_road.pop(pick % len(self.on_road))
            self.count("batches lost")

        self.run(step())

    @precondition(lambda self: self.on_road)
    @rule(pick=st.integers(0, 63))
    def double_batch(self, pick: int) -> None:
        async def step() -> None:
            self.on_road.append(self.on_road[pick % len(self.on_road)])
            self.count("batches doubled")

        self.run(step())

    @rule(picks=st.lists(st.integers(0, 999), max_size=3), forgets=st.booleans())
    def database_minds_change(self, picks: list[int], *, forgets: bool) -> None:
        """Let the database refuse more records, also some that it took, or take some that it refused."""

        async def step() -> None:
            if forgets:
                self.database.refuses.clear()
            keys = list(self.put)
            self.database.refuses |= {keys[pick % len(keys)] for pick in picks if keys}

        self.run(step())

    # -- rules: the road back

    @precondition(lambda self: self.acks)
    @rule(picks=st.lists(st.integers(0, 63), min_size=1, max_size=4), racing=st.booleans())
    def acknowledge(self, picks: list[int], *, racing: bool) -> None:
        """Bring some acknowledgements back; `racing`: the thread works before the loop has heard them."""

        async def step() -> None:
            for pick in picks:
                if self.acks:
                    self.hand_over(self.acks.pop(pick % len(self.acks)))
            if racing:
                await self.turn()

        self.run(step())

    @precondition(lambda self: self.acks)
    @rule(racing=st.booleans())
    def acknowledge_all(self, *, racing: bool) -> None:
        async def step() -> None:
            self.hand_over_all()
            if racing:
                await self.turn()

        self.run(step())

    def hand_over_all(self) -> None:
        acks, self.acks = self.acks, []
        for ack in acks:
            self.hand_over(ack)

    def hand_over(self, payload: bytes) -> None:
        """Give an acknowledgement to the station, if it is connected, and say whether it must be heard."""
        if self.serving is None:
            return
        self.collect()
        ack = Ack.decode(payload)
        named = members([*ack.stored, *((one.seq, one.seq) for one in ack.rejected)])
        if not (ack.bridge and ack.epoch == self.epoch and named <= self.sent):
            self.strange += 1
        self.road.acks.put_nowait(payload)
        self.count("acks")

    @precondition(lambda self: self.acks)
    @rule(pick=st.integers(0, 63))
    def lose_ack(self, pick: int) -> None:
        async def step() -> None:
            self.acks.pop(pick % len(self.acks))
            self.count("acks lost")

        self.run(step())

    @precondition(lambda self: self.acks)
    @rule(pick=st.integers(0, 63))
    def double_ack(self, pick: int) -> None:
        async def step() -> None:
            self.acks.append(self.acks[pick % len(self.acks)])
            self.count("acks doubled")

        self.run(step())

    @precondition(lambda self: self.serving is not None)
    @rule(
        kind=st.sampled_from(["stranger", "other epoch", "earlier epoch", "beyond", "beyond, rejected", "no ack"]),
        more=st.integers(1, 5),
    )
    def strange_ack(self, kind: str, more: int) -> None:
        """Say something that no bridge would say: it must change nothing, and be counted."""

        async def step() -> None:
            everything, last = [(1, max(1, self.last))], max(self.sent, default=0)
            earlier = next(iter(self.books))
            match kind:
                case "stranger":
                    said = Ack(self.epoch, everything).encode()
                case "other epoch":
                    said = Ack("f" * 32, everything, (), "a bridge").encode()
                case "earlier epoch" if earlier != self.epoch:
                    said = Ack(earlier, everything, (), "a bridge").encode()
                case "beyond":
                    said = Ack(self.epoch, [(max(1, last - more), last + more)], (), "a bridge").encode()
                case "beyond, rejected":
                    words = (Rejection(last + more, "no"),)
                    said = Ack(self.epoch, [(last, last)] if last else [], words, "a bridge").encode()
                case _:
                    said = b'{"version": 1, "stored": [[1, 2]]}'
            before = self.spool.ledger, list(self.spool._done), list(self.spool._quarantined)
            waiting = len(self.writer.stored), len(self.writer.rejected)
            self.road.acks.put_nowait(said)
            self.strange += 1
            await self.settle()
            assert before == (self.spool.ledger, list(self.spool._done), list(self.spool._quarantined))
            assert waiting == (len(self.writer.stored), len(self.writer.rejected))

        self.run(step())

    # -- rules: the connection

    @precondition(lambda self: self.serving is not None)
    @rule(taken=st.booleans())
    def connection_breaks(self, *, taken: bool) -> None:
        """Break the connection; `taken`: and all that was on the road dies with the broker."""

        async def step() -> None:
            await self.disconnect()
            if taken:
                self.on_road.clear()
                self.acks.clear()
            self.count("connections lost")

        self.run(step())

    @precondition(lambda self: self.serving is None)
    @rule()
    def connection_comes(self) -> None:
        self.run(self.connect())

    # -- rules: what a person does

    @rule(first=st.integers(1, 40), length=st.sampled_from([0, 5, 1000]), racing=st.booleans())
    def release(self, first: int, length: int, *, racing: bool) -> None:
        async def step() -> None:
            task = asyncio.ensure_future(self.spool.release(first, first + length))
            await self.settle()
            if racing:
                self.hand_over_all()
                self.worker.give_turn()
            if found := await self.until(_result(task)):
                self.publisher.rescan()
                self.count("records released", found)

        self.run(step())

    @rule(start=st.integers(0, 40), length=st.sampled_from([1, 10, 1000]), racing=st.booleans())
    def recall(self, start: int, length: int, *, racing: bool) -> None:
        async def step() -> None:
            begin = 1_767_225_600_300_000_000 + start * SECOND
            task = asyncio.ensure_future(self.spool.recall(begin, begin + length * SECOND))
            await self.settle()
            if racing:
                self.hand_over_all()
                self.worker.give_turn()
            if found := await self.until(_result(task)):
                self.publisher.rescan()
                self.count("records recalled", found)

        self.run(step())

    # -- rules: the disk

    @precondition(lambda self: self.fragile and self.damages < 2)
    @rule(
        kind=st.sampled_from(["head", "stored", "quarantine", "line", "row", "bytes"]),
        where=st.integers(0, 2**20),
        number=st.integers(1, 20),
    )
    def damage(self, kind: str, where: int, number: int) -> None:
        """Change the file between a stop and a start."""

        async def step() -> None:
            if self.is_stuck():
                return
            await self.close()
            self.damages += 1
            path = self.folder / str(self.life) / NAME
            if kind == "bytes":
                self.hurt = True
                overwrite(path, where, number)
            elif (seq := harm(path, kind, number)) is not None:
                self.damaged.add(seq)
            self.count("files damaged")
            self.open()
            await self.connect()

        self.run(step())

    # -- the end

    def teardown(self) -> None:
        try:
            if self.sound and hasattr(self, "spool"):
                self.loop.run_until_complete(self.come_home())
        finally:
            self.loop.run_until_complete(self.let_go())
            self.stack.close()

    async def come_home(self) -> None:
        """Let nothing go wrong any more: everything must arrive."""
        if self.serving is None:
            await self.connect()
        for _ in range(300):
            taken, self.on_road = self.on_road, []
            await self.bring(taken)
            self.hand_over_all()
            await self.let_pass(5.0)
            self.look()
            if not (self.spool.ledger.spooled or self.spool.salvaging or self.spool._next > self.spool.committed + 1):
                break
        else:
            raise AssertionError(f"does not end: {self.spool.ledger}")
        await self.close()
        self.count("records", len(self.kept))
        self.count("records refused by the database", len(self.database.refused))
        book = self.books[self.epoch]
        in_quarantine = {book[seq] for seq in self.quarantined}
        given_up = self.given_up | {book[seq] for seq in self.gone}
        nowhere = self.kept - self.database.lines.keys() - in_quarantine - given_up - self.perished
        assert not nowhere, f"{nowhere} are nowhere"
        twice = in_quarantine & self.database.lines.keys() - self.database.refused
        assert self.damages or not twice, f"{twice} are stored and in quarantine"

    async def let_go(self) -> None:
        if self.serving is not None:
            self.serving.cancel()
            await asyncio.wait([self.serving])
        if hasattr(self, "writer") and self.worker.is_alive():
            self.worker.kill()
            self.spool._file.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)


async def _result(task: asyncio.Future[T]) -> T:
    return await task


def overwrite(path: Path, where: int, number: int) -> None:
    """Put other bytes somewhere into a file."""
    data = bytearray(path.read_bytes())
    place = where % len(data)
    data[place : place + number] = b"\xa5" * min(number, len(data) - place)
    path.write_bytes(data)


def harm(path: Path, kind: str, number: int) -> int | None:
    """Change one value of a closed file, as a bit that turns does; gives the record that is hurt, if it is one."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        run = connection.execute
        match kind:
            case "head":
                run("UPDATE head SET pruned = pruned + ?", (number,))
            case "stored":
                run("UPDATE stored SET last = last + ? WHERE first = (SELECT max(first) FROM stored)", (number,))
            case "quarantine":
                run("UPDATE quarantine SET reason = 'x' || reason")
            case _:
                seqs = [seq for (seq,) in run("SELECT seq FROM record ORDER BY seq")]
                if not seqs:
                    return None
                seq = int(seqs[number % len(seqs)])
                if kind == "line":
                    run("UPDATE record SET line = cast(replace(line, 'rtt', 'rtx') AS BLOB) WHERE seq = ?", (seq,))
                else:
                    run("DELETE FROM record WHERE seq = ?", (seq,))
                return seq
    return None


@pytest.mark.timeout(MACHINES * 2 + 120)
def test_acknowledgements() -> None:
    Machine.steps, Machine.seen = 0, Counter()
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        run_state_machine_as_test(
            seed(SEED)(Machine),
            settings=settings(
                max_examples=MACHINES,
                stateful_step_count=STEPS_EACH,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.generate, Phase.shrink],
                suppress_health_check=list(HealthCheck),
                report_multiple_bugs=False,
            ),
        )
    finally:
        logging.disable(before)
    steps, seen = Machine.steps, Machine.seen
    if LONG:
        assert steps >= 100_000
    note(
        "R11",
        claim="whatever road and bridge do with batches and acknowledgements, acquired = stored + spooled + "
        "quarantined + dropped, and nothing is believed stored that the database does not hold",
        aim="≥ 100,000 steps, invariant never broken",
        seen=f"{steps:,} steps in {MACHINES:,} lives: "
        + ", ".join(f"{times:,} {what}" for what, times in sorted(seen.items()))
        + "; never broken",
        test="pytest tests/drills/test_acknowledgements.py",
        seed=SEED,
    )
