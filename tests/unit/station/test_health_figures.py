"""Every figure of the status and of the health record, from a station whose parts a test writes down."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest

from daq import __version__
from daq.road.reading import Health
from daq.spool.queue import Ledger
from daq.station.health import in_words
from tests.unit.station.test_health import EACH, LIMIT, Lab


def follower(name: str, **more: Any) -> SimpleNamespace:
    return SimpleNamespace(
        **{
            "name": name,
            "follower": None,
            "state": "reading",
            "readings": 10,
            "errors": 2,
            "missed": 3,
            "restarts": 4,
            "last_at": 5,
            "last_error": "no answer",
        }
        | more
    )


async def test_status_says_where_every_record_is_and_how_full_the_spool_is() -> None:
    lab = Lab()
    await lab.clock.run_for(12.34)
    lab.spool.ledger, lab.spool.committed = Ledger(1_000, 700, 250, 30, 20), 1_000
    lab.spool.used, lab.spool.limit, lab.spool.capacity = 4_096, 2 * LIMIT, LIMIT
    lab.spool.trouble, lab.spool.full = "No space left on device", True
    lab.spool.oldest_waiting = 77
    lab.monitor.sync_s = 0.0123456
    status = lab.monitor.status()
    assert {key: status[key] for key in ("acquired", "stored", "spooled", "quarantined", "dropped")} == {
        "acquired": 1_000,
        "stored": 700,
        "spooled": 250,
        "quarantined": 30,
        "dropped": 20,
    }
    assert status["spool"] == {
        "used_bytes": 4_096,
        "waiting_bytes": 25_000,
        "limit_bytes": 2 * LIMIT,
        "capacity_bytes": LIMIT,
        "full_in_s": None,
        "oldest_waiting_ns": 77,
        "records_per_s": 0.0,
        "sync_ms": 12.346,
        "full": True,
        "trouble": "No space left on device",
    }
    assert (status["station"], status["state"], status["version"]) == ("lab", "online", __version__)
    assert (status["host"], status["epoch"]) == (socket.gethostname(), "e" * 32)
    assert (status["at_ns"], status["uptime_s"]) == (lab.clock.utc_ns(), 12.3)
    assert (status["backfill"], status["clock"]) == (None, {"synchronised": None})
    lab.spool.oldest_waiting = 0
    assert lab.monitor.status()["spool"]["oldest_waiting_ns"] is None


async def test_rate_is_that_of_the_last_minute() -> None:
    lab = Lab()
    assert lab.monitor.rate == 0.0
    assert lab.monitor.full_in is None
    for _ in range(300):
        await lab.clock.run_for(0.5)
        lab.spool.committed += 5
        assert lab.monitor.rate == pytest.approx(10.0, rel=0.02)
    for _ in range(61):
        await lab.clock.run_for(1.0)
        rate = lab.monitor.rate
    assert rate == pytest.approx(0.0, abs=0.2), "what was before the minute counts no more"
    assert 60 <= len(lab.monitor._acquired) <= 63, "a sample a second"


async def test_rate_of_a_station_that_is_asked_seldom() -> None:
    lab = Lab()
    assert lab.monitor.rate == 0.0
    for _ in range(4):
        await lab.clock.run_for(600.0)
        lab.spool.committed += 1_200
        assert lab.monitor.rate == pytest.approx(2.0)
    lab.spool.committed = 0  # another epoch
    await lab.clock.run_for(600.0)
    assert lab.monitor.rate == 0.0


async def test_time_until_the_spool_is_full() -> None:
    lab = Lab()
    await lab.hold(0, 0.0)
    await lab.hold(1_000, 10.0)
    assert lab.monitor.rate == pytest.approx(100.0)
    expected = (LIMIT - 1_000 * EACH) / (100.0 * EACH)
    assert lab.monitor.full_in == pytest.approx(expected)
    status = lab.monitor.status()["spool"]
    assert (status["full_in_s"], status["records_per_s"]) == (90, 100.0)
    assert lab.monitor.record().numbers["full_in_s"] == 90.0
    assert isinstance(lab.monitor.record().numbers["full_in_s"], float)
    await lab.hold(20_000, 10.0)
    assert lab.monitor.full_in == 0.0, "never less than nothing"


async def test_rate_is_told_to_one_tenth() -> None:
    lab = Lab()
    assert lab.monitor.rate == 0.0
    await lab.clock.run_for(3.0)
    lab.spool.committed += 1
    assert lab.monitor.status()["spool"]["records_per_s"] == 0.3


async def test_backlog_and_acknowledgements_are_in_the_status() -> None:
    lab = Lab()
    publisher: Any = lab.monitor._publisher
    publisher.outgoing.backfill = SimpleNamespace(left=900, total=1_000, rate=12.6)
    publisher.outgoing.resent, publisher.strange_acks = 7, 8
    status = lab.monitor.status()
    assert status["backfill"] == {"left": 900, "of": 1_000, "records_per_s": 13}
    assert (status["resent_batches"], status["strange_acks"]) == (7, 8)


async def test_health_record_counts_all_instruments() -> None:
    lab = Lab()
    lab.supervisor.followers = {"a": follower("a"), "b": follower("b", errors=20, restarts=0)}
    publisher: Any = lab.monitor._publisher
    publisher.outgoing.resent = 7
    lab.spool.used, lab.spool.ledger = 4_096, Ledger(1_000, 700, 250, 30, 20)
    lab.station.missed, lab.station.doubts = 11, 12
    lab.monitor.state = "draining"
    await lab.clock.run_for(61.26)
    record = lab.monitor.record()
    assert isinstance(record, Health)
    assert record.at == lab.clock.utc_ns()
    assert record.numbers == {
        "uptime_s": 61.3,
        "acquired": 1_000,
        "stored": 700,
        "spooled": 250,
        "quarantined": 30,
        "dropped": 20,
        "spool_bytes": 4_096,
        "waiting_bytes": 25_000,
        "resent_batches": 7,
        "errors": 22,
        "missed": 11,
        "doubts": 12,
        "restarts": 4,
        "head_seq": 0,
    }
    assert lab.monitor.status()["state"] == "draining"


@pytest.mark.parametrize(("follows", "number"), [(True, 1), (False, 0)])
def test_state_of_the_clock_is_in_both(follows: bool, number: int) -> None:
    lab = Lab()
    assert "clock_synchronised" not in lab.monitor.record().numbers
    lab.station.synchronised = follows
    assert lab.monitor.record().numbers["clock_synchronised"] == number
    assert lab.monitor.status()["clock"] == {"synchronised": follows}


def test_instrument_that_is_not_made_has_its_counts_and_the_reason() -> None:
    lab = Lab()
    lab.supervisor.followers = {"a": follower("a", state="failing", last_error="KeyError: 'x'")}
    assert lab.monitor.status()["instruments"] == {
        "a": {
            "state": "failing",
            "serial": None,
            "expected_serial": None,
            "identified": False,
            "proven": "not identified",
            "prove_every_s": None,
            "readings": 10,
            "errors": 2,
            "missed": 3,
            "restarts": 4,
            "doubts": 0,
            "last_doubt": "",
            "last_at_ns": 5,
            "last_error": "KeyError: 'x'",
        }
    }


async def test_alarm_at_exactly_a_level_and_its_end_below_forty_per_cent() -> None:
    lab = Lab()
    await lab.hold(4_999, 1e6)
    assert not lab.said
    await lab.hold(5_000, 1e6)
    assert [text.partition(":")[0] for text in lab.said] == ["the spool is 50 % full"]
    await lab.hold(4_000, 1e6)
    assert len(lab.said) == 1
    await lab.hold(3_999, 1e6)
    assert lab.said[1].startswith("the spool has room again: 40 % full, 3999 records wait")
    await lab.hold(3_998, 1e6)
    assert len(lab.said) == 2, "once"
    await lab.hold(9_500, 1e6)
    assert lab.said[2].startswith("the spool is 95 % full: 9500 records wait")


async def test_full_spool_into_which_nothing_comes_has_no_forecast() -> None:
    lab = Lab()
    lab.spool.ledger = Ledger(6_000, 0, 6_000, 0, 0)
    lab.monitor.raise_alarms()
    assert lab.said == ["the spool is 60 % full: 6000 records wait; no records come at this moment"]


async def test_spool_without_any_room_is_full_and_not_an_error() -> None:
    lab = Lab()
    lab.spool.capacity = 0
    lab.spool.ledger = Ledger(1, 0, 1, 0, 0)
    lab.monitor.raise_alarms()
    assert lab.said[0].startswith("the spool is 10000 % full")


async def test_alarm_for_age_is_said_once_and_by_the_limit_of_the_config() -> None:
    lab = Lab()
    lab.monitor.alarm_after = 60.0
    lab.spool.oldest_waiting = lab.clock.utc_ns()
    for _ in range(4):
        await lab.hold(10, 20.0)
    assert lab.said == ["the oldest record has waited for 80 s: 10 records wait"]
    for _ in range(4):
        await lab.hold(10, 20.0)
    assert len(lab.said) == 1
    lab.spool.oldest_waiting = lab.clock.utc_ns()
    for _ in range(4):
        await lab.hold(5, 10.0)
    assert lab.said[1:] == ["no record waits for long any more: 5 records wait"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (119.0, "119 s"),
        (120.0, "2 min"),
        (3_599.0, "60 min"),
        (3_600.0, "1.0 h"),
        (86_399.0, "24.0 h"),
        (86_400.0, "1.0 d"),
    ],
)
def test_times_in_words_change_their_unit_at_its_length(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
