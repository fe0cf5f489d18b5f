"""A spool that fills says so before it is full, and with the time that is left."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from daq.road.reading import EventKind
from daq.spool.queue import Ledger
from daq.station.health import Monitor, in_words
from daq.station.records import Station
from tests.followed import SECOND, Records
from tests.jumping_clock import JumpingClock

LIMIT = 1_000_000
EACH = 100.0


class Lab:
    """A monitor over a spool that holds what a test says."""

    def __init__(self) -> None:
        self.clock, self.records = JumpingClock(), Records()
        self.spool = SimpleNamespace(
            ledger=Ledger(0, 0, 0, 0, 0),
            committed=0,
            bytes_for_each=EACH,
            limit=LIMIT,
            capacity=LIMIT,
            used=0,
            oldest_waiting=0,
            head=(0, b"\0" * 32),
            epoch="e" * 32,
            full=False,
            trouble="",
        )
        publisher = SimpleNamespace(outgoing=SimpleNamespace(backfill=None, resent=0), strange_acks=0)
        supervisor = SimpleNamespace(followers={})
        station = Station("lab", self.records, self.clock)
        self.monitor = Monitor(
            station, cast("Any", self.spool), cast("Any", publisher), cast("Any", supervisor), 3_600.0
        )

    async def hold(self, waiting: int, seconds: float = 5.0) -> None:
        """Let so many records wait after some seconds, and look for alarms."""
        self.monitor.status()
        self.spool.committed += max(0, waiting - self.spool.ledger.spooled)
        self.spool.ledger = Ledger(self.spool.committed, self.spool.committed - waiting, waiting, 0, 0)
        await self.clock.run_for(seconds)
        self.monitor.raise_alarms()

    @property
    def said(self) -> list[str]:
        return [one.text for one in self.records.events(EventKind.FILL)]


async def test_each_level_is_said_once_with_the_time_that_is_left() -> None:
    lab = Lab()
    for waiting in (1_000, 4_900, 5_100, 5_200, 8_100, 9_600):
        await lab.hold(waiting)
    assert [text.split(" full")[0] for text in lab.said] == [
        "the spool is 51 %",
        "the spool is 81 %",
        "the spool is 96 %",
    ]
    assert "full in" in lab.said[0]
    assert lab.monitor.full_in is not None
    assert 0 < lab.monitor.full_in < 10
    await lab.hold(4_500)
    assert len(lab.said) == 3, "a little less is no news"
    await lab.hold(100)
    assert lab.said[3].startswith("the spool has room again: 1 % full")


async def test_record_that_waits_for_long_is_an_alarm_and_its_end_is_said() -> None:
    lab = Lab()
    lab.spool.oldest_waiting = lab.clock.utc_ns() - 3_500 * SECOND
    await lab.hold(10)
    assert not lab.said
    await lab.hold(10, 200.0)
    assert lab.said == ["the oldest record has waited for 1.0 h: 10 records wait"]
    await lab.hold(10)
    lab.spool.oldest_waiting = 0
    await lab.hold(0)
    assert lab.said[1:] == ["no record waits for long any more: 0 records wait"]


def test_head_of_the_chain_is_in_the_record_that_goes_to_the_database() -> None:
    lab = Lab()
    lab.spool.head = (41, bytes(range(32)))
    record = lab.monitor.record()
    assert record.numbers["head_seq"] == 41
    assert record.head == bytes(range(32)).hex()
    assert lab.monitor.status()["head"] == {"seq": 41, "sha256": bytes(range(32)).hex()}


@pytest.mark.parametrize(("seconds", "words"), [(40, "40 s"), (720, "12 min"), (18_000, "5.0 h"), (276_480, "3.2 d")])
def test_times_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
