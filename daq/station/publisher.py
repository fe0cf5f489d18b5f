"""Sends what the spool holds over MQTT until a bridge says that it is stored; acquisition never waits for it.

A batch that is not acknowledged in time is sent again: the broker may have lost it, and a bridge or a database that
gets it twice stores it once. While a backlog is sent, a part of the window is reserved for the newest records.
"""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from daq.road.batch import Ack, Batch, Malformed, Rejection, topic
from daq.road.mqtt import BrokerError
from daq.spool.queue import SpoolError
from daq.station.live import LiveView
from daq.station.outgoing import Outgoing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from daq.host.clock import Clock
    from daq.road.mqtt import Connection
    from daq.spool.queue import Spool

log = logging.getLogger(__name__)

REMIND = 1.0
"""Seconds between two checks for late batches, also when nothing new comes."""
STATUS = 2.0
"""Seconds between two publications of the status."""


class Publisher:
    """Sends one station's records, status and live values, over one connection after another."""

    def __init__(self, station: str, spool: Spool, clock: Clock, status: Callable[[], dict[str, Any]]) -> None:
        self.station = station
        self.outgoing = Outgoing(spool, clock)
        self.live = LiveView(station, clock)
        self.progress = clock.monotonic()
        self.strange_acks = 0
        self.on_rejected: Callable[[Sequence[Rejection]], None] = lambda _: None
        self.on_strange_ack: Callable[[str], None] = lambda _: None
        self._connection: Connection | None = None
        self._spool = spool
        self._clock = clock
        self._status = status
        self._work = asyncio.Event()
        spool.on_commit = self._work.set

    def begin_epoch(self) -> None:
        """Forget what was sent: the spool has another epoch."""
        self.outgoing.begin_epoch()
        self._work.set()

    def rescan(self) -> None:
        """Search from the first record on for what waits: some that were stored wait again."""
        self.outgoing.rescan()
        self._work.set()

    @property
    def connected(self) -> bool:
        """Whether there is a connection to the broker at this moment."""
        return self._connection is not None

    @property
    def will(self) -> tuple[str, bytes]:
        """Topic and payload that the broker publishes when it loses this station."""
        return topic(self.station, "status"), json.dumps({"station": self.station, "state": "offline"}).encode()

    async def serve(self, connection: Connection) -> None:
        """Work on one connection until it breaks."""
        self._connection = connection
        self.outgoing.requeue_all()
        try:
            await connection.subscribe(topic(self.station, "ack"))
            async with asyncio.TaskGroup() as group:
                group.create_task(self._receive_acks(connection))
                group.create_task(self._send(connection))
                group.create_task(self._wake_sender())
                group.create_task(self._repeat_status(connection))
                group.create_task(self.live.serve(connection))
        finally:
            self._connection = None

    async def _receive_acks(self, connection: Connection) -> None:
        async for message in connection.messages():
            try:
                ack = Ack.decode(message.payload)
                self._check(ack)
            except Malformed as error:
                self.strange_acks += 1
                log.warning("an acknowledgement is ignored: %s", error)
                self.on_strange_ack(str(error))
                continue
            self._spool.acknowledge(ack)
            self.outgoing.settle(ack)
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
            if (unsent := self.outgoing.first_unsent(first, last)) is not None:
                raise Malformed(f"it names record {unsent}, which was not sent")
        for one in ack.rejected:
            log.error("the database rejects record %d permanently: %s", one.seq, one.reason)

    async def _send(self, connection: Connection) -> None:
        outgoing = self.outgoing
        while True:
            self._work.clear()
            outgoing.requeue_late()
            try:
                while outgoing.has_room and (found := await outgoing.next_run()) is not None:
                    run, lines = found
                    outgoing.sending(run)
                    batch = Batch(self.station, self._spool.epoch, run.first, lines)
                    await connection.publish(topic(self.station, "data"), batch.encode(), 1)
                    self.progress = self._clock.monotonic()
            except SpoolError as error:
                log.warning("nothing can be sent now: %s", error)
            self.progress = self._clock.monotonic()
            await self._work.wait()

    async def _wake_sender(self) -> None:
        """Let the sender find late batches, also when nothing new comes; note the progress of a backlog."""
        while True:
            await self._clock.sleep_until(self._clock.monotonic() + REMIND)
            self.outgoing.note_backfill()
            self._work.set()

    async def _repeat_status(self, connection: Connection) -> None:
        """Repeat the retained status: a broker node that hung may have published an old will meanwhile."""
        while True:
            await self.publish_status(connection)
            await self._clock.sleep_until(self._clock.monotonic() + STATUS)

    async def publish_status(self, connection: Connection) -> None:
        """Publish the status of this instant."""
        payload = json.dumps(self._status()).encode()
        await connection.publish(topic(self.station, "status"), payload, 1, retain=True)

    async def publish_last_status(self) -> None:
        """Publish the status once more: after an orderly disconnect the broker does not publish the will."""
        if self._connection is not None:
            with suppress(BrokerError):
                await self.publish_status(self._connection)
