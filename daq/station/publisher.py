"""Sends what the spool holds over MQTT until a bridge says that it is stored; never waited for by acquisition.

A batch that is not acknowledged in time is sent again: the broker may have died with it, and a bridge or a database
that gets it twice stores it once. While a backlog is sent, the newest records have a share of the window to themselves.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from daq.road.batch import Ack, Batch, Malformed, Rejection, topic
from daq.road.mqtt import BrokerError
from daq.road.ranges import Ranges
from daq.spool.queue import SpoolError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from daq.host.clock import Clock
    from daq.road.mqtt import Connection
    from daq.road.reading import Reading, Series
    from daq.spool.queue import Spool

log = logging.getLogger(__name__)

WINDOW = 16
"""Batches under way at once, to begin with: each one acknowledged allows one more, one that is late halves it."""
SMALLEST_WINDOW, LARGEST_WINDOW = 8, 64
LIVE_WINDOW = 4
"""Batches of them that are kept for the newest records while a backlog is sent."""
BACKLOG = 8_000
"""Unsent records that make a backlog: older ones then give way to new ones."""
BATCH_LINES = 500
BATCH_BYTES = 200_000
RESEND = 5.0
"""Seconds without acknowledgement after which a batch is sent again; doubled each time, up to `LONGEST_RESEND`."""
LONGEST_RESEND = 30.0
REMIND = 1.0
PROGRESS = 10.0
"""Seconds between two log lines that say how a backlog is getting on."""
STATUS = 2.0
LIVE = 0.2
LIVE_MESSAGES = 100
"""Live values published in one round at most: the view gives way to the road."""


@dataclass(frozen=True, slots=True)
class Run:
    """Records first..last that are to be sent, or are under way; `tries` counts how often they were."""

    first: int
    last: int
    live: bool = False
    tries: int = 0
    due: float = 0.0


@dataclass(slots=True)
class Backfill:
    """How a backlog is getting on: records that it still has, and records a second."""

    started: float
    begun_with: int
    left: int
    rate: float = 0.0
    logged: float = 0.0

    def move_on(self, now: float, left: int) -> None:
        """Note what is left; say it from time to time."""
        self.rate = (self.begun_with - left) / max(0.001, now - self.started)
        self.left = left
        if now - self.logged >= PROGRESS:
            self.logged = now
            ahead = f", about {left / self.rate:.0f} s more" if self.rate > 0 else ""
            log.info("backlog: %d of %d records left, %.0f a second%s", left, self.begun_with, self.rate, ahead)


class Publisher:
    """Carries one station's records, status and live values over one connection after another."""

    def __init__(self, station: str, spool: Spool, clock: Clock, status: Callable[[], dict[str, Any]]) -> None:
        self.station = station
        self.progress = clock.monotonic()
        self.resent = 0
        self.window = WINDOW
        self.strange_acks = 0
        self.backfill: Backfill | None = None
        self.on_rejected: Callable[[Sequence[Rejection]], None] = lambda _: None
        self.on_strange_ack: Callable[[str], None] = lambda _: None
        self._connection: Connection | None = None
        self._spool = spool
        self._clock = clock
        self._status = status
        self._work = asyncio.Event()
        self._live: dict[Series, Reading] = {}
        spool.on_commit = self._work.set
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Forget what was sent: the spool has another epoch."""
        self._next = 1
        self._newest: tuple[int, int] | None = None  # while there is a backlog: where the newest began, and the next
        self._again: deque[Run] = deque()
        self._under_way: dict[int, Run] = {}
        self._sent = Ranges()
        self._look_again = False
        self._work.set()

    def look_again(self) -> None:
        """Send from the first waiting record on: some that were stored wait again."""
        self._look_again = True  # done by the sender, which may be reading from the disk at this moment
        self._work.set()

    @property
    def connected(self) -> bool:
        """Whether there is a connection to the broker at this moment."""
        return self._connection is not None

    @property
    def will(self) -> tuple[str, bytes]:
        """Topic and payload that the broker publishes when this station is gone."""
        return topic(self.station, "status"), json.dumps({"station": self.station, "state": "offline"}).encode()

    def show(self, reading: Reading) -> None:
        """Remember the newest value of a channel for the live view."""
        self._live[reading.series] = reading

    async def serve(self, connection: Connection) -> None:
        """Work on one connection until it breaks."""
        self._connection = connection
        # Whatever was under way may have died with the old connection.
        self._again.extend(Run(one.first, one.last, one.live) for one in self._under_way.values())
        self._under_way.clear()
        try:
            await connection.subscribe(topic(self.station, "ack"))
            async with asyncio.TaskGroup() as group:
                group.create_task(self._hear(connection))
                group.create_task(self._send(connection))
                group.create_task(self._remind())
                group.create_task(self._tell(connection))
                group.create_task(self._show(connection))
        finally:
            self._connection = None

    async def _hear(self, connection: Connection) -> None:
        async for message in connection.messages():
            try:
                ack = Ack.decode(message.payload)
                self._check(ack)
            except Malformed as error:
                self.strange_acks += 1
                log.warning("an acknowledgement changes nothing: %s", error)
                self.on_strange_ack(str(error))
                continue
            self._spool.acknowledge(ack)
            self._settle(ack)
            if ack.rejected:
                self.on_rejected(ack.rejected)
            self._work.set()

    def _check(self, ack: Ack) -> None:
        if not ack.bridge:
            raise Malformed("it names no bridge")
        if ack.epoch != self._spool.epoch:
            raise Malformed(f"it is for epoch {ack.epoch}, this spool is {self._spool.epoch}")
        named = [*ack.stored, *((one.seq, one.seq) for one in ack.rejected)]
        for first, last in named:
            if (unsent := self._sent.next_missing(first)) <= last:
                raise Malformed(f"it names record {unsent}, which was not sent")
        for one in ack.rejected:
            log.error("the database rejects record %d for good: %s", one.seq, one.reason)

    def _settle(self, ack: Ack) -> None:
        done = [*ack.stored, *((one.seq, one.seq) for one in ack.rejected)]
        soon = self._clock.monotonic() + RESEND
        for first, run in list(self._under_way.items()):
            if self._spool.is_done(first, run.last) and any(a <= run.last and first <= b for a, b in done):
                del self._under_way[first]
                self.window = min(self.window + 1, LARGEST_WINDOW)
            elif run.due > soon:  # the road works again: what was sent in vain meanwhile need not wait any longer
                self._under_way[first] = Run(first, run.last, run.live, 1, soon)

    async def _send(self, connection: Connection) -> None:
        while True:
            self._work.clear()
            self._resend_late()
            try:
                while len(self._under_way) < self.window and (found := await self._next_run()) is not None:
                    run, lines = found
                    self._under_way[run.first] = run
                    self._sent.add(run.first, run.last)
                    batch = Batch(self.station, self._spool.epoch, run.first, lines)
                    await connection.publish(topic(self.station, "data"), batch.encode(), 1)
                    self.progress = self._clock.monotonic()
            except SpoolError as error:
                log.warning("nothing can be sent now: %s", error)
            self.progress = self._clock.monotonic()
            await self._work.wait()

    async def _remind(self) -> None:
        """Let the sender look at its clock, also when nothing new comes; say how a backlog gets on."""
        while True:
            await self._clock.sleep_until(self._clock.monotonic() + REMIND)
            self._note_backfill()
            self._work.set()

    def _note_backfill(self) -> None:
        now = self._clock.monotonic()
        if self._newest is None:
            if self.backfill is not None:
                took = now - self.backfill.started
                log.info("backlog of %d records sent in %.1f s", self.backfill.begun_with, took)
            self.backfill = None
            return
        left = self._spool.waiting_until(self._newest[0])
        if self.backfill is None:
            self.backfill = Backfill(now, left, left)
        self.backfill.move_on(now, left)

    def _resend_late(self) -> None:
        now = self._clock.monotonic()
        late = [run for run in self._under_way.values() if run.due <= now]
        for run in late:
            del self._under_way[run.first]
            self._again.append(run)
        if late:
            self.resent += len(late)
            self.window = max(self.window // 2, SMALLEST_WINDOW)

    async def _next_run(self) -> tuple[Run, list[bytes]] | None:
        """Give what is to be sent next: what was sent in vain, then the newest of all, then the oldest."""
        if (found := await self._next_again()) is not None:
            return found
        if self._look_again:
            self._next, self._newest, self._look_again = 1, None, False
        self._divide()
        return await (self._next_in_order() if self._newest is None else self._next_of_two_lanes(*self._newest))

    async def _next_again(self) -> tuple[Run, list[bytes]] | None:
        while again := self._again:
            old = again[0]  # stays there while it is read: a connection or a disk that breaks meanwhile costs no run
            found = await self._run(old.first, old.last, live=old.live, tries=old.tries + 1)
            again.popleft()
            if found is not None:
                if found[0].last < old.last:
                    again.appendleft(Run(found[0].last + 1, old.last, old.live, old.tries))
                return found
        return None

    async def _next_in_order(self) -> tuple[Run, list[bytes]] | None:
        found = await self._run(self._next, self._spool.committed)
        if found is not None:
            self._next = found[0].last + 1
        return found

    async def _next_of_two_lanes(self, begin: int, after: int) -> tuple[Run, list[bytes]] | None:
        """Give the newest records from `after` on their share of the window, and the rest to those before `begin`."""
        live = sum(run.live for run in self._under_way.values())
        if live < LIVE_WINDOW and (found := await self._run(after, self._spool.committed, live=True)) is not None:
            self._newest = (begin, found[0].last + 1)
            return found
        if len(self._under_way) - live >= self.window - LIVE_WINDOW:
            return None
        if (found := await self._run(self._next, begin - 1)) is not None:
            self._next = found[0].last + 1
            return found
        if self._newest is not None:  # it is None where the spool has begun another epoch meanwhile
            self._next, self._newest = after, None  # the backlog has caught up with the newest
        return await self._next_in_order()

    def _divide(self) -> None:
        """Where too much waits to be sent in order, let the newest records begin a queue of their own."""
        if self._newest is None and self._spool.waiting_from(self._next) > BACKLOG:
            begin = self._spool.committed - BATCH_LINES + 1
            self._newest = (begin, begin)

    async def _run(
        self, first: int, last: int, *, live: bool = False, tries: int = 0
    ) -> tuple[Run, list[bytes]] | None:
        """Give the first waiting records of first..last that fit into one batch."""
        found = await self._spool.run_from(first, min(BATCH_LINES, max(1, last - first + 1)))
        if found is None or found[0] > last:
            return None
        start, lines = found
        lines = lines[: last - start + 1]
        size = 0
        for count, line in enumerate(lines, 1):
            size += len(line) + 1
            if size > BATCH_BYTES:
                lines = lines[:count]
                break
        wait = min(LONGEST_RESEND, RESEND * 2.0**tries) * random.uniform(0.9, 1.1)  # noqa: S311  # spreads stations
        due = self._clock.monotonic() + (wait if tries else RESEND)
        return Run(start, start + len(lines) - 1, live, tries, due), lines

    async def _tell(self, connection: Connection) -> None:
        """Keep the retained status true: a node that hung may have fired an old will meanwhile."""
        while True:
            await self.publish_status(connection)
            await self._clock.sleep_until(self._clock.monotonic() + STATUS)

    async def publish_status(self, connection: Connection) -> None:
        """Publish the status of this instant."""
        payload = json.dumps(self._status()).encode()
        await connection.publish(topic(self.station, "status"), payload, 1, retain=True)

    async def say_goodbye(self) -> None:
        """Publish the last status: who leaves in order has no will that the broker would publish."""
        if self._connection is not None:
            with suppress(BrokerError):
                await self.publish_status(self._connection)

    async def _show(self, connection: Connection) -> None:
        while True:
            await self._clock.sleep_until(self._clock.monotonic() + LIVE)
            for series in list(self._live)[:LIVE_MESSAGES]:
                reading = self._live.pop(series)
                name = topic(self.station, f"live/{series.instrument}/{series.channel}")
                await connection.publish(name, live_payload(reading), 0, retain=True)


def live_payload(reading: Reading) -> bytes:
    """Write the newest value of a channel as flat JSON; `value` is null where the instrument gave none."""
    return json.dumps(
        {
            "at_ns": reading.at,
            "value": None if reading.value is None else float(reading.value),
            "text": "" if reading.value is None else str(reading.value),
            "unit": reading.series.unit,
            "quantity": reading.series.quantity,
            "status": reading.status.name.lower(),
            "identified": reading.identified,
            "simulated": reading.simulated,
        }
    ).encode()
