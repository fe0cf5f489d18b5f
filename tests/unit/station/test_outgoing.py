"""What is sent next: in order, within a window, again where nobody acknowledged it, the newest beside a backlog."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from daq.road.batch import Ack, Rejection
from daq.road.ranges import Ranges
from daq.station.outgoing import Backfill, Outgoing
from tests.jumping_clock import JumpingClock

if TYPE_CHECKING:
    from daq.station.outgoing import Run


class Kept:
    """A spool in memory: every record is a line of `size` bytes, and those of `done` wait no more."""

    def __init__(self, committed: int, size: int = 10) -> None:
        self.committed, self.size, self.done = committed, size, Ranges()

    def is_done(self, first: int, last: int) -> bool:
        return self.done.next_missing(first) > last

    def waiting_from(self, seq: int) -> int:
        return max(0, self.committed - seq + 1) - self.done.count(seq, self.committed)

    def waiting_until(self, seq: int) -> int:
        return seq - 1 - self.done.count(1, seq - 1)

    async def run_from(self, start: int, lines: int) -> tuple[int, list[bytes]] | None:
        first = self.done.next_missing(start)
        if first > self.committed:
            return None
        beyond = self.done.next_present(first) or self.committed + 1
        return first, [b"x" * self.size] * (min(first + lines, beyond, self.committed + 1) - first)


class Sender:
    """Sends all that may be sent, on a clock that jumps."""

    def __init__(self, committed: int, size: int = 10) -> None:
        self.spool, self.clock = Kept(committed, size), JumpingClock()
        spool: Any = self.spool
        self.outgoing = Outgoing(spool, self.clock)
        self.sent: list[tuple[int, int]] = []
        self.runs: list[Run] = []

    async def send(self, at_most: int = 1_000) -> list[tuple[int, int]]:
        """Send while there is room; gives what was sent now."""
        before = len(self.sent)
        while len(self.sent) - before < at_most and self.outgoing.has_room:
            found = await self.outgoing.next_run()
            if found is None:
                break
            run, lines = found
            assert len(lines) == run.last - run.first + 1
            self.outgoing.sending(run)
            self.sent.append((run.first, run.last))
            self.runs.append(run)
        return self.sent[before:]

    def acknowledge(self, *stored: tuple[int, int], rejected: tuple[int, ...] = ()) -> None:
        for first, last in (*stored, *((one, one) for one in rejected)):
            self.spool.done.add(first, last)
        self.outgoing.settle(Ack("e" * 32, list(stored), [Rejection(one, "why") for one in rejected], "a bridge"))

    async def later(self, seconds: float) -> list[tuple[int, int]]:
        """Let time pass, then send again what is late."""
        await self.clock.run_for(seconds)
        self.outgoing.requeue_late()
        return await self.send()


def batches(first: int, count: int, lines: int = 500) -> list[tuple[int, int]]:
    return [(start, start + lines - 1) for start in range(first, first + count * lines, lines)]


async def test_sixteen_batches_of_five_hundred_lines_are_under_way_at_first() -> None:
    made = Sender(8_000)
    assert await made.send() == batches(1, 16)
    assert not made.outgoing.has_room


async def test_last_batch_is_as_long_as_what_waits() -> None:
    made = Sender(503)
    assert await made.send() == [(1, 500), (501, 503)]
    assert made.outgoing.has_room
    made.spool.committed = 504
    assert await made.send() == [(504, 504)]
    assert await made.send() == [], "each once"


async def test_window_grows_by_one_for_each_acknowledged_batch_up_to_64() -> None:
    made = Sender(8_000)
    await made.send()
    for count, (first, last) in enumerate(made.sent[:], 17):
        made.acknowledge((first, last))
        assert made.outgoing.window == count
    for _ in range(3):
        made.spool.committed += 8_000
        for first, last in await made.send():
            made.acknowledge((first, last))
    assert made.outgoing.window == 64


async def test_acknowledgement_of_a_part_leaves_the_rest_under_way() -> None:
    made = Sender(1_000)
    await made.send()
    made.acknowledge((1, 499))
    assert made.outgoing.window == 16
    made.acknowledge(rejected=(500,))
    assert made.outgoing.window == 17, "stored or rejected, no record of it waits"
    made.acknowledge((501, 1_000))
    assert made.outgoing.window == 18
    assert await made.later(100.0) == []


async def test_acknowledgement_that_comes_again_changes_nothing() -> None:
    made = Sender(1_000)
    await made.send()
    for _ in range(3):
        made.acknowledge((1, 500))
    assert made.outgoing.window == 17


async def test_window_is_halved_for_each_look_that_finds_late_batches_down_to_8() -> None:
    made = Sender(30_000)
    made.outgoing.window = 64
    await made.send(60)
    assert made.outgoing.resent == 0
    windows = []
    for _ in range(4):
        await made.later(40.0)
        windows.append(made.outgoing.window)
    assert windows == [32, 16, 8, 8]
    assert made.outgoing.resent == 60 + 32 + 16 + 8


async def test_nothing_is_late_before_five_seconds() -> None:
    made = Sender(1_000)
    await made.send()
    assert await made.later(4.9) == []
    assert made.outgoing.window == 16
    assert await made.later(0.2) == [(1, 500), (501, 1_000)]
    assert made.outgoing.resent == 2
    assert made.outgoing.window == 8


async def test_each_attempt_waits_twice_as_long_as_the_one_before_up_to_thirty_seconds() -> None:
    made = Sender(10)
    await made.send()
    waits = []
    for _ in range(5):
        start = made.clock.monotonic()
        async with asyncio.timeout(20.0):
            while not await made.later(0.05):
                pass
        waits.append(made.clock.monotonic() - start)
    for waited, expected in zip(waits, (5, 10, 20, 30, 30), strict=True):
        assert 0.9 * expected - 0.1 <= waited <= 1.1 * expected + 0.1
    assert waits[0] == pytest.approx(5.0, abs=0.1), "the first is exact"
    assert [run.tries for run in made.runs] == [0, 1, 2, 3, 4, 5]


async def test_stations_do_not_all_send_again_at_the_same_instant() -> None:
    instants = set()
    for _ in range(20):
        made = Sender(10)
        await made.send()
        await made.later(5.0)
        instants.add(round(made.runs[1].due - made.clock.monotonic(), 6))
    assert len(instants) > 10


async def test_road_that_works_again_shortens_the_wait_of_the_others() -> None:
    made = Sender(1_000)
    await made.send()
    for _ in range(4):
        await made.later(40.0)
    made.acknowledge((1, 500))
    assert await made.later(4.9) == []
    assert await made.later(0.2) == [(501, 1_000)]
    assert made.runs[-1].tries == 2, "as after the first attempt"


async def test_only_what_still_waits_of_a_late_batch_is_sent_again() -> None:
    made = Sender(500)
    await made.send()
    made.acknowledge((1, 3), (101, 200), (500, 500))
    assert await made.later(5.0) == [(4, 100), (201, 499)]
    made.acknowledge((4, 100), (201, 499))
    assert await made.later(100.0) == []


async def test_rest_of_a_late_batch_ends_where_the_batch_ended() -> None:
    made = Sender(1_000)
    await made.send()
    made.acknowledge((1, 3))
    assert await made.later(5.0) == [(4, 500), (501, 1_000)]


async def test_backlog_with_a_hole_ends_where_the_newest_began() -> None:
    made = Sender(8_101)
    made.spool.done.add(7_501, 7_550)
    made.outgoing.window = 64
    assert sorted(await made.send())[-3:] == [(7_001, 7_500), (7_551, 7_601), (7_602, 8_101)]


async def test_batch_that_was_dropped_on_the_way_is_no_success_of_the_road() -> None:
    made = Sender(1_500)
    await made.send()
    made.spool.done.add(501, 1_000)
    made.acknowledge((1, 500))
    made.acknowledge((1_001, 1_500))
    assert made.outgoing.window == 18
    assert await made.later(5.0) == []


async def test_late_batch_goes_before_new_records() -> None:
    made = Sender(10)
    await made.send()
    made.spool.committed = 20
    assert await made.later(5.0) == [(1, 10), (11, 20)]


async def test_new_connection_sends_all_again_that_was_under_way() -> None:
    made = Sender(1_200)
    await made.send()
    made.acknowledge((501, 1_000))
    made.outgoing.requeue_all()
    assert await made.send() == [(1, 500), (1_001, 1_200)]
    assert made.outgoing.resent == 0, "it was not late"
    assert [run.tries for run in made.runs[-2:]] == [1, 1]


async def test_long_lines_make_short_batches() -> None:
    made = Sender(300, size=999)
    assert await made.send() == [(1, 201), (202, 300)]
    made.outgoing.requeue_all()
    assert await made.send() == [(1, 201), (202, 300)]


@pytest.mark.parametrize(("count", "sent"), [(200, [(1, 200)]), (202, [(1, 201), (202, 202)])])
async def test_batch_has_200_000_bytes_with_the_end_of_each_line(count: int, sent: list[tuple[int, int]]) -> None:
    """The line with which it becomes longer is still in it."""
    assert await Sender(count, size=999).send() == sent
    made = Sender(3, size=250_000)
    assert await made.send() == [(1, 1), (2, 2), (3, 3)]
    assert await Sender(4, size=66_666).send() == [(1, 3), (4, 4)], "200 001 bytes"


async def test_what_was_never_sent_is_known() -> None:
    made = Sender(1_000)
    await made.send(1)
    unsent = made.outgoing.first_unsent
    assert unsent(1, 500) is None
    assert unsent(500, 500) is None
    assert unsent(1, 501) == 501
    assert unsent(501, 501) == 501
    made.acknowledge((1, 500))
    assert unsent(1, 500) is None, "an acknowledgement may come twice"
    made.outgoing.begin_epoch()
    assert unsent(1, 1) == 1


async def test_new_epoch_begins_with_its_first_record() -> None:
    made = Sender(1_000)
    await made.send()
    made.outgoing.begin_epoch()
    made.spool.committed = 3
    assert await made.send() == [(1, 3)]
    assert await made.later(4.0) == []


async def test_recalled_records_are_found_by_a_new_search() -> None:
    made = Sender(600)
    await made.send()
    made.acknowledge((1, 600))
    made.spool.done.remove(11, 20)
    assert await made.send() == []
    made.outgoing.rescan()
    assert await made.send() == [(11, 20)]
    made.acknowledge((11, 20))
    made.spool.committed = 605
    assert await made.send() == [(601, 605)], "searched once"


async def test_eight_thousand_waiting_records_are_no_backlog() -> None:
    made = Sender(8_000)
    assert (await made.send(1)) == [(1, 500)]
    made.outgoing.note_backfill()
    assert made.outgoing.backfill is None


async def test_newest_records_go_beside_a_backlog_in_four_places_of_the_window() -> None:
    made = Sender(8_001)
    assert await made.send() == [(7_502, 8_001), *batches(1, 12)]
    assert [run.live for run in made.runs] == [True] + [False] * 12
    for last in (8_002, 8_003, 8_004):
        made.spool.committed = last
        assert await made.send() == [(last, last)]
    made.spool.committed = 8_005
    assert await made.send() == [], "the part for the newest is used up"
    made.acknowledge((8_002, 8_002))
    assert await made.send() == [(8_005, 8_005), (6_001, 6_500)], "and a window that has grown by one"
    made.acknowledge((1, 500))
    assert await made.send() == [(6_501, 7_000), (7_001, 7_500)]


async def test_live_batch_that_is_sent_again_stays_one() -> None:
    made = Sender(8_001)
    await made.send(1)
    assert (await made.later(5.0))[0] == (7_502, 8_001)
    assert made.runs[1].live
    made.outgoing.requeue_all()
    await made.send(1)
    assert made.runs[-1].live


async def test_backlog_ends_where_the_newest_began() -> None:
    made = Sender(8_100)
    made.outgoing.window = 64
    sent = await made.send()
    assert sorted(sent)[-2:] == [(7_501, 7_600), (7_601, 8_100)]
    assert len(sent) == 17
    made.outgoing.note_backfill()
    made.spool.committed = 8_110
    assert await made.send() == [(8_101, 8_110)]
    assert not made.runs[-1].live, "in order again"
    made.outgoing.note_backfill()
    assert made.outgoing.backfill is None


async def test_place_that_the_backlog_leaves_is_for_the_newest_in_order() -> None:
    made = Sender(8_001)
    made.outgoing.window = 32
    sent = await made.send()
    assert sent[0] == (7_502, 8_001)
    assert sent[-1] == (7_501, 7_501)
    for last in (8_002, 8_003, 8_004, 8_005, 8_006):
        made.spool.committed = last
        await made.send()
    assert made.sent[-5:] == [(number, number) for number in range(8_002, 8_007)], "more than four: no backlog any more"


async def test_full_part_for_the_newest_does_not_hold_up_the_end_of_a_backlog() -> None:
    made = Sender(8_001)
    made.outgoing.window = 17
    await made.send(1)
    for last in (8_002, 8_003, 8_004):
        made.spool.committed = last
        assert await made.send(1) == [(last, last)]
    made.spool.committed = 8_010
    made.outgoing.window = 64
    sent = await made.send()
    assert sent[-2:] == [(7_501, 7_501), (8_005, 8_010)], "the backlog has ended, and what is new follows at once"


async def test_progress_of_a_backlog_is_noted_and_logged_every_ten_seconds(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    made = Sender(10_500)
    await made.send()
    made.outgoing.note_backfill()
    backfill = made.outgoing.backfill
    assert backfill is not None
    assert (backfill.total, backfill.left, backfill.rate) == (10_000, 10_000, 0.0)
    for seconds in range(1, 21):
        await made.clock.run_for(1.0)
        made.acknowledge((1, 100 * seconds))
        made.outgoing.note_backfill()
    assert made.outgoing.backfill is backfill
    assert (backfill.total, backfill.left) == (10_000, 8_000)
    assert backfill.rate == pytest.approx(100.0)
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "backlog: 10000 of 10000 records left, 0 a second",
        "backlog: 9000 of 10000 records left, 100 a second, about 90 s more",
        "backlog: 8000 of 10000 records left, 100 a second, about 80 s more",
    ]
    made.outgoing.begin_epoch()
    made.outgoing.note_backfill()
    assert getattr(made.outgoing, "backfill") is None  # noqa: B009  # mypy holds it for what it was above
    assert caplog.messages[-1] == "backlog of 10000 records sent in 20.0 s"
    made.outgoing.note_backfill()
    assert len(caplog.messages) == 4


def test_slow_backlog_says_how_long_it_takes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    backfill = Backfill(0.0, 100, 100)
    backfill.update(100.0, 50)
    assert backfill.rate == 0.5
    assert caplog.messages == ["backlog: 50 of 100 records left, 0 a second, about 100 s more"]
