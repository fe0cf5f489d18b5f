"""However an instrument ends (stop, reload, in a pause, never at all), its missed polls and doubts are told once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from daq.host.clock import elapsed
from daq.road.reading import Doubt, EventKind, Reading
from daq.station.acquisition import Follower
from daq.station.control import Denied
from daq.station.records import Station
from daq.station.supervision import Supervisor
from drivers.balances.mt_sics import mt_sics
from drivers.driver import Channel, Driver, Identity, Poll, Text
from drivers.errors import Silent
from drivers.instrument import Instrument
from tests.followed import SECOND, SERIAL, Records, Wire, balance, running
from tests.jumping_clock import JumpingClock
from tests.unit.drivers.answered import value
from tests.unit.station.test_keeping_followers import counted, failing, told
from tests.unit.station.test_service import config, station
from tests.unit.station.test_service_story import Connections, ends
from tests.unit.station.test_supervision import Hanging, follower, supervisor, wire_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from daq.road.reading import Record

STARTED = 0.7
"""Seconds from the start of the jumping clock to its first whole second."""


def due(clock: JumpingClock, since: float = 1_000.0 + STARTED) -> int:
    """Give the whole seconds since the start."""
    return int(clock.monotonic() - since) + 1


def silent(_: bytes) -> bytes:
    raise Silent("no answer")


async def stopped(clock: JumpingClock, task: asyncio.Task[Any]) -> None:
    task.cancel()
    await clock.finish(task)


class Fails(Records):
    """A queue that fails, as no queue should, at the next `left` records of a kind."""

    def __init__(self, at: Callable[[Record], bool]) -> None:
        super().__init__()
        self.at, self.left = at, 0

    def put(self, record: Record, *, urgent: bool = False) -> int:
        if self.left and self.at(record):
            self.left -= 1
            raise OSError("the disk fails once")
        return super().put(record, urgent=urgent)


class Lab:
    """A supervisor of one instrument, which a test stops at an instant of its choice."""

    def __init__(self, wire: type[Wire] = Hanging, period: float = 1.0) -> None:
        self.clock, self.records = JumpingClock(), Records()
        self.station = Station("lab", self.records, self.clock)
        self.made = Supervisor(self.station)
        self.wire = wire(self.clock, balance)
        self.made.add(self.follower(period))
        self.task = asyncio.create_task(self.made.run())

    def follower(self, period: float = 1.0, driver: Driver[Any] | None = None) -> Follower:
        instrument = Instrument("b", driver or mt_sics(), self.wire, "B1", self.clock.monotonic)
        return Follower(self.station, instrument, period)


@pytest.mark.parametrize("how", ["stop", "remove"])
async def test_polls_that_were_due_in_a_pause_are_told_when_it_ends(how: str) -> None:
    lab = Lab()
    await lab.clock.run_for(10.0)
    assert isinstance(lab.wire, Hanging)
    lab.wire.raises = RuntimeError
    await lab.clock.run_for(45.0)
    expected = due(lab.clock)
    if how == "remove":
        await lab.clock.finish(asyncio.create_task(lab.made.remove(["b"])))
    await stopped(lab.clock, lab.task)
    assert counted(lab.records, "b") == expected
    assert lab.station.missed == lab.records.told


async def test_continuous_reading_between_two_grids_has_missed_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_period(period: str) -> Any:
        new = config(tmp_path, "a")
        table = new.instruments["a"].model_copy(update={"period": period})
        return new.model_copy(update={"instruments": {"a": table}})

    async with station(tmp_path, monkeypatch, "a") as lab:
        await lab.clock.run_for(5.0)
        await ends(lab, lab.service.reloading.apply(with_period(0.0)))  # type: ignore[arg-type]
        await lab.clock.run_for(600.0)
        await ends(lab, lab.service.reloading.apply(with_period(1.0)))  # type: ignore[arg-type]
        await lab.clock.run_for(5.0)
        missed = sum(one.missed for one in lab.events(EventKind.GAP) + lab.events(EventKind.MISSED))
    assert missed <= 3


async def test_a_poll_that_could_not_be_kept_is_missed() -> None:
    clock, records = JumpingClock(), Fails(lambda record: isinstance(record, Reading))
    lab = Station("lab", records, clock)
    made = Supervisor(
        lab, [Follower(lab, Instrument("b", mt_sics(), Wire(clock, balance), "B1", clock.monotonic), 1.0)]
    )
    task = asyncio.create_task(made.run())
    await clock.run_for(5.0)
    records.left = 1
    await clock.run_for(15.0)
    expected = due(clock)
    await stopped(clock, task)
    assert counted(records, "b") == expected
    assert lab.missed == records.told


async def test_a_gap_that_cannot_be_told_is_told_later() -> None:
    clock, records = JumpingClock(), Fails(lambda record: getattr(record, "kind", None) == EventKind.GAP)
    lab = Station("lab", records, clock)
    wire = Wire(clock, balance)
    made = Supervisor(lab, [Follower(lab, Instrument("b", mt_sics(), wire, "B1", clock.monotonic), 1.0)])
    task = asyncio.create_task(made.run())
    await clock.run_for(5.0)
    wire.answer = silent
    await clock.run_for(20.0)
    wire.answer, records.left = balance, 1
    await clock.run_for(60.0)
    assert not records.left
    await stopped(clock, task)
    assert records.told == lab.missed > 15


async def test_a_stop_during_a_reload_loses_no_tick_of_what_was_ended_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with station(tmp_path, monkeypatch, "a", "b") as lab:
        await lab.clock.run_for(10.0)
        monkeypatch.setattr(lab.service, "give_back", lambda *_: asyncio.Event().wait())
        began = lab.clock.monotonic()
        reload = asyncio.ensure_future(lab.service.reloading.apply(config(tmp_path, "b", "a")))  # other addresses
        await lab.clock.run_for(4.0)
        last = lab.clock.utc_ns()
        waited = lab.clock.monotonic() - began
    assert reload.done()
    assert waited < 4.5
    for name in ("a", "b"):
        events = [one for one in lab.events(EventKind.GAP) + lab.events(EventKind.MISSED) if one.instrument == name]
        taken, missed = lab.readings(name), sum(one.missed for one in events)
        assert missed >= 3
        first = min(one.at for one in lab.records if getattr(one, "instrument", "") == name)
        assert abs(taken + missed - (last - first) / SECOND) <= 1.5
    assert not lab.events(EventKind.RELOAD), "it did not happen"


async def test_values_without_a_unit_are_decided_on_by_the_next_unit_also_after_a_reload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = ["1.0 g"]
    poll = Poll(Text(b"P"), (Channel("mass", "mass", "g"),), value)
    made = Driver("a balance", (poll,), Identity(Text(b"ID"), lambda _: "B1"))
    other = config(tmp_path, "a", "b").instruments["b"]
    for address, doubts in ((None, 1), (other.address, 0)):
        async with station(tmp_path, monkeypatch, "a") as lab:

            def answer(command: bytes) -> bytes:
                return b"B1" if command == b"ID" else shown[0].encode()

            def instrument(name: str, *_: Any, clock: Any = lab.clock) -> Instrument[Any]:
                return Instrument(name, made, Wire(clock, answer), "B1", clock.monotonic)

            monkeypatch.setattr("daq.station.service.instrument_of", instrument)
            shown[0] = "1.0 g"
            new = config(tmp_path, "a")
            table = new.instruments["a"]
            for update in ({"simulated": True}, {"simulated": False} | ({"address": address} if address else {})):
                changed = new.model_copy(update={"instruments": {"a": table.model_copy(update=update)}})
                await ends(lab, lab.service.reloading.apply(changed))
                await lab.clock.run_for(3.0)
                shown[0] = "1.0"
                await lab.clock.run_for(5.0)
            shown[0] = "1.0 [lb_av]"
            await lab.clock.run_for(5.0)
            units = [one for one in lab.records if getattr(one, "kind", "") == "unit"]
        assert len(units) == doubts, address


async def test_another_number_is_noticed_also_where_the_next_proof_fails_at_once() -> None:
    """It tells its number, sends unasked bytes with its weight, and its second proof cannot be read."""
    present, asked = [b'I4 A "B1"\r\n'], [0]
    wires: list[Wire] = []

    def answer(command: bytes) -> bytes:
        if command == b"I4\r\n":
            asked[0] += 1
            return b"I4 rubbish\r\n" if present[0] != SERIAL and asked[0] == 2 else present[0]
        if present[0] != SERIAL:
            wires[0].unasked += 10
        return balance(command)

    async with running(answer, 10.0, serial=None) as (clock, records, wire, _):
        wires.append(wire)
        await clock.run_for(25.0)
        asked[0], present[0] = 0, b'I4 A "B2"\r\n'
        await clock.run_for(30.0)
    assert any("B2 answers where B1" in one.text for one in records.doubts)


async def test_another_number_is_noticed_also_where_no_value_follows_it() -> None:
    """The wire is suspect: it is connected anew as it is read, tells another number, and then nothing."""
    present = [b'I4 A "B1"\r\n']

    def answer(command: bytes) -> bytes:
        if command == b"I4\r\n":
            return present[0]
        if present[0] != SERIAL and command == b"SI\r\n":
            raise Silent("no answer")
        return balance(command) if command == b"SI\r\n" else b"ES\r\n"

    async with running(answer, 10.0, serial=None) as (clock, records, wire, _):
        await clock.run_for(25.0)
        present[0] = b'I4 A "B2"\r\n'
        wire.suspect = True
        await clock.run_for(10.0)
        (doubt,) = records.doubts
        assert "B2 answers where B1" in doubt.text


async def test_an_error_that_cannot_be_written_in_words_ends_no_keeper() -> None:
    class Bad(Exception):
        def __str__(self) -> str:
            raise ValueError("no words")

    async with supervisor() as (clock, _, wire, made):
        await clock.run_for(3.0)
        wire.raises = Bad
        await clock.run_for(1.5)
        wire.raises = None
        await clock.run_for(20.0)
        kept = made.followers["bad"]
        assert kept.keeper is not None
        assert not kept.keeper.done()
        assert kept.restarts
        assert "cannot be written in words" in kept.failures.last
        assert kept.state == "reading"


async def test_a_link_that_does_not_close_is_begun_again_like_one_that_hangs() -> None:
    class Open(Hanging):
        closed = 0

        async def close(self) -> None:
            self.closed += 1
            if self.closed == 1:
                await asyncio.Event().wait()

    lab = Lab(Open)
    await lab.clock.run_for(5.0)
    assert isinstance(lab.wire, Hanging)
    lab.wire.raises = RuntimeError
    await lab.clock.run_for(1.0)
    lab.wire.raises = None
    await lab.clock.run_for(300.0)
    assert lab.made.followers["b"].state == "reading"
    expected = due(lab.clock)
    await stopped(lab.clock, lab.task)
    assert counted(lab.records, "b") == expected


@pytest.mark.parametrize("how", ["stop", "reload"])
async def test_one_that_cannot_be_ended_is_accounted_for_once_and_stores_nothing_more(how: str) -> None:
    lab = Lab()
    assert isinstance(lab.wire, Hanging)
    await lab.clock.run_for(10.0)
    lab.wire.hangs = lab.wire.deaf = True
    old = lab.wire
    await lab.clock.run_for(20.0)
    expected = due(lab.clock)
    if how == "stop":
        await stopped(lab.clock, lab.task)
        before = len(lab.records)
        old.hangs = False
        await lab.clock.run_for(20.0)
        assert len(lab.records) == before
    else:
        removing = asyncio.create_task(lab.made.remove(["b"]))
        await lab.clock.finish(removing)
        (kept,) = removing.result()
        lab.wire = Wire(lab.clock, balance)
        lab.made.add_made("b", lab.follower, 1.0, kept.hand_on(same=False))
        await lab.clock.run_for(10.0)
        old.hangs = False
        await lab.clock.run_for(10.0)
        expected = due(lab.clock)
        await stopped(lab.clock, lab.task)
    assert counted(lab.records, "b") == expected


async def test_ticks_before_one_that_can_never_be_made_are_told() -> None:
    lab = Lab()
    await lab.clock.run_for(10.0)
    removing = asyncio.create_task(lab.made.remove(["b"]))
    await lab.clock.finish(removing)
    (kept,) = removing.result()
    await lab.clock.run_for(5.0)  # its link takes so long to close
    lab.made.add_made("b", failing(10**6, lab.follower), 1.0, kept.hand_on(same=False))
    await lab.clock.run_for(20.0)
    expected = due(lab.clock)
    await stopped(lab.clock, lab.task)
    assert counted(lab.records, "b") == expected


@pytest.mark.parametrize("after", [0.02, 0.06, 0.99])
async def test_one_that_could_not_be_made_at_first_has_missed_no_tick_before_it_was_added(after: float) -> None:
    async with supervisor() as (clock, records, _, made):
        await clock.run_for(10.0 + STARTED + after)
        began = elapsed(clock)
        made.add_made("late", failing(2, lambda: follower(made, clock, Wire(clock, balance), "late")), 1.0)
        await clock.run_for(20.5)
        first = int(began - 1_000.0 - STARTED) + 1
        assert counted(records, "late") == due(clock) - first


async def test_whatever_making_one_raises_costs_the_others_nothing() -> None:
    class Odd(BaseException):
        pass

    def make() -> Follower:
        raise Odd("no Exception")

    async with supervisor() as (clock, records, _, made):
        made.add_made("odd", make, 1.0)
        await clock.run_for(5.0)
        assert made.followers["odd"].state == "failing"
        assert counted(records, "good") >= 5
        assert told(records, "good") == []


async def test_one_whose_end_fails_costs_the_others_nothing() -> None:
    async with supervisor("one", "two") as (clock, records, _, made):
        await clock.run_for(5.0)
        for name in ("one", "two"):
            wire_of(made, name).raises = RuntimeError
        await clock.run_for(5.0)
        first = made.followers["one"].follower
        assert first is not None
        first.doubts = None  # type: ignore[assignment]  # whatever its end asks of them fails
        removing = asyncio.create_task(made.remove(["one", "two"]))
        await clock.finish(removing)
        assert len(removing.result()) == 2
        assert sum(one.missed for one in told(records, "two")) >= 4


async def test_a_stop_during_the_last_proof_of_a_reload_lets_it_be_answered() -> None:
    for after in (0.0, 0.1, 0.2):
        lab = Lab()
        lab.wire.delay = 0.3
        await lab.clock.run_for(10.0 + STARTED + 0.5)
        removing = asyncio.create_task(lab.made.remove(["b"]))
        await lab.clock.run_for(after)
        await stopped(lab.clock, lab.task)
        await lab.clock.finish(removing)
        assert not lab.records.doubts


async def test_a_mistake_in_the_last_proof_is_noted() -> None:
    lab = Lab()
    await lab.clock.run_for(6.5)
    wire = lab.wire
    assert isinstance(wire, Hanging)
    wire.raises = IndexError
    kept = lab.made.followers["b"]
    await stopped(lab.clock, lab.task)
    assert kept.failures.last.startswith("IndexError: a mistake")
    assert lab.records.doubts


async def test_after_a_failed_proof_an_event_says_who_answers() -> None:
    left = [1]

    def no_proof(command: bytes) -> bytes:
        if command == b"I4\r\n" and left[0]:
            left[0] = 0
            return silent(command)
        return balance(command)

    lab = Lab()
    await lab.clock.run_for(3.0)
    lab.wire.answer = no_proof
    await lab.clock.run_for(60.0)
    assert not left[0]
    await stopped(lab.clock, lab.task)
    assert len(lab.records.events(EventKind.CONNECT)) == 2


@pytest.mark.parametrize("how", ["stop", "remove"])
async def test_what_a_proof_has_proven_is_not_doubted_where_no_value_followed_it(how: str) -> None:
    """At a tick the proof is good, and the value does not come; the end comes before the next proof."""
    lab, mute = Lab(period=10.0), False

    def answer(command: bytes) -> bytes:
        if mute and command == b"SI\r\n":
            return silent(command)
        if mute and proofs:
            return silent(command)
        proofs.append(command)
        return balance(command)

    proofs: list[bytes] = []
    lab.wire.answer = answer
    await lab.clock.run_for(25.0)
    proofs.clear()
    mute = True
    await lab.clock.run_for(10.0)
    assert proofs, "it has proved itself, and then gave no value"
    if how == "remove":
        await lab.clock.finish(asyncio.create_task(lab.made.remove(["b"])))
    await stopped(lab.clock, lab.task)
    assert not lab.records.doubts


async def test_a_reload_that_waits_while_the_station_stops_is_denied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with station(tmp_path, monkeypatch, "a", "b") as lab:
        await lab.clock.run_for(3.0)
        monkeypatch.setattr(lab.service, "give_back", lambda *_: asyncio.Event().wait())
        first = asyncio.ensure_future(lab.service.reloading.apply(config(tmp_path, "b", "a")))
        second = asyncio.ensure_future(lab.service.reloading.apply(config(tmp_path, "a", "c")))
        await lab.clock.run_for(3.0)
    assert first.cancelled()
    assert isinstance(second.exception(), Denied)
    assert not lab.events(EventKind.RELOAD)


async def test_a_publisher_is_begun_also_where_who_asked_for_it_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections = Connections(monkeypatch)
    async with station(tmp_path, monkeypatch, "a") as lab:
        await lab.clock.run_for(1.0)
        asking = asyncio.ensure_future(lab.service.restart_publishing())
        await asyncio.sleep(0)
        asking.cancel()
        await lab.clock.run_for(1.0)
        assert asking.cancelled()
        assert connections.open == 1


async def test_a_doubt_that_cannot_be_recorded_is_recorded_later() -> None:
    clock, records = JumpingClock(), Fails(lambda record: isinstance(record, Doubt))
    made = Station("lab", records, clock)
    wire = Hanging(clock, balance)
    kept = Supervisor(made, [Follower(made, Instrument("b", mt_sics(), wire, "B1", clock.monotonic), 1.0)])
    task = asyncio.create_task(kept.run())
    await clock.run_for(3.0)

    def mistaken(command: bytes) -> bytes:
        if command == b"I4\r\n":
            raise RuntimeError("a mistake")
        return balance(command)

    records.left, wire.answer = 1, mistaken
    await clock.run_for(8.0)
    wire.answer = balance
    await clock.run_for(60.0)
    assert not records.left
    await stopped(clock, task)
    assert any("error of the program" in one.text for one in records.doubts)
