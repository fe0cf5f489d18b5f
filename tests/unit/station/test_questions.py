"""What a running station answers to the commands on its machine, over a real spool."""

from __future__ import annotations

from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from daq.road.batch import Ack, Rejection
from daq.road.point import seq_of
from daq.road.reading import EventKind
from daq.spool.queue import Ledger, SpoolError
from daq.station.control import Denied
from daq.station.questions import Questions, row_of
from daq.station.records import Station
from tests.followed import Records
from tests.jumping_clock import JumpingClock
from tests.spools import filled, reading

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from daq.spool.queue import Spool

FIRST = reading(0).at


class Lab:
    def __init__(self, spool: Spool) -> None:
        self.spool, self.records, self.scans = spool, Records(), 0
        publisher: Any = SimpleNamespace(rescan=self._scan)
        monitor: Any = SimpleNamespace(status=lambda: {"state": "online"})
        station = Station("lab", self.records, JumpingClock())
        self.handlers = Questions(station, spool, publisher, monitor).handlers()

    def _scan(self) -> None:
        self.scans += 1

    async def ask(self, what: str, **values: object) -> dict[str, Any]:
        return await self.handlers[what](values)

    @property
    def said(self) -> list[str]:
        return [one.text for one in self.records.events(EventKind.REPLAY)]


@asynccontextmanager
async def lab(folder: Path, count: int = 10) -> AsyncIterator[Lab]:
    """Ten records: 1 to 6 and 8 are stored, 7 and 9 rejected, 10 waits."""
    spool = await filled(folder / "s.sqlite", count)
    rejected = [Rejection(7, "field type conflict"), Rejection(9, "too old")]
    spool.acknowledge(Ack(spool.epoch, [(1, 6), (8, 8)], rejected, "a bridge"))
    await spool.flush()
    await spool.do(lambda _: None)
    try:
        yield Lab(spool)
    finally:
        await spool.close()


async def test_quarantine_shows_number_reason_and_record(tmp_path: Path) -> None:
    async with lab(tmp_path) as made:
        rows = (await made.ask("quarantine"))["rows"]
    assert [(row["seq"], row["reason"]) for row in rows] == [(7, "field type conflict"), (9, "too old")]
    assert all(row["at_ns"] > FIRST + 100 for row in rows), "when it was rejected, not when it was read"
    assert "S S          6.00 g" in rows[0]["line"]


async def test_released_records_wait_again_and_are_sent(tmp_path: Path) -> None:
    async with lab(tmp_path) as made:
        assert await made.ask("release", first=7, last=7) == {"released": 1}
        assert made.spool.ledger == Ledger(10, 7, 2, 1, 0)
        assert made.said == ["1 records of 7 to 7 were taken out of quarantine to be sent again"]
        assert made.scans == 1
        assert await made.ask("release", first=1, last=6) == {"released": 0}
        assert (len(made.said), made.scans) == (1, 1), "nothing to tell, nothing to send"


async def test_stored_records_of_a_time_are_sent_again(tmp_path: Path) -> None:
    async with lab(tmp_path) as made:
        assert await made.ask("replay", start=FIRST + 2, end=FIRST + 5) == {"recalled": 3}
        assert made.spool.ledger == Ledger(10, 4, 4, 2, 0)
        assert made.said == ["3 stored records are sent again"]
        assert made.scans == 1
        assert await made.ask("replay", start=0, end=5) == {"recalled": 0}
        assert (len(made.said), made.scans) == (1, 1)


async def test_rows_are_given_in_parts_with_what_proves_them(tmp_path: Path) -> None:
    async with lab(tmp_path, 2_005) as made:
        first = (await made.ask("rows", after=0, start=0, end=2**62))["rows"]
        assert len(first) == 2_000
        rest = (await made.ask("rows", after=2_000, start=0, end=2**62))["rows"]
        assert [row[0] for row in rest] == [2_001, 2_002, 2_003, 2_004, 2_005]
        some = (await made.ask("rows", after=0, start=FIRST + 3, end=FIRST + 5))["rows"]
        assert [(row[0], row[1]) for row in some] == [(4, FIRST + 3), (5, FIRST + 4)]
        assert [seq_of(row[2].encode("latin-1")) for row in some] == [4, 5]
        assert all(isinstance(row[3], int) and len(bytes.fromhex(row[4])) == 32 for row in some)
        assert (await made.ask("bounds"))["head_digest"] == rest[-1][4]


async def test_bounds_say_what_the_file_has(tmp_path: Path) -> None:
    async with lab(tmp_path) as made:
        said = await made.ask("bounds")
        assert (said["epoch"], said["head"], said["stored"]) == (made.spool.epoch, 10, [(1, 6), (8, 8)])
        assert said["head_digest"] == made.spool.head[1].hex()
        assert said["dropped"] == []
        assert len(bytes.fromhex(said["start_digest"])) == 32
        assert said["start"] in {0, 1}


async def test_dropped_records_have_the_link_of_the_chain_where_it_is_known(tmp_path: Path) -> None:
    bounds = SimpleNamespace(
        epoch="e", start=1, start_digest=b"\1", head=9, head_digest=b"\2", dropped=[(1, 2, b"\3"), (4, 5, None)]
    )
    async with lab(tmp_path) as made:

        async def do(run: Any) -> Any:
            return run(SimpleNamespace(bounds=bounds, stored=[(6, 7)]))

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(made.spool, "do", do)
            said = await made.ask("bounds")
    assert said == {
        "epoch": "e",
        "start": 1,
        "start_digest": "01",
        "head": 9,
        "head_digest": "02",
        "dropped": [[1, 2, "03"], [4, 5, None]],
        "stored": [(6, 7)],
    }


async def test_status(tmp_path: Path) -> None:
    async with lab(tmp_path) as made:
        assert await made.ask("status") == {"status": {"state": "online"}}


@pytest.mark.parametrize(
    ("what", "values", "named"),
    [
        ("release", {"first": 1}, "first, last"),
        ("release", {"first": "a", "last": 2}, "first, last"),
        ("replay", {"start": None, "end": 2}, "start, end"),
        ("rows", {"after": 1e400, "start": 1, "end": 2}, "after, start, end"),
        ("rows", {"after": 1e30, "start": 1, "end": 2}, "after, start, end"),
        ("release", {"first": 1, "last": 2**63}, "first, last"),
        ("replay", {"start": -(2**63) - 1, "end": 2}, "start, end"),
    ],
)
async def test_wrong_question_is_denied_with_what_it_must_have(
    tmp_path: Path, what: str, values: dict[str, Any], named: str
) -> None:
    async with lab(tmp_path) as made:
        with pytest.raises(Denied, match=f"whole numbers {named}"):
            await made.ask(what, **values)


async def test_a_question_that_cannot_be_done_costs_the_station_nothing(tmp_path: Path) -> None:
    """Whatever a question makes the file raise belongs to who asked; the writer goes on."""
    async with lab(tmp_path) as made:
        with pytest.raises(OverflowError):
            await made.spool.do(lambda _: int(1e400))
        made.spool.put(reading(11))
        await made.spool.flush()
        assert await made.ask("bounds")


async def test_disk_that_refuses_denies_the_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(_: object) -> None:
        raise SpoolError("the disk is gone")

    async with lab(tmp_path) as made:
        monkeypatch.setattr(made.spool, "do", refuse)
        with pytest.raises(Denied, match="the disk is gone"):
            await made.ask("quarantine")
        monkeypatch.undo()


def test_row_without_its_record_says_none() -> None:
    row = {"seq": 7, "at_ns": 5, "reason": "damaged"}
    assert row_of(7, 5, "damaged", None) == row | {"line": None}
    assert row_of(7, 5, "damaged", b"a\xff") == row | {"line": "a\N{REPLACEMENT CHARACTER}"}
