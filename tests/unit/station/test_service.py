"""Whatever goes wrong in one part of a station is that part's own: told, counted, begun again; the others go on."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from daq.config import ConfigError, StationConfig
from daq.road.reading import Event, EventKind, Reading
from daq.spool.schema import SpoolError
from daq.station import service as service_module
from daq.station.control import Denied
from daq.station.service import StationService
from drivers.balances.mt_sics import mt_sics
from drivers.instrument import Instrument
from tests.followed import Wire, balance
from tests.jumping_clock import JumpingClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from daq.config import InstrumentTable
    from daq.road.reading import Record


class Given:
    """Gives wires back as `Wires` does."""

    def __init__(self) -> None:
        self.back: list[object] = []

    async def give_back(self, link: object) -> None:
        self.back.append(link)
        if getattr(link, "stays", False):
            raise OSError("the port does not close")


class Lab:
    """One running station, the clock that moves it, and what it recorded."""

    def __init__(self, service: StationService, clock: JumpingClock) -> None:
        self.service = service
        self.clock = clock
        self.reload = asyncio.Event()
        self.records: list[Record] = []
        put = service.spool.put

        def keep(record: Record, *, urgent: bool = False) -> int:
            self.records.append(record)
            return put(record, urgent=urgent)

        service.spool.put = keep  # type: ignore[method-assign]

    def readings(self, name: str) -> int:
        return sum(isinstance(one, Reading) and one.series.instrument == name for one in self.records)

    def events(self, kind: EventKind) -> list[Event]:
        return [one for one in self.records if isinstance(one, Event) and one.kind == kind]

    async def reads(self, *names: str) -> None:
        """Assert that each of these is read at every tick of ten seconds."""
        before = {name: self.readings(name) for name in names}
        await self.clock.run_for(10.0)
        assert all(9 <= self.readings(name) - before[name] <= 11 for name in names), before


def config(folder: Path, *names: str, **other: str) -> StationConfig:
    tables = {
        name: {"driver": "mt-sics", "address": f"tcp://127.0.0.1:{number}", "serial": "B1", "period": "1 s"}
        for number, name in enumerate(names, 8001)
    }
    return StationConfig.model_validate(
        {
            "station": "lab",
            "broker": {"hosts": ["127.0.0.1:9"]},
            "spool": {"path": str(folder / "spool.sqlite"), "ballast": "0 MiB"} | other,
            "instruments": tables,
        }
    )


broken: dict[str, Exception] = {}
"""Instruments that cannot be made, by name."""


def made(name: str, table: InstrumentTable, wires: Any) -> Instrument[Any]:
    if name in broken:
        raise broken[name]
    clock: JumpingClock = wires.clock
    return Instrument(name, mt_sics(), Wire(clock, balance), table.serial, clock.monotonic)


@asynccontextmanager
async def station(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *names: str, path: Path | None = None
) -> AsyncIterator[Lab]:
    monkeypatch.setattr(service_module, "instrument_of", made)
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    broken.clear()
    clock: Any = JumpingClock()
    wires: Any = Given()
    wires.clock = clock
    lab = Lab(StationService(config(folder, *names), clock, wires, path), clock)
    stop = asyncio.Event()
    task = asyncio.create_task(lab.service.run(stop, lab.reload))
    try:
        async with asyncio.timeout(10.0):
            while not lab.service.supervisor._running and not task.done():
                await asyncio.sleep(0.001)  # a thread measures the disk
        yield lab
    finally:
        stop.set()
        end = clock.monotonic() + 100.0
        while not task.done():
            assert clock.monotonic() < end, "the station does not stop"
            await clock.run_for(0.1)
            await asyncio.sleep(0.001)  # the thread of the spool writes
        await task


@pytest.mark.parametrize(
    ("part", "place", "method"),
    [
        ("health", "monitor", "record"),
        ("health", "monitor", "raise_alarms"),
        ("status", "monitor", "status"),
        ("live values", "publisher", "live"),
        ("watchdog", "supervisor", "stuck"),
    ],
)
async def test_a_part_that_fails_costs_the_instruments_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    part: str,
    place: str,
    method: str,
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("a mistake")

    if part == "live values":
        monkeypatch.setattr("daq.station.live.LiveView.show", fail)
    elif method == "stuck":
        monkeypatch.setattr("daq.station.supervision.Supervisor.stuck", property(fail))
    else:
        monkeypatch.setattr(f"daq.station.health.Monitor.{method}", fail)
    caplog.set_level(logging.ERROR)
    async with station(tmp_path, monkeypatch, "a", "b") as lab:
        await lab.reads("a", "b")
        lab.service.status()
        await lab.reads("a", "b")
        said = lab.service.status()["parts"][part]
        assert (said["state"], "KeyError: 'a mistake'" in said["last_error"]) == ("failing", True)
        assert said["failures"] >= 1
        assert all(one.errors == 0 for one in lab.service.supervisor.followers.values())
    told = [one for one in caplog.records if one.exc_info and one.getMessage().startswith(part)]
    assert len(told) == 1, "with its traceback, once"


async def test_publisher_that_fails_is_begun_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = 0

    async def fail(*_: object, **__: object) -> None:
        nonlocal begun
        begun += 1
        if begun < 4:
            raise UnicodeError("label empty or too long")
        await asyncio.Event().wait()

    monkeypatch.setattr(service_module, "stay_connected", fail)
    async with station(tmp_path, monkeypatch, "a") as lab:
        await lab.reads("a")
        assert begun == 4
        said = lab.service.status()["parts"]["publisher"]
        assert said["failures"] == 3


async def test_start_that_cannot_be_recorded_is_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> float:
        raise RuntimeError("a mistake")

    monkeypatch.setattr("daq.spool.disk.sync_time", fail)
    async with station(tmp_path, monkeypatch, "a") as lab:
        await lab.reads("a")
        assert lab.events(EventKind.START)


async def test_spool_that_fails_ends_the_station_loudly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fails = asyncio.Event()

    async def watch(_: StationService) -> None:
        await fails.wait()
        raise SpoolError("the disk is gone")

    monkeypatch.setattr(StationService, "_watch_spool", watch)
    labs: list[Lab] = []

    async def until_it_ends() -> None:
        async with station(tmp_path, monkeypatch, "a") as lab:
            labs.append(lab)
            await lab.reads("a")
            fails.set()
            await lab.clock.run_for(1.0)
            assert not lab.service._tasks, "nothing runs on"

    with pytest.raises(ExceptionGroup) as caught:
        await until_it_ends()
    assert caught.group_contains(SpoolError)
    await labs[0].service.spool.close()


async def test_instrument_that_cannot_be_made_is_failing_and_the_others_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "instrument_of", made)
    async with station(tmp_path, monkeypatch, "a") as lab:
        broken["b"] = IndexError("tuple index out of range")
        await asyncio.gather(lab.service.reloading.apply(config(tmp_path, "a", "b")), lab.clock.run_for(5.0))
        await lab.reads("a")
        said = lab.service.status()["instruments"]
        assert said["a"]["state"] == "reading"
        assert said["b"]["state"] == "failing"
        assert "IndexError: tuple index out of range" in said["b"]["last_error"]
        broken.clear()
        await lab.clock.run_for(30.0)
        await lab.reads("a", "b")
        assert lab.service.status()["instruments"]["b"]["state"] == "reading"


async def test_two_reloads_at_once_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with station(tmp_path, monkeypatch, "a", "b", "c") as lab:
        reload = lab.service.reloading.apply
        configs = [config(tmp_path, "a", "d"), config(tmp_path, "a", "b", "d"), config(tmp_path, "c", "b")]
        reloads = asyncio.gather(*(reload(one) for one in configs))
        async with asyncio.timeout(20.0):
            while not reloads.done():
                await lab.clock.run_for(0.5)
        await reloads
        assert set(lab.service.supervisor.followers) == {"b", "c"}
        await lab.reads("b", "c")
        tasks = [one.get_name() for one in asyncio.all_tasks()]
        assert sorted(one for one in tasks if one in {"a", "b", "c", "d"}) == ["b", "c"]


async def test_reload_accounts_for_the_time_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with station(tmp_path, monkeypatch, "b", "a") as lab:
        began = lab.clock.monotonic()
        lab.service.supervisor.followers["b"].instrument.link.delay = 100.0  # its last answer is waited for
        await lab.clock.run_for(10.0)
        reload = asyncio.ensure_future(lab.service.reloading.apply(config(tmp_path, "a", "c")))
        async with asyncio.timeout(20.0):
            while not reload.done():
                await lab.clock.run_for(0.05)
        assert await reload == ["b removed", "a changed", "c added"]
        await lab.clock.run_for(10.0)
        missed = sum(one.missed for one in lab.records if isinstance(one, Event) and one.instrument == "a")
        assert missed >= 2
        assert abs(lab.readings("a") + missed - (lab.clock.monotonic() - began)) <= 1.0


async def test_link_that_does_not_close_holds_up_no_reload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with station(tmp_path, monkeypatch, "a", "b") as lab:
        lab.service.supervisor.followers["b"].instrument.link.stays = True
        reload = asyncio.ensure_future(lab.service.reloading.apply(config(tmp_path, "a")))
        async with asyncio.timeout(20.0):
            while not reload.done():
                await lab.clock.run_for(0.1)
        assert await reload == ["b removed"]
        await lab.reads("a")


async def test_config_is_read_and_checked_off_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, may_go = threading.Event(), threading.Event()

    def slow(_: Path) -> StationConfig:
        asked.set()
        may_go.wait(20.0)
        raise ConfigError(["a mistake"])

    monkeypatch.setattr("daq.station.reloading.load_station", slow)
    async with station(tmp_path, monkeypatch, "a", path=tmp_path / "station.toml") as lab:
        reload = asyncio.ensure_future(lab.service.reloading.asked())
        async with asyncio.timeout(20.0):
            while not asked.is_set():
                await asyncio.sleep(0)
        await lab.reads("a")
        may_go.set()
        with pytest.raises(Denied, match="nothing was changed"):
            await reload
        (event,) = lab.events(EventKind.RELOAD)
        assert "refused, nothing was changed: a mistake" in event.text
        await lab.reads("a")
