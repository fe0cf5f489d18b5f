"""What a run that was killed has left in the spool: the next one tells what it had not told."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from daq.road.reading import Doubt, Event, EventKind, Reading
from daq.spool.queue import Spool
from daq.station import run_before
from daq.station.doubts import Doubts
from daq.station.records import Station
from daq.station.run_before import RunBefore
from drivers.errors import Silent
from tests.followed import SECOND, Records, balance
from tests.jumping_clock import JumpingClock
from tests.spools import GIB, filled, reading
from tests.unit.station import test_service
from tests.unit.station.test_service import station

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.station.test_service import Lab

STOP = Event("lab", EventKind.STOP, "asked to stop", 0)


def run_of(spool: Spool) -> RunBefore:
    clock: Any = JumpingClock()
    return RunBefore(Station("lab", spool, clock), spool, spool.head[0], spool.latest_stamp)


async def test_a_stop_is_known_also_where_other_records_stand_behind_it(tmp_path: Path) -> None:
    """The health of a station is recorded once a minute, also while it hands over its last records."""
    spool = await filled(tmp_path / "s.sqlite", 3)
    for number, event in enumerate((STOP, replace(STOP, kind=EventKind.DROP)), 5):
        spool.put(replace(event, at=reading(number).at))
    await spool.close()
    again = Spool(tmp_path / "s.sqlite", GIB)
    assert await run_of(again).stopped_at() == reading(5).at
    assert again.latest_stamp == reading(6).at
    again.put(replace(STOP, kind=EventKind.START, at=reading(7).at))
    await again.close()
    killed = Spool(tmp_path / "s.sqlite", GIB)
    assert await run_of(killed).stopped_at() == 0, "another run has begun since"
    killed.put(replace(STOP, at=reading(8).at))
    killed.put(reading(9))
    await killed.close()
    last = Spool(tmp_path / "s.sqlite", GIB)
    assert await run_of(last).stopped_at() == 0, "it went on reading"
    await last.close()


async def test_what_is_not_whole_is_not_believed(tmp_path: Path) -> None:
    spool = await filled(tmp_path / "s.sqlite", 3)
    spool.put(replace(STOP, at=reading(5).at))
    await spool.close()
    with sqlite3.connect(tmp_path / "s.sqlite") as file:
        file.execute("UPDATE record SET line = replace(CAST(line AS TEXT), 'asked', 'faked') || '' WHERE seq = 4")
        file.execute("UPDATE record SET line = CAST(line AS BLOB) WHERE seq = 4")
    file.close()
    again = Spool(tmp_path / "s.sqlite", GIB)
    assert await run_of(again).stopped_at() == 0
    await again.close()


async def test_polls_are_told_from_the_last_gap_on_that_was_told(tmp_path: Path) -> None:
    """Read at 0, not from 1 to 5, which was told, and not since; the other one is read until 9."""
    zero = 1_700_000_000 * SECOND
    spool = Spool(tmp_path / "s.sqlite", GIB)
    one = reading(0)
    other = replace(one, series=replace(one.series, instrument="other"))
    spool.put(replace(STOP, kind=EventKind.START, at=zero))
    spool.put(replace(one, at=zero + SECOND // 2))
    spool.put(Event("lab", EventKind.GAP, "told", zero + SECOND, "balance", zero + 5 * SECOND, 5))
    for number in range(10):
        spool.put(replace(other, at=zero + number * SECOND + 1))
    await spool.close()
    spool = Spool(tmp_path / "s.sqlite", GIB)
    before, records = run_of(spool), Records()
    before.station.queue = records
    kept: Any = SimpleNamespace(period=1.0, polls=2)
    await before.account({"balance": kept, "other": kept, "never seen": kept})
    assert [(event.instrument, event.missed, event.at) for event in records.events(EventKind.GAP)] == [
        ("balance", 8, zero + 5 * SECOND)
    ]
    assert before.station.missed == 8
    await spool.close()


async def test_what_is_due_while_the_spool_is_looked_through_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell = RunBefore.tell_pause

    async def slow(before: RunBefore, now: int, followers: Any) -> bool:
        clock: Any = before.station.clock
        clock._now += 3.0
        return await tell(before, now, followers)

    monkeypatch.setattr(RunBefore, "tell_pause", slow)
    async with station(tmp_path, monkeypatch, "a", "b") as lab:
        await lab.clock.run_for(5.0)
    assert [(one.instrument, one.missed) for one in lab.events(EventKind.GAP)] == [("a", 3), ("b", 3)]
    assert "nobody followed it yet" in lab.events(EventKind.GAP)[0].text


async def test_first_run_has_none_before(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s.sqlite", GIB)
    before = run_of(spool)
    assert await before.stopped_at() == 0
    assert await before.unproven({"balance": 5.0}) == {}
    await before.account({})
    await spool.close()


@pytest.fixture
def wires(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Give the wires of the instruments by name; those that are made later answer as `answers` says."""
    wires: dict[str, Any] = {}
    make = test_service.made

    def made(name: str, table: Any, given: Any) -> Any:
        instrument = make(name, table, given)
        link: Any = instrument.link
        link.answer = wires.get(f"answers of {name}", balance)
        wires[name] = link
        return instrument

    monkeypatch.setattr(test_service, "made", made)
    return wires


class Killed:
    """A station of `a` and `b` that is killed, and one that goes on with its spool."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, wires: dict[str, Any]) -> None:
        self.folder, self.monkeypatch, self.wires = folder, monkeypatch, wires
        self.first: list[Any] = []
        self.at = self.until = 0

    async def run(self, seconds: float, silent: dict[str, float], other: dict[str, float]) -> None:
        """Run for so long; from their seconds on some are silent, or another instrument answers in their place."""
        alive = self.folder / "alive"
        alive.mkdir()
        async with station(alive, self.monkeypatch, "a", "b") as lab:
            began = lab.clock.monotonic()
            for at, name, answer in sorted(
                [(at, name, self.nobody) for name, at in silent.items()]
                + [(at, name, self.another) for name, at in other.items()],
                key=lambda one: one[0],
            ):
                await lab.clock.run_for(began + at - lab.clock.monotonic())
                self.wires[name].answer = answer
            await lab.clock.run_for(began + seconds - lab.clock.monotonic())
            await lab.service.spool.flush()
            for file in alive.glob("spool.sqlite*"):
                if file.is_file():
                    shutil.copy(file, self.folder / file.name)
            self.first, self.at = list(lab.records), lab.clock.utc_ns()

    async def next_run(self, later: float, seconds: float = 10.0) -> Lab:
        """Go on so many seconds later, with what had been committed when it was killed."""
        clock = JumpingClock(self.at + round(later * SECOND))
        self.monkeypatch.setattr(test_service, "JumpingClock", lambda: clock)
        async with station(self.folder, self.monkeypatch, "a", "b") as lab:
            await lab.clock.run_for(seconds)
            for _ in range(200):  # what is looked up in the spool is looked up by its thread
                await asyncio.sleep(0.001)
            self.until = lab.clock.utc_ns()
        return lab

    @staticmethod
    def nobody(_: bytes) -> bytes:
        raise Silent("no answer")

    @staticmethod
    def another(command: bytes) -> bytes:
        return b'I4 A "B2"\r\n' if command == b"I4\r\n" else balance(command)


def read(records: list[Any], name: str) -> int:
    return sum(isinstance(one, Reading) and one.series.instrument == name for one in records)


def told(records: list[Any], *names: str) -> int:
    kinds = {EventKind.GAP, EventKind.MISSED, EventKind.REFUSE}
    events = [one for one in records if isinstance(one, Event) and one.kind in kinds]
    return sum(one.missed for one in events if one.instrument in names)


@pytest.mark.parametrize("silent_from", [0.0, 2.5, 7.5])
@pytest.mark.parametrize("comes_back", [True, False])
async def test_polls_of_a_silence_that_a_kill_has_cut_off_are_told_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wires: dict[str, Any], silent_from: float, comes_back: bool
) -> None:
    killed = Killed(tmp_path, monkeypatch, wires)
    await killed.run(20.0, {"b": silent_from}, {})
    if not comes_back:
        wires["answers of b"] = killed.nobody
    lab = await killed.next_run(5.0)
    began = next(one.at for one in killed.first if isinstance(one, Event) and one.kind == EventKind.START)
    due = killed.until // SECOND - began // SECOND
    records = [*killed.first, *lab.records]
    together = [one for one in lab.events(EventKind.GAP) if not one.instrument]
    assert sum(one.missed for one in together) == 2 * round((lab.records[0].at - killed.at + 0.3 * SECOND) // SECOND)
    for name in ("a", "b"):
        share = sum(one.missed for one in together) // 2
        assert abs(read(records, name) + told(records, name) + share - due) <= 1, "one may be due at the very end"
    assert (read(lab.records, "b") > 5) is comes_back
    assert lab.service.station.missed == told(lab.records, "", "a", "b")
    own = [one for one in lab.events(EventKind.GAP) if "not told before the station ended" in one.text]
    assert [one.instrument for one in own] == ["b"]
    assert own[0].missed == 20 - int(silent_from)


async def test_nothing_is_told_twice_where_all_were_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wires: dict[str, Any]
) -> None:
    killed = Killed(tmp_path, monkeypatch, wires)
    await killed.run(20.0, {}, {})
    lab = await killed.next_run(5.0)
    assert told(lab.records, "a", "b") == 0
    assert not [one for one in lab.records if isinstance(one, Doubt)]


async def test_readings_of_another_instrument_that_a_kill_has_hidden_are_a_doubt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wires: dict[str, Any]
) -> None:
    killed = Killed(tmp_path, monkeypatch, wires)
    await killed.run(12.5, {}, {"b": 10.5})
    assert not [one for one in killed.first if isinstance(one, Doubt)], "it was killed before the next proof"
    wires["answers of b"] = killed.another
    lab = await killed.next_run(5.0)
    (doubt,) = [one for one in lab.records if isinstance(one, Doubt)]
    of_another = [one.at for one in killed.first if isinstance(one, Reading) and one.series.instrument == "b"][-2:]
    assert (doubt.instrument, doubt.channel, doubt.kind, doubt.until) == ("b", "mass", "identity", of_another[-1])
    assert doubt.at <= of_another[0]
    assert of_another[-1] - doubt.at <= 6 * SECOND, "no more than had no proof"
    assert read(lab.records, "b") == 0


async def test_one_that_never_proves_itself_again_is_in_doubt_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wires: dict[str, Any]
) -> None:
    killed = Killed(tmp_path, monkeypatch, wires)
    await killed.run(13.5, {}, {})
    wires["answers of b"] = killed.nobody
    lab = await killed.next_run(5.0)
    assert [(one.instrument, one.kind) for one in lab.records if isinstance(one, Doubt)] == [("b", "identity")]


async def test_unproven_is_what_lies_in_the_window_and_behind_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_before, "ROWS", 3)
    spool = Spool(tmp_path / "s.sqlite", GIB)

    def put(number: int, instrument: str = "balance") -> None:
        one = reading(0)
        spool.put(replace(one, series=replace(one.series, instrument=instrument), at=one.at + number * SECOND))

    for number in range(20):
        put(number)
        put(number, "other, one")
        if number == 16:
            spool.put(Event("lab", EventKind.CONNECT, "", reading(0).at + 16 * SECOND, instrument="other, one"))
    await spool.close()
    spool = Spool(tmp_path / "s.sqlite", GIB)
    found = await run_of(spool).unproven({"balance": 5.5, "other, one": float("inf"), "third": 15.0})
    zero = reading(0).at
    assert found["balance"]._unproven == {"mass": (zero + 14 * SECOND, zero + 19 * SECOND)}
    assert found["other, one"]._unproven == {"mass": (zero + 17 * SECOND, zero + 19 * SECOND)}
    assert found.keys() == {"balance", "other, one"}
    monkeypatch.setattr(run_before, "MOST_UNPROVEN", 6)
    found = await run_of(spool).unproven({"balance": float("inf")})
    assert found["balance"]._unproven == {"mass": (zero + 17 * SECOND, zero + 19 * SECOND)}
    await spool.close()


def test_what_was_not_proven_before_is_taken_over() -> None:
    clock: Any = JumpingClock()
    at = Station("lab", Any, clock)  # type: ignore[arg-type]  # nothing is recorded
    before, now = Doubts(at, "b"), Doubts(at, "b")
    for stamp in (7, 5, 9):
        before.was_stored("mass", stamp)
    now.take_over(before)
    assert now.open
    now.proved(1)
    assert (now.open, before.open) == (False, True)
