"""A spool that fills says so before it is full, and with the time that is left."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from daq.road.reading import EventKind
from daq.spool.queue import Ledger
from daq.station.health import Monitor, in_words, proof_interval, proven
from daq.station.records import Station
from drivers.balances.mt_sics import mt_sics
from drivers.instrument import Instrument
from tests.followed import SECOND, SERIAL, WEIGHT, Records, Wire, running
from tests.jumping_clock import JumpingClock

if TYPE_CHECKING:
    from daq.station.acquisition import Follower

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
        self.supervisor = SimpleNamespace(followers={})
        self.station = Station("lab", self.records, self.clock)
        self.monitor = Monitor(
            self.station, cast("Any", self.spool), cast("Any", publisher), cast("Any", self.supervisor), 3_600.0
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


async def test_doubts_are_counted_with_the_newest_and_so_is_how_far_each_is_proven() -> None:
    lab = Lab()
    asked = [SERIAL]
    async with running(lambda command: asked[0] if command == b"I4\r\n" else WEIGHT) as (clock, _, _, follower):
        lab.supervisor.followers = {"balance": kept(follower), "spoiled": kept(None)}
        await clock.run_for(4.0)
        before = lab.monitor.status()["instruments"]["balance"]
        asked[0] = b'I4 A "B2"\r\n'
        await clock.run_for(4.0)
        status = lab.monitor.status()
    assert (before["serial"], before["identified"], before["doubts"], before["last_doubt"]) == ("B1", True, 0, "")
    assert (before["proven"], before["prove_every_s"]) == ("proven every 5 s", 5.0)
    one = status["instruments"]["balance"]
    assert (one["serial"], one["expected_serial"], one["identified"], one["doubts"]) == ("B2", "B1", False, 1)
    assert "serial number 'B2' answers where 'B1' is expected" in one["last_doubt"]
    lab.station.doubts = follower.station.doubts
    assert lab.monitor.status()["doubts"] == lab.monitor.record().numbers["doubts"] == 1
    assert isinstance(lab.monitor.record().numbers["doubts"], int)
    spoiled = status["instruments"]["spoiled"]
    assert (spoiled["serial"], spoiled["proven"], spoiled["doubts"]) == (None, "not identified", 0)


def test_missed_polls_are_those_of_the_station_also_of_instruments_that_are_gone() -> None:
    lab = Lab()
    lab.monitor._station.missed = 7
    assert lab.monitor.status()["missed"] == lab.monitor.record().numbers["missed"] == 7


@pytest.mark.parametrize(
    ("disturbs", "serial", "prove_every", "words"),
    [
        (False, "B1", 5.0, "proven every 5 s"),
        (False, "B1", 0.5, "proven every 0.5 s"),
        (False, "B1", 31_622_400.0, "proven every 31622400 s"),
        (False, "B1", 0.0, "proven before every reading"),
        (False, "B1", math.inf, "proven at connection only"),
        (True, "B1", 5.0, "proven at connection only"),
        (False, None, 5.0, "not identified"),
        (None, None, 5.0, "not identified"),
    ],
)
def test_how_far_an_instrument_is_proven(
    disturbs: bool | None, serial: str | None, prove_every: float, words: str
) -> None:
    """`disturbs` is None where the driver asks for no serial number."""
    driver = mt_sics()
    assert driver.identity is not None
    identity = None if disturbs is None else replace(driver.identity, disturbs=disturbs)
    clock = JumpingClock()
    link = Wire(clock, lambda _: b"")
    instrument = Instrument("balance", replace(driver, identity=identity), link, serial, prove_every=prove_every)
    assert proven(instrument) == words
    assert proof_interval(instrument) == (prove_every if "every" in words else None)


def kept(follower: Follower | None) -> SimpleNamespace:
    counts = dict.fromkeys(("readings", "errors", "missed", "restarts"), 0)
    return SimpleNamespace(follower=follower, state="reading", last_at=None, last_error="", **counts)


@pytest.mark.parametrize(("seconds", "words"), [(40, "40 s"), (720, "12 min"), (18_000, "5.0 h"), (276_480, "3.2 d")])
def test_times_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
