"""The publisher sends until it is told that a record is stored, whatever the road in between does."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from daq.road.batch import Ack, Batch, Rejection
from daq.road.mqtt import Message
from daq.road.point import seq_of
from daq.spool.queue import Ledger, Spool
from daq.station.outgoing import BACKLOG, BATCH_LINES, RESEND, WINDOW
from daq.station.publisher import REMIND, Publisher
from tests.jumping_clock import JumpingClock
from tests.spools import GIB, filled, reading

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path


@dataclass
class Road:
    """A connection whose broker and bridge a test plays; everything published is kept."""

    batches: list[Batch] = field(default_factory=list)
    other: list[tuple[str, bytes]] = field(default_factory=list)
    acks: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    subscribed: list[str] = field(default_factory=list)

    async def subscribe(self, name: str, qos: int = 1) -> None:
        self.subscribed.append(name)

    async def publish(self, name: str, payload: bytes, qos: int = 1, *, retain: bool = False) -> None:
        if name == "daq/1/lab/data":
            self.batches.append(Batch.decode(payload))
        else:
            self.other.append((name, payload))

    async def messages(self) -> AsyncIterator[Message]:
        while True:
            yield Message("daq/1/lab/ack", await self.acks.get())


@asynccontextmanager
async def publishing(path: Path, count: int) -> AsyncIterator[tuple[JumpingClock, Spool, Publisher, Road]]:
    spool = Spool(path / "s.sqlite", GIB)
    for number in range(count):
        spool.put(reading(number))
    await spool.flush()
    clock, road = JumpingClock(), Road()
    publisher = Publisher("lab", spool, clock, lambda: {"state": "online"})
    task = asyncio.create_task(publisher.serve(road))  # type: ignore[arg-type]  # Road has what a Connection has
    try:
        yield clock, spool, publisher, road
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await spool.close()


def ack(spool: Spool, *stored: tuple[int, int], rejected: tuple[Rejection, ...] = (), epoch: str = "") -> bytes:
    return Ack(epoch or spool.epoch, stored, rejected, "a bridge").encode()


async def test_sends_everything_in_order_within_the_window(tmp_path: Path) -> None:
    count = BACKLOG
    async with publishing(tmp_path, count) as (clock, spool, _, road):
        await clock.run_for(1.0)
        assert road.subscribed == ["daq/1/lab/ack"]
        assert [len(batch.lines) for batch in road.batches] == [BATCH_LINES] * WINDOW
        for batch in road.batches[:]:
            road.acks.put_nowait(ack(spool, (batch.first, batch.last)))
        await clock.run_for(1.0)
        assert spool.ledger == Ledger(count, count, 0, 0, 0)
        assert [seq_of(line) for batch in road.batches for line in batch.lines] == list(range(1, count + 1))


async def test_newest_records_do_not_wait_for_a_backlog(tmp_path: Path) -> None:
    count = 3 * BACKLOG
    async with publishing(tmp_path, count) as (clock, spool, publisher, road):
        await clock.run_for(REMIND)
        assert (road.batches[0].first, road.batches[0].last) == (count - BATCH_LINES + 1, count)
        assert [batch.first for batch in road.batches[1:]] == list(range(1, 12 * BATCH_LINES, BATCH_LINES))
        backfill = publisher.outgoing.backfill
        assert backfill is not None
        assert backfill.left == count - BATCH_LINES
        seen = len(road.batches)
        for number in range(5):
            spool.put(reading(count + number))
        await spool.flush()
        await clock.run_for(0.1)
        (fresh,) = road.batches[seen:]
        assert (fresh.first, fresh.last) == (count + 1, count + 5)
        told = 0
        while spool.ledger.spooled:
            batches, told = road.batches[told:], len(road.batches)
            for batch in batches:
                road.acks.put_nowait(ack(spool, (batch.first, batch.last)))
            await clock.run_for(REMIND)
        assert publisher.outgoing.backfill is None
        numbers = sorted(seq_of(line) for batch in road.batches for line in batch.lines)
        assert numbers == list(range(1, count + 6)), "each once"


async def test_waits_longer_each_time_and_no_longer_than_needed(tmp_path: Path) -> None:
    async with publishing(tmp_path, 2 * BATCH_LINES) as (clock, spool, publisher, road):
        await clock.run_for(120.0)
        assert 6 <= publisher.outgoing.resent <= 14, "two batches, sent again after 5, 10, 20, 30, 30, … s"
        seen = len(road.batches)
        road.acks.put_nowait(ack(spool, (1, BATCH_LINES)))
        await clock.run_for(RESEND + 2.0)
        assert [batch.first for batch in road.batches[seen:]][:1] == [BATCH_LINES + 1], "the road works again"


async def test_sends_again_what_nobody_acknowledged(tmp_path: Path) -> None:
    async with publishing(tmp_path, 10) as (clock, spool, publisher, road):
        await clock.run_for(1.0)
        road.acks.put_nowait(ack(spool, (1, 4)))
        await clock.run_for(RESEND + 1.0)
        assert [(batch.first, batch.last) for batch in road.batches] == [(1, 10), (5, 10)]
        assert publisher.outgoing.resent == 1


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        (b'{"version": 1', "no acknowledgement"),
        (Ack("f" * 32, [(1, 10)], (), "a bridge").encode(), "for epoch"),
        (Ack("f" * 32, [(1, 10)]).encode(), "names no bridge"),
        (b"[]", "no acknowledgement"),
        (b"\xff", "no acknowledgement"),
    ],
)
async def test_wrong_ack_changes_nothing(
    tmp_path: Path, said: bytes, complaint: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with publishing(tmp_path, 10) as (clock, spool, _, road):
        await clock.run_for(0.1)
        road.acks.put_nowait(said)
        await clock.run_for(0.1)
        assert spool.ledger == Ledger(10, 0, 10, 0, 0)
        assert complaint in caplog.text


async def test_ack_beyond_what_was_sent_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with publishing(tmp_path, 10) as (clock, spool, _, road):
        await clock.run_for(0.1)
        road.acks.put_nowait(ack(spool, (1, 11)))
        await clock.run_for(0.1)
        assert spool.ledger.spooled == 10
        assert "names record 11, which was not sent" in caplog.text


async def test_rejected_record_goes_to_quarantine_with_the_words_of_the_database(tmp_path: Path) -> None:
    async with publishing(tmp_path, 10) as (clock, spool, _, road):
        await clock.run_for(0.1)
        road.acks.put_nowait(ack(spool, (1, 6), (8, 10), rejected=(Rejection(7, "field type conflict"),)))
        await clock.run_for(0.1)
        assert spool.ledger == Ledger(10, 9, 0, 1, 0)


async def test_new_connection_sends_again_what_was_under_way(tmp_path: Path) -> None:
    async with publishing(tmp_path, 10) as (clock, _, publisher, road):
        await clock.run_for(0.1)
        second = Road()
        task = asyncio.create_task(publisher.serve(second))  # type: ignore[arg-type]
        await clock.run_for(0.1)
        task.cancel()
        await clock.finish(task)
        assert (
            [(batch.first, batch.last) for batch in second.batches]
            == [(1, 10)]
            == [(batch.first, batch.last) for batch in road.batches]
        )


@pytest.mark.parametrize("seed", range(5))
async def test_a_road_that_loses_doubles_and_reorders_ends_with_everything_stored_once(
    tmp_path: Path, seed: int
) -> None:
    dice, database = random.Random(seed), dict[int, bytes]()
    count = BATCH_LINES * 8
    async with publishing(tmp_path, count) as (clock, spool, _, road):
        seen = 0
        for _ in range(200):
            batches, seen = road.batches[seen:], len(road.batches)
            dice.shuffle(batches)
            for batch in batches:
                if dice.random() < 0.3:
                    continue
                database.update((seq_of(line), line) for line in batch.lines)
                for _ in range(dice.choice([0, 1, 1, 2])):
                    road.acks.put_nowait(ack(spool, (batch.first, batch.last)))
            await clock.run_for(RESEND + 1.0)
            if not spool.ledger.spooled:
                break
        assert spool.ledger == Ledger(count, count, 0, 0, 0)
    assert sorted(database) == list(range(1, count + 1))


async def until(clock: JumpingClock, said: Callable[[], bool]) -> None:
    async with asyncio.timeout(5.0):
        while not said():
            await clock.run_for(0.1)
            await asyncio.sleep(0.001)  # the thread of the spool works


async def test_connection_that_breaks_while_the_disk_is_read_costs_no_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daq.spool.queue.RECENT", 0)
    spool, clock, roads = await filled(tmp_path / "s.sqlite", 10), JumpingClock(), [Road(), Road(), Road()]
    publisher = Publisher("lab", spool, clock, dict)
    for number, road in enumerate(roads):
        with monkeypatch.context() as patched:
            if number == 1:
                spool._ahead.clear()
                patched.setattr(spool._writer, "read", lambda *_: asyncio.Event().wait())
            task = asyncio.create_task(publisher.serve(road))  # type: ignore[arg-type]  # Road has what a Connection has
            if number == 1:
                await clock.run_for(0.1)
            else:
                await until(clock, lambda road=road: bool(road.batches))  # type: ignore[misc]
            task.cancel()
            await asyncio.wait([task])
    assert [[(batch.first, batch.last) for batch in road.batches] for road in roads] == [[(1, 10)], [], [(1, 10)]]
    await spool.close()


async def test_recall_while_the_sender_reads_the_disk_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daq.spool.queue.RECENT", 0)
    async with publishing(tmp_path, 10) as (clock, spool, publisher, road):
        await until(clock, lambda: bool(road.batches))
        road.acks.put_nowait(ack(spool, (1, 10)))
        await until(clock, lambda: spool.ledger.stored == 10)
        read, may_read = spool._writer.read, asyncio.Event()

        async def slow_read(first: int, last: int) -> dict[int, bytes]:
            await may_read.wait()
            return await read(first, last)

        monkeypatch.setattr(spool._writer, "read", slow_read)
        for number in range(10, 15):
            spool.put(reading(number))
        await spool.flush()
        await clock.run_for(0.1)
        assert await spool.recall(0, 2**62) == 10
        publisher.rescan()
        may_read.set()
        await until(clock, lambda: sum(len(batch.lines) for batch in road.batches) >= 25)
        assert {seq_of(line) for batch in road.batches[1:] for line in batch.lines} == set(range(1, 16))


async def test_status_and_live_values(tmp_path: Path) -> None:
    async with publishing(tmp_path, 1) as (clock, _, publisher, road):
        publisher.live.show(reading(5))
        publisher.live.show(reading(6))
        await clock.run_for(0.5)
        live = [json.loads(payload) for name, payload in road.other if name == "daq/1/lab/live/balance/mass"]
        assert [(one["value"], one["text"], one["unit"], one["status"]) for one in live] == [(6.0, "6", "g", "good")]
        assert ("daq/1/lab/status", b'{"state": "online"}') in road.other
    topic, will = publisher.will
    assert (topic, json.loads(will)["state"]) == ("daq/1/lab/status", "offline")
