"""Takes batches from MQTT, stores their lines, and acknowledges to the station what the database has. Keeps nothing.

Any number of bridges may run, and any may fail at any moment: a batch without acknowledgement is sent again, and a line
that is stored twice is stored once.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections import OrderedDict, defaultdict
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from daq.bridge.sink import Misconfigured, SinkError, Unavailable, store
from daq.host.parts import Parts, in_words
from daq.road.batch import Ack, Batch, Malformed, Rejection, station_of, topic
from daq.road.line_check import invalid_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from daq.bridge.sink import Sink
    from daq.host.clock import Clock
    from daq.road.mqtt import Connection, Message

log = logging.getLogger(__name__)

WRITE_LINES = 10_000
"""Lines in one request at most; large requests cost the database less for each line."""
WAITING_BYTES = 64 * 2**20
"""Bytes of batches that wait in memory; beyond it the oldest are discarded, and their stations send them again."""
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 10.0
PROOF_WITHIN = 3.0
"""Seconds within which the message that proves shared subscriptions must arrive."""
STATUS = 5.0
"""Seconds between two publications of the status."""


@dataclass(slots=True)
class Counters:
    """What a bridge has done since it started; published as its status."""

    state: str = "starting"
    stored: int = 0
    rejected: int = 0
    malformed: int = 0
    given_up: int = 0
    waiting_batches: int = 0
    database: str = ""
    last_error: str = ""


@dataclass(slots=True)
class Verdict:
    """The result of a batch: the places of the lines that were rejected, with the reason; the rest is stored."""

    batch: Batch
    rejected: dict[int, str]

    @property
    def stored(self) -> list[tuple[int, int]]:
        """Ranges of the records that are stored."""
        ranges, start = [], 0
        for place in [*sorted(self.rejected), len(self.batch.lines)]:
            if place > start:
                ranges.append((self.batch.first + start, self.batch.first + place - 1))
            start = place + 1
        return ranges

    @property
    def rejections(self) -> list[Rejection]:
        """The records that are rejected, in order."""
        return [Rejection(self.batch.first + place, reason) for place, reason in sorted(self.rejected.items())]


def acknowledgements(verdicts: Iterable[Verdict], bridge: str) -> Iterator[tuple[str, Ack]]:
    """Give the acknowledgements of each station, one for each epoch."""
    of_epoch: defaultdict[tuple[str, str], list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        of_epoch[verdict.batch.station, verdict.batch.epoch].append(verdict)
    for (station, epoch), some in of_epoch.items():
        stored = [pair for one in some for pair in one.stored]
        rejected = [rejection for one in some for rejection in one.rejections]
        yield station, Ack(epoch, stored, rejected, bridge)


class Bridge:
    """One bridge between broker and database; `share` names the group of bridges that share the work, if any."""

    def __init__(self, sink: Sink, name: str, share: str | None, clock: Clock, parts: Parts | None = None) -> None:
        """`parts` are those of the service; its status shows what went wrong in them."""
        self.name = name
        self.counters = Counters(database=sink.name)
        self.progress = clock.monotonic()
        self._sink = sink
        self._share = share
        self._clock = clock
        self._parts = parts or Parts(clock)
        self._arrived = asyncio.Event()
        self._waiting: OrderedDict[tuple[str, str, int], Batch] = OrderedDict()
        self._waiting_bytes = 0
        self._proof = asyncio.Event()

    async def serve(self, connection: Connection) -> None:
        """Work on one connection until it breaks; what waits then is sent again by its station."""
        self._waiting.clear()
        self._waiting_bytes = 0
        self._proof.clear()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._receive(connection))
            group.create_task(self._store(connection))
            group.create_task(self._repeat_status(connection))
            await self._subscribe(connection)

    async def _subscribe(self, connection: Connection) -> None:
        pattern = "daq/1/+/data"
        if self._share is not None and await self._shares(connection):
            pattern = f"$share/{self._share}/{pattern}"
        await connection.subscribe(pattern)
        self.counters.state = "ready"
        log.info("bridge %s takes %s", self.name, pattern)

    async def _shares(self, connection: Connection) -> bool:
        """Prove shared subscriptions with a message to this bridge: some brokers grant them and deliver nothing."""
        if connection.shares:
            await connection.subscribe(f"$share/{self._share}-{self.name}/{self._probe}")
            await connection.publish(self._probe, b"proof", 1)
            with suppress(TimeoutError):
                async with asyncio.timeout(PROOF_WITHIN):
                    await self._proof.wait()
        if not self._proof.is_set():
            log.warning(
                "%s does not share subscriptions: run one bridge only, or set share = false",
                connection.place,
            )
        return self._proof.is_set()

    @property
    def _probe(self) -> str:
        return f"daq/1/_probe/{self.name}"

    async def _receive(self, connection: Connection) -> None:
        async for message in connection.messages():
            if message.topic == self._probe:
                self._proof.set()
                continue
            try:
                batch = _batch_of(message)
            except Malformed as error:
                self.counters.malformed += 1
                log.warning("%s: discarded, no batch of daq/1: %s", message.topic, error)
                continue
            self._add(batch)
            self._arrived.set()

    def _add(self, batch: Batch) -> None:
        key = (batch.station, batch.epoch, batch.first)
        if (same := self._waiting.pop(key, None)) is not None:  # sent again while it waits here
            self._waiting_bytes -= _size(same)
        self._waiting[key] = batch
        self._waiting_bytes += _size(batch)
        while self._waiting_bytes > WAITING_BYTES:
            _, oldest = self._waiting.popitem(last=False)
            self._waiting_bytes -= _size(oldest)
            self.counters.given_up += 1

    async def _store(self, connection: Connection) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                batches = self._take()
                self.counters.waiting_batches = len(self._waiting)
                for station, ack in acknowledgements(await self._settle(batches), self.name):
                    await connection.publish(topic(station, "ack"), ack.encode(), 1)
                    log.debug("%s %s: acknowledged %s", station, ack.epoch, ack.stored)
                self.progress = self._clock.monotonic()

    def _take(self) -> list[Batch]:
        """Take batches of all stations in turn, so that a backlog of one does not delay the others."""
        turns: defaultdict[str, int] = defaultdict(int)
        order = []
        for key in self._waiting:
            order.append((turns[key[0]], key))
            turns[key[0]] += 1
        taken: list[Batch] = []
        lines = 0
        for _, key in sorted(order, key=lambda one: one[0]):
            batch = self._waiting[key]
            if taken and lines + len(batch.lines) > WRITE_LINES:
                break
            taken.append(batch)
            lines += len(batch.lines)
            del self._waiting[key]
            self._waiting_bytes -= _size(batch)
        return taken

    async def _settle(self, batches: Sequence[Batch]) -> list[Verdict]:
        """Store the good lines of `batches`, however long the database needs; gives the verdict on each batch."""
        verdicts = [Verdict(batch, invalid_lines(batch)) for batch in batches]
        good = [(one, place) for one in verdicts for place in range(len(one.batch.lines)) if place not in one.rejected]
        refused = await self._store_with_retries([one.batch.lines[place] for one, place in good]) if good else {}
        for number, reason in refused.items():
            verdict, place = good[number]
            verdict.rejected[place] = reason
        for verdict in verdicts:
            self._count(verdict)
        return verdicts

    def _count(self, verdict: Verdict) -> None:
        batch, rejected = verdict.batch, verdict.rejected
        self.counters.stored += len(batch.lines) - len(rejected)
        self.counters.rejected += len(rejected)
        for place, reason in rejected.items():
            log.error("%s record %d is rejected: %s", batch.station, batch.first + place, reason)

    async def _store_with_retries(self, lines: Sequence[bytes]) -> dict[int, str]:
        pause = FIRST_PAUSE
        while True:
            try:
                refused = await store(self._sink, lines)
            except Exception as error:  # noqa: BLE001  # whatever a sink raises costs no batch and no connection
                self._note_failure(error)
                wait = error.retry_after if isinstance(error, Unavailable) and error.retry_after is not None else pause
                await self._clock.sleep_until(self._clock.monotonic() + wait * random.uniform(0.7, 1.0))  # noqa: S311  # spreads bridges
                pause = min(pause * 2, LONGEST_PAUSE)
                self.progress = self._clock.monotonic()
                continue
            if self.counters.state != "ready":
                log.info("%s stores again", self._sink.name)
            self.counters.state, self.counters.last_error, self.counters.database = (
                "ready",
                "",
                self._sink.name,
            )
            return refused

    def _note_failure(self, error: Exception) -> None:
        """Tell a failure once; one that no sink should raise with its traceback."""
        foreseen = isinstance(error, SinkError)
        words = str(error) if foreseen else in_words(error)
        state = "misconfigured" if isinstance(error, Misconfigured) else "waiting"
        if (state, words) != (self.counters.state, self.counters.last_error):
            level = logging.WARNING if isinstance(error, Unavailable) else logging.ERROR
            text = "%s; nothing is acknowledged, the stations keep everything"
            log.log(level, text, words, exc_info=None if foreseen else error)
        self.counters.state, self.counters.last_error = state, words

    async def _repeat_status(self, connection: Connection) -> None:
        while True:
            self.counters.waiting_batches = len(self._waiting)
            status = {"bridge": self.name, "at_ns": self._clock.utc_ns()} | asdict(self.counters)
            status["parts"] = self._parts.status()
            await connection.publish(f"daq/1/_bridges/{self.name}", json.dumps(status).encode(), 1, retain=True)
            await self._clock.sleep_until(self._clock.monotonic() + STATUS)


def _batch_of(message: Message) -> Batch:
    """Read a batch; Malformed where it is none, or comes on the topic of another station."""
    batch = Batch.decode(message.payload)
    if (sender := station_of(message.topic)) != batch.station:
        raise Malformed(f"a batch of station {batch.station!r} on the topic of {sender!r}")
    return batch


def _size(batch: Batch) -> int:
    return sum(map(len, batch.lines))
