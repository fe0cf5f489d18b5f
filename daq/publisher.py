"""Sends what the spool holds over MQTT until a bridge says that it is stored; never waited for by acquisition.

A batch that is not acknowledged in time is sent again: the broker may have died with it, and a bridge or a database
that gets it twice stores it once.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from daq.batch import Ack, Batch, Malformed, topic
from daq.mqtt import BrokerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from daq.clock import Clock
    from daq.mqtt import Connection
    from daq.reading import Reading, Series
    from daq.spool import Spool

log = logging.getLogger(__name__)

WINDOW = 16
"""Batches under way at once."""
BATCH_LINES = 500
BATCH_BYTES = 200_000
RESEND = 5.0
"""Seconds without acknowledgement after which a batch is sent again."""
REMIND = 1.0
STATUS = 2.0
LIVE = 0.2
LIVE_MESSAGES = 100
"""Live values published in one round at most: the view gives way to the road."""


class Publisher:
    """Carries one station's records, status and live values over one connection after another."""

    def __init__(self, station: str, spool: Spool, clock: Clock, status: Callable[[], dict[str, Any]]) -> None:
        self.station = station
        self.progress = clock.monotonic()
        self.resent = 0
        self._connection: Connection | None = None
        self._spool = spool
        self._clock = clock
        self._status = status
        self._work = asyncio.Event()
        self._next = 1
        self._again: deque[tuple[int, int]] = deque()
        self._under_way: dict[int, tuple[int, float]] = {}  # first -> last, monotonic instant of its resend
        self._sent_up_to = 0
        self._live: dict[Series, Reading] = {}
        spool.on_commit = self._work.set

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
        for first, (last, _) in self._under_way.items():
            self._again.append((first, last))  # whatever was under way may have died with the old connection
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
                log.warning("an acknowledgement changes nothing: %s", error)
                continue
            self._spool.acknowledge(ack)
            self._settle(ack)
            self._work.set()

    def _check(self, ack: Ack) -> None:
        if ack.epoch != self._spool.epoch:
            raise Malformed(f"it is for epoch {ack.epoch}, this spool is {self._spool.epoch}")
        highest = max([last for _, last in ack.stored] + [one.seq for one in ack.rejected], default=0)
        if highest > self._sent_up_to:
            raise Malformed(f"it names record {highest}; the last one sent was {self._sent_up_to}")
        for one in ack.rejected:
            log.error("record %d is refused by the database and set aside: %s", one.seq, one.reason)

    def _settle(self, ack: Ack) -> None:
        done = [*ack.stored, *((one.seq, one.seq) for one in ack.rejected)]
        for first, (last, _) in list(self._under_way.items()):
            if self._spool.is_done(first, last) and any(a <= last and first <= b for a, b in done):
                del self._under_way[first]

    async def _send(self, connection: Connection) -> None:
        while True:
            self._work.clear()
            self._resend_late()
            while len(self._under_way) < WINDOW and (run := await self._next_run()) is not None:
                first, lines = run
                last = first + len(lines) - 1
                self._under_way[first] = (last, self._clock.monotonic() + RESEND)
                self._sent_up_to = max(self._sent_up_to, last)
                await connection.publish(
                    topic(self.station, "data"),
                    Batch(self.station, self._spool.epoch, first, lines).encode(),
                    1,
                )
                self.progress = self._clock.monotonic()
            self.progress = self._clock.monotonic()
            await self._work.wait()

    async def _remind(self) -> None:
        """Let the sender look at its clock, also when nothing new comes."""
        while True:
            await self._clock.sleep_until(self._clock.monotonic() + REMIND)
            self._work.set()

    def _resend_late(self) -> None:
        now = self._clock.monotonic()
        for first, (last, due) in list(self._under_way.items()):
            if due <= now:
                del self._under_way[first]
                self._again.append((first, last))
                self.resent += 1

    async def _next_run(self) -> tuple[int, list[bytes]] | None:
        while self._again:
            first, last = self._again.popleft()
            run = await self._spool.run_from(first, last - first + 1)
            if run is not None and run[0] <= last:
                start, lines = run
                lines = lines[: last - start + 1]
                if start + len(lines) <= last:
                    self._again.appendleft((start + len(lines), last))
                return start, lines
        run = await self._spool.run_from(self._next, BATCH_LINES)
        if run is None:
            return None
        first, lines = run
        size = 0
        for count, line in enumerate(lines, 1):
            size += len(line) + 1
            if size > BATCH_BYTES:
                lines = lines[:count]
                break
        self._next = first + len(lines)
        return first, lines

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
