"""What the publisher says of itself, and what it makes of acknowledgements, right and strange."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

from daq.road.batch import Ack, Rejection
from daq.road.mqtt import BrokerLost
from daq.spool.queue import Ledger, Spool, SpoolError
from daq.station.publisher import Publisher
from tests.jumping_clock import JumpingClock
from tests.spools import filled, reading
from tests.unit.station.test_publisher import Road, ack, publishing, until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pytest


class Noted(Road):
    """Notes how each message is published, and when."""

    def __init__(self, clock: JumpingClock) -> None:
        super().__init__()
        self.clock = clock
        self.how: list[tuple[float, str, int, bool]] = []
        self.breaks = False

    async def publish(self, name: str, payload: bytes, qos: int = 1, *, retain: bool = False) -> None:
        if self.breaks:
            raise BrokerLost("broken")
        self.how.append((self.clock.monotonic(), name, qos, retain))
        await super().publish(name, payload, qos, retain=retain)


async def at_once(clock: JumpingClock, road: Road, count: int) -> None:
    """Wait until so many batches were sent, while the clock stands still."""
    async with asyncio.timeout(5.0):
        while len(road.batches) < count:
            await clock.run_for(0.0)
            await asyncio.sleep(0.001)  # the thread of the spool works


async def test_records_and_status_need_a_receipt_and_only_the_status_is_retained(tmp_path: Path) -> None:
    spool, clock = await filled(tmp_path / "s.sqlite", 10), JumpingClock()
    publisher, road = Publisher("lab", spool, clock, lambda: {"state": "online"}), Noted(clock)
    connection: Any = road
    before = publisher.connected
    task = asyncio.create_task(publisher.serve(connection))
    await clock.run_for(9.0)
    assert (before, publisher.connected) == (False, True)
    assert {(name, qos, retain) for _, name, qos, retain in road.how} == {
        ("daq/1/lab/data", 1, False),
        ("daq/1/lab/status", 1, True),
    }
    instants = [round(at - 1_000, 3) for at, name, *_ in road.how if name.endswith("status")]
    assert instants == [0, 2, 4, 6, 8]
    count = len(road.how)
    await publisher.publish_last_status()
    assert [one[1:] for one in road.how[count:]] == [("daq/1/lab/status", 1, True)]
    road.breaks = True
    await publisher.publish_last_status()
    task.cancel()
    await asyncio.wait([task])
    assert not publisher.connected
    count = len(road.how)
    road.breaks = False
    await publisher.publish_last_status()
    assert len(road.how) == count, "there is no connection"
    await spool.close()


async def test_new_records_are_sent_at_once(tmp_path: Path) -> None:
    async with publishing(tmp_path, 1) as (clock, spool, _, road):
        await clock.run_for(0.0)
        spool.put(reading(1))
        await spool.flush()
        await clock.run_for(0.0)
        assert [(one.first, one.last) for one in road.batches] == [(1, 1), (2, 2)]


async def test_strange_acknowledgements_are_counted_and_handed_on(tmp_path: Path) -> None:
    async with publishing(tmp_path, 10) as (clock, spool, publisher, road):
        told: list[str] = []
        publisher.on_strange_ack = told.append
        await clock.run_for(0.1)
        for said in (b"{", Ack(spool.epoch, [(1, 1)]).encode(), ack(spool, (1, 1), epoch="f" * 32)):
            road.acks.put_nowait(said)
        road.acks.put_nowait(ack(spool, rejected=(Rejection(11, "why"),)))
        await clock.run_for(0.1)
        assert publisher.strange_acks == 4
        assert spool.ledger == Ledger(10, 0, 10, 0, 0)
        assert told[0].startswith("no acknowledgement")
        assert told[1:] == [
            "it names no bridge",
            f"it is for epoch {'f' * 32}, this spool is {spool.epoch}",
            "it names record 11, which was not sent",
        ]
        road.acks.put_nowait(ack(spool, (1, 10)))
        await clock.run_for(0.1)
        assert (publisher.strange_acks, spool.ledger.stored) == (4, 10)


async def test_rejected_records_are_told_once_for_each_acknowledgement(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with publishing(tmp_path, 10) as (clock, spool, publisher, road):
        told: list[Sequence[Rejection]] = []
        publisher.on_rejected = told.append
        await clock.run_for(0.1)
        road.acks.put_nowait(ack(spool, (1, 5)))
        rejected = (Rejection(6, "field type conflict"), Rejection(7, "too old"))
        road.acks.put_nowait(ack(spool, (8, 10), rejected=rejected))
        await clock.run_for(0.1)
        assert [tuple(one) for one in told] == [rejected]
        assert spool.ledger == Ledger(10, 8, 0, 2, 0)
        errors = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
        assert errors == [
            "the database rejects record 6 permanently: field type conflict",
            "the database rejects record 7 permanently: too old",
        ]


async def test_progress_is_noted_while_nothing_is_to_be_sent(tmp_path: Path) -> None:
    async with publishing(tmp_path, 10) as (clock, spool, publisher, road):
        await clock.run_for(0.1)
        road.acks.put_nowait(ack(spool, (1, 10)))
        for _ in range(5):
            await clock.run_for(10.0)
            assert clock.monotonic() - publisher.progress <= 1.1


async def test_disk_that_cannot_be_read_now_is_asked_again_and_ends_no_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, left = Spool.run_from, 3

    async def refuse(spool: Spool, start: int, lines: int) -> Any:
        nonlocal left
        if left:
            left -= 1
            raise SpoolError("Input/output error")
        return await real(spool, start, lines)

    monkeypatch.setattr(Spool, "run_from", refuse)
    async with publishing(tmp_path, 10) as (clock, _, publisher, road):
        await clock.run_for(10.0)
        assert [(one.first, one.last) for one in road.batches][:1] == [(1, 10)]
        assert caplog.text.count("nothing can be sent now: Input/output error") == 3
        assert publisher.connected


async def test_new_epoch_and_new_search_wake_the_sender(tmp_path: Path) -> None:
    async with publishing(tmp_path, 10) as (clock, spool, publisher, road):
        await clock.run_for(0.1)
        road.acks.put_nowait(ack(spool, (1, 10)))
        await clock.run_for(0.1)
        spool.on_commit = lambda: None
        assert await spool.recall(0, 2**62) == 10
        publisher.rescan()
        await at_once(clock, road, 2)
        publisher.begin_epoch()
        await at_once(clock, road, 3)
        assert [(one.first, one.last) for one in road.batches] == [(1, 10)] * 3


async def test_acknowledgement_makes_room_at_once(tmp_path: Path) -> None:
    async with publishing(tmp_path, 8_000) as (clock, spool, publisher, road):
        publisher.outgoing.window = 2
        await clock.run_for(0.0)
        assert len(road.batches) == 2
        road.acks.put_nowait(ack(spool, (1, 500)))
        await clock.run_for(0.0)
        assert len(road.batches) == 4, "one place is free again, and one is new"


async def test_backlog_is_noted_each_second(tmp_path: Path) -> None:
    async with publishing(tmp_path, 8_600) as (clock, _, publisher, road):
        await until(clock, lambda: len(road.batches) > 5)
        await clock.run_for(1.0)
        assert publisher.outgoing.backfill is not None


async def test_will_is_that_of_the_station(tmp_path: Path) -> None:
    async with publishing(tmp_path, 1) as (_, _, publisher, _):
        topic, payload = publisher.will
        assert topic == "daq/1/lab/status"
        assert json.loads(payload) == {"station": "lab", "state": "offline"}
