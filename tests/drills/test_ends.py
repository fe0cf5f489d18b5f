"""R25: stop, reload, cancelled reload at any instant, with instruments that hang, fail, or cannot be made or closed.

The real Supervisor, Reloading and the way in which a service follows, on a clock that jumps.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

from daq.host.parts import Parts
from daq.road.reading import Doubt, Event
from daq.station import service as service_module
from daq.station.records import Station
from daq.station.reloading import Reloading
from daq.station.supervision import Supervisor
from drivers.driver import Channel, Driver, Identity, Poll, Text
from drivers.errors import Lost, Silent, Unreadable
from drivers.instrument import Instrument
from drivers.sample import Sample
from tests.drills.report import SEED, count, note
from tests.followed import TOLD, Records, Wire
from tests.jumping_clock import JumpingClock

if TYPE_CHECKING:
    import pytest

    from daq.station.service import StationService

STOPS_WITHIN = 10.5
SECOND = 1_000_000_000


class Unruly(Wire):
    """A wire whose instrument behaves as its `mode` says, and which closes as `closing` says."""

    def __init__(self, clock: JumpingClock, dice: random.Random, before: Unruly | None) -> None:
        super().__init__(clock, lambda command: b"B1" if command == b"ID" else b"1")
        self.dice = dice
        self.mode: str = "well" if before is None or before.mode == "deaf" else before.mode
        self.closing: str = "slow" if before is not None and before.closing == "slow" else "well"

    async def ask(self, query: Any) -> bytes:
        mode = self.mode
        if mode == "mixed":
            mode = self.dice.choice(["well"] * 4 + ["silent", "lost", "unreadable", "slow", "mistake"])
        if mode in {"hangs", "deaf"} and self.dice.random() < 0.5:
            while self.mode == mode:
                try:
                    await self.clock.sleep_until(self.clock.monotonic() + 0.1)
                except asyncio.CancelledError:
                    if mode != "deaf":
                        raise
            if self.dice.random() < 0.5:
                raise Silent("at last")
        self.delay = {"slow": self.dice.uniform(0.1, 3.0), "silent": 1.0}.get(mode, 0.02)
        answer = await super().ask(query)
        match mode:
            case "silent":
                raise Silent("no answer")
            case "lost":
                raise Lost("lost")
            case "mistake":
                raise RuntimeError("a mistake")
        return b"?" if mode == "unreadable" else answer

    async def close(self) -> None:
        match self.closing:
            case "slow":
                await self.clock.sleep_until(self.clock.monotonic() + self.dice.uniform(0.1, 6.0))
            case "raises":
                raise OSError("it does not close")
            case "hangs":
                await asyncio.Event().wait()


def readable(raw: bytes) -> bytes:
    if raw == b"?":
        raise Unreadable("rubbish", raw)
    return raw


def scanner(polls: int) -> Driver[Any]:
    asked = tuple(
        Poll(
            Text(b"P%d" % n), (Channel(f"c{n}", "mass", "g"),), lambda raw: (Sample(Decimal(len(readable(raw))), "g"),)
        )
        for n in range(polls)
    )
    return Driver("a scanner", asked, Identity(Text(b"ID"), lambda raw: readable(raw).decode()))


@dataclass
class Table:
    """What a config says of one instrument; another `version` is another table."""

    period: float
    version: int = 0
    driver: str = "d"
    address: str = "x"
    unit: int | None = None
    serial: str = "B1"
    simulated: bool = False


@dataclass
class Config:
    instruments: dict[str, Table]
    station: str = "lab"
    spool: Any = field(default_factory=lambda: SimpleNamespace(path=0, ballast=0))
    broker: int = 0

    def model_copy(self, update: dict[str, Any]) -> Config:
        return Config(update.get("instruments", self.instruments), spool=self.spool)


class Life:
    """One station from its start to its stop: what it does is drawn with `seed`."""

    PERIODS: ClassVar = [0.1, 0.5, 1.0, 2.5, 10.0]

    def __init__(self, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.dice = dice = random.Random(seed)
        self.clock = JumpingClock(1_767_225_600_345_678_900, late=dice.choice([0.0, 0.001]))
        self.records = Records()
        self.station = Station("lab", self.records, self.clock)
        self.supervisor = Supervisor(self.station)
        self.names = ["a", "b"][: dice.choice([1, 2, 2])]
        self.polls = {name: dice.choice([1, 2, 3]) for name in self.names}
        self.periods = {name: dice.choice(self.PERIODS) for name in self.names}
        self.unmakeable: set[str] = set()
        self.wires: dict[str, Unruly] = {}
        self.all_wires: list[Unruly] = []
        self.parts = Parts(self.clock)
        self.wires_of_service = SimpleNamespace(give_back=lambda link: link.close())
        self.config = Config({name: Table(self.periods[name]) for name in self.names})
        self.reloading = Reloading(self.service, None)
        monkeypatch.setattr(service_module, "instrument_of", self.instrument_of)

    @property
    def service(self) -> Any:
        """A service with the parts that a reload uses; it follows and gives wires back as the real one does."""
        life = self

        class Service:
            station, supervisor, parts, clock = life.station, life.supervisor, life.parts, life.clock
            wires = life.wires_of_service
            config = life.config
            follow = service_module.StationService.follow
            give_back = service_module.StationService.give_back

            def _start_once(self, *_: object) -> None:
                pass

        return Service()

    def instrument_of(self, name: str, *_: object) -> Instrument[Any]:
        if name in self.unmakeable:
            raise ValueError("it cannot be made")
        wire = self.wires[name] = Unruly(self.clock, self.dice, self.wires.get(name))
        self.all_wires.append(wire)
        return Instrument(name, scanner(self.polls[name]), wire, "B1", self.clock.monotonic)

    async def live(self) -> list[str]:
        """Live to the stop and beyond it; gives what was wrong."""
        service: StationService = self.reloading._service  # type: ignore[assignment]
        for name in self.names:
            service.follow(name)
        task = asyncio.create_task(self.supervisor.run())
        await self.clock.run_for(0)
        began = self.clock.utc_ns()
        reloads = [await self._something(number) for number in range(self.dice.randint(2, 7))]
        stop, stopped_at = self.clock.monotonic(), self.clock.utc_ns()

        async def end() -> None:  # as a service does it
            self.supervisor.begin_no_more()
            task.cancel()
            await self.reloading.give_up()
            await asyncio.wait([task])

        await self.clock.finish(asyncio.create_task(end()))
        took = self.clock.monotonic() - stop
        for reload in reloads:
            if reload is not None and not reload.done():
                await self.clock.finish(reload)
        return await self._wrong(began, stopped_at, took)

    async def _something(self, number: int) -> asyncio.Task[Any] | None:
        dice, name, reload = self.dice, self.dice.choice(self.names), None
        what = dice.choice(["mode"] * 5 + ["close", "reload", "reload", "cancelled reload", "unmakeable"])
        modes = ["well", "well", "slow", "silent", "lost", "unreadable", "mixed", "mistake", "hangs", "deaf"]
        if what == "mode" and name in self.wires:
            self.wires[name].mode = dice.choice(modes)
        elif what == "close" and name in self.wires:
            self.wires[name].closing = dice.choice(["well", "slow", "hangs", "raises"])
        elif what == "unmakeable":
            self.unmakeable ^= {name}
        elif "reload" in what:
            before = self.reloading._service.config.instruments
            tables: Any = {
                one: Table(self.periods[one], number + 1) if dice.random() < 0.7 else before[one] for one in self.names
            }
            reload = asyncio.create_task(self.reloading.apply(Config(tables)))  # type: ignore[arg-type]
            reload.add_done_callback(lambda task: task.cancelled() or task.exception())
            if what == "cancelled reload":
                await self.clock.run_for(dice.uniform(0.0, 4.0))
                reload.cancel()
        await self.clock.run_for(
            dice.choice([dice.uniform(0.0, 1.0), dice.uniform(0.0, 12.0), dice.uniform(0.0, 60.0)])
        )
        return reload

    async def _wrong(self, began: int, stopped_at: int, took: float) -> list[str]:
        wrong = [f"the stop took {took:.1f} s"] if took > STOPS_WITHIN else []
        if self.records.told != self.station.missed:
            wrong.append(f"{self.records.told} polls told, {self.station.missed} in the ledger")
        for name in self.names:
            wrong += self._accounts_of(name, began, stopped_at)
        before = len(self.records)
        for wire in self.all_wires:
            wire.mode = "well"
        await self.clock.run_for(30.0)
        if later := self.records[before:]:
            wrong.append(f"recorded after the end: {later[:2]}")
        return wrong

    def _accounts_of(self, name: str, began: int, stopped_at: int) -> list[str]:
        """Compare readings and told polls with the ticks that were due."""
        taken = [one for one in self.records.readings if one.series.instrument == name]
        told = sum(
            one.missed for one in self.records if isinstance(one, Event) and one.kind in TOLD and one.instrument == name
        )
        channels: dict[str, int] = {}
        for one in taken:
            if one.at <= channels.get(one.series.channel, 0):
                return [f"{name}: a stamp that does not rise"]
            channels[one.series.channel] = one.at
        period, polls = round(self.periods[name] * SECOND), self.polls[name]
        due = (stopped_at // period - began // period) * polls
        more = polls if self.periods[name] > 0.3 else 2 * polls  # what is under way at the stop is still taken
        if due <= len(taken) + told <= due + more:
            return []
        return [f"{name}: {due} due, {len(taken)} taken, {told} told"]


async def test_however_it_ends_each_poll_is_told_once_and_nothing_is_kept_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: dict[int, list[str]] = {}
    lives, missed, doubts, readings = count(80, 3_000), 0, 0, 0
    for number in range(lives):
        life = Life(SEED * 1_000_000 + number, monkeypatch)
        if wrong := await life.live():
            found[number] = wrong
        missed += life.station.missed
        readings += len(life.records.readings)
        doubts += sum(isinstance(one, Doubt) for one in life.records)
    assert not found
    assert readings > 10 * lives
    assert missed > lives
    note(
        "R25",
        claim="however an instrument ends, its missed polls are told once, and nothing of it is kept later",
        aim="stop, reload and cancelled reload at any instant, whatever instruments, wires and config do: "
        "taken + told = due, stop within 10.5 s",
        seen=f"{lives} lives: {readings} readings, {missed} polls missed and told, {doubts} doubts; 0 differences",
        test="pytest tests/drills/test_ends.py",
        seed=SEED,
    )
