"""What spool and publisher report becomes events that say what happened, since when, and how many records it cost."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from daq.road.batch import Rejection
from daq.road.reading import EventKind
from daq.station.announcements import Announcements
from daq.station.records import Station
from tests.followed import SECOND, Records
from tests.jumping_clock import JumpingClock

if TYPE_CHECKING:
    from daq.road.reading import Event


class Lab:
    """A spool and a publisher that only have the callbacks."""

    def __init__(self) -> None:
        self.clock, self.records = JumpingClock(), Records()
        self.begun = 0
        spool: Any = SimpleNamespace(damage="")
        publisher: Any = SimpleNamespace(begin_epoch=self._begin)
        self.spool, self.publisher = spool, publisher
        Announcements(Station("lab", self.records, self.clock), spool, publisher)

    def _begin(self) -> None:
        self.begun += 1

    def only(self, kind: EventKind) -> Event:
        (event,) = self.records.events(kind)
        return event


async def test_disk_that_refuses_is_one_event_with_its_time_when_it_writes_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lab = Lab()
    lab.spool.on_trouble("")
    began = lab.clock.utc_ns()
    lab.spool.on_trouble("No space left on device")
    assert "No space left on device; records wait in memory" in caplog.text
    await lab.clock.run_for(30.0)
    lab.spool.on_trouble("Input/output error")
    await lab.clock.run_for(30.0)
    assert not lab.records, "it is told when it is over: an event would wait in the same queue"
    lab.spool.on_trouble("")
    lab.spool.on_trouble("")
    event = lab.only(EventKind.DISK)
    assert "No space left on device; it writes again" in event.text
    assert (event.at, event.until) == (began, began + 60 * SECOND)
    lab.spool.on_trouble("again")
    lab.spool.on_trouble("")
    assert [one.text.count("again; it writes") for one in lab.records.events(EventKind.DISK)] == [0, 1]


def test_dropped_records_are_counted() -> None:
    lab = Lab()
    lab.spool.on_drop(11, 20)
    event = lab.only(EventKind.DROP)
    assert event.missed == 10
    assert "11 to 20 were dropped" in event.text


@pytest.mark.parametrize(
    ("count", "named"), [(1, "1"), (10, "1, 2, 3, 4, 5, 6, 7, 8, 9, 10"), (11, "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, …")]
)
def test_damaged_records_are_counted_and_the_first_ten_named(count: int, named: str) -> None:
    lab = Lab()
    lab.spool.on_lost(list(range(1, count + 1)))
    event = lab.only(EventKind.QUARANTINE)
    assert event.missed == count
    assert event.text == f"{count} records are damaged on the disk and are in quarantine: {named}"


@pytest.mark.parametrize(("others", "words"), [(0, "record 7:"), (1, "record 7, and 1 more:"), (4, "7, and 4 more:")])
def test_rejected_records_are_counted_with_the_words_of_the_database(others: int, words: str) -> None:
    lab = Lab()
    lab.publisher.on_rejected([Rejection(7, "field type conflict"), *[Rejection(9, "other")] * others])
    event = lab.only(EventKind.QUARANTINE)
    assert event.missed == 1 + others
    assert f"{words} field type conflict" in event.text


def test_long_words_of_a_database_are_cut() -> None:
    lab = Lab()
    lab.publisher.on_rejected([Rejection(7, "x" * 5_000)])
    assert len(lab.only(EventKind.QUARANTINE).text) == 1_000


async def test_ignored_acknowledgements_are_told_once_a_minute_with_their_number() -> None:
    lab = Lab()
    lab.publisher.on_strange_ack("it names no bridge")
    for _ in range(4):
        await lab.clock.run_for(10.0)
        lab.publisher.on_strange_ack("another")
    await lab.clock.run_for(20.0)
    lab.publisher.on_strange_ack("the last one")
    await lab.clock.run_for(59.0)
    lab.publisher.on_strange_ack("one more")
    await lab.clock.run_for(1.0)
    lab.publisher.on_strange_ack("at last")
    assert [one.text for one in lab.records.events(EventKind.ACK)] == [
        "1 acknowledgements ignored: it names no bridge",
        "5 acknowledgements ignored: the last one",
        "2 acknowledgements ignored: at last",
    ]


@pytest.mark.parametrize("damage", ["", "spool.sqlite was damaged"])
def test_new_epoch_is_told_and_the_publisher_begins_anew(damage: str) -> None:
    lab = Lab()
    lab.spool.damage = damage
    lab.spool.on_new_epoch()
    assert lab.begun == 1
    assert lab.only(EventKind.DAMAGE).text == (damage or "the spool has a new file, and a new epoch")


def test_records_read_from_a_damaged_file_are_counted() -> None:
    lab = Lab()
    lab.spool.on_salvaged("spool.sqlite.damaged", 12)
    text = lab.only(EventKind.DAMAGE).text
    assert text == "12 records that were not stored yet were read from spool.sqlite.damaged"
