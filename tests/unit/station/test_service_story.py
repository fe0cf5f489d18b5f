"""What a station tells systemd, records and writes while it starts, runs and stops."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest

from daq import __version__
from daq.road.reading import Event, EventKind, Health
from daq.spool.queue import Ledger, Spool
from daq.station import service as service_module
from daq.station.acquisition import Follower
from daq.station.control import ask, socket_of
from daq.station.service import StationService
from tests.jumping_clock import JumpingClock
from tests.spools import GIB, filled, reading
from tests.unit.station import test_service
from tests.unit.station.test_service import config, station

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from daq.station.supervision import Supervisor
    from tests.unit.station.test_service import Lab


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Give what systemd is told."""
    said: list[tuple[str, ...]] = []

    def teller(name: str) -> Callable[..., None]:
        return lambda *words: said.append((name, *words))

    for name in ("ready", "status", "watchdog", "stopping", "reloading"):
        monkeypatch.setattr(f"daq.host.notify.{name}", teller(name))
    return said


def names(said: list[tuple[str, ...]]) -> list[str]:
    return [one[0] for one in said]


class Connections:
    """Stands for the broker: keeps what each connection was begun with."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, ends_after: float = 0.0) -> None:
        self.begun: list[tuple[Any, str, Any]] = []
        self.open = 0
        self.clock: JumpingClock | None = None
        self._ends_after = ends_after
        monkeypatch.setattr(service_module, "stay_connected", self._stay)

    async def _stay(self, broker: Any, client: str, serve: Any, *, will: Any) -> None:
        self.begun.append((broker, client, will))
        self.open += 1
        try:
            await asyncio.Event().wait()
        finally:
            if self._ends_after and self.clock is not None:
                await self.clock.sleep_until(self.clock.monotonic() + self._ends_after)
            self.open -= 1


async def ends(lab: Lab, work: Any) -> Any:
    """Let time pass until this has ended."""
    task, end = asyncio.ensure_future(work), lab.clock.monotonic() + 100.0
    while not task.done():
        assert lab.clock.monotonic() < end, "it does not end"
        await lab.clock.run_for(0.1)
        await asyncio.sleep(0.001)
    return await task


async def test_systemd_is_told_of_start_progress_and_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[tuple[str, ...]]
) -> None:
    async with station(tmp_path, monkeypatch, "a", "b") as lab:
        assert ("ready", "reading 2 instruments") in told
        told.clear()
        await lab.clock.run_for(20.0)
        assert names(told).count("watchdog") == 10
        await lab.service.spool.flush()
        told.clear()
        await lab.clock.run_for(2.0)
        ledger = lab.service.spool.ledger
        assert ledger.acquired >= 40
        assert set(names(told)) == {"watchdog", "status"}
        (words,) = [one[1] for one in told if one[0] == "status"]
        assert " acquired, 0 stored, " in words
        assert words.endswith(" waiting")
        told.clear()
        assert lab.service.monitor.state == "online"
    assert names(told).count("stopping") == 1
    assert "ready" not in names(told)


async def test_station_in_which_something_is_stuck_is_no_longer_told_to_be_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[tuple[str, ...]], caplog: pytest.LogCaptureFixture
) -> None:
    async with station(tmp_path, monkeypatch, "a") as lab:
        await lab.clock.run_for(5.0)
        assert lab.service.stuck() is None
        for silent, what in ((20.0, None), (20.5, "the spool")):
            with monkeypatch.context() as patched:
                patched.setattr(Spool, "silent_for", silent)
                assert lab.service.stuck() == what
                told.clear()
                await lab.clock.run_for(4.0)
                assert ("watchdog" in names(told)) is (what is None)
                assert "status" in names(told)
        assert "the spool makes no progress; systemd will start this station again" in caplog.text
        lab.service.supervisor.followers["a"].told_to_end = lab.clock.monotonic() - 100.0
        assert lab.service.stuck() == "a"
        lab.service.supervisor.followers["a"].told_to_end = float("inf")
        told.clear()
        await lab.clock.run_for(4.0)
        assert "watchdog" in names(told)


async def test_publisher_without_progress_is_begun_again_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections = Connections(monkeypatch)
    async with station(tmp_path, monkeypatch, "a") as lab:
        publisher = lab.service.publisher
        await lab.clock.run_for(60.0)
        assert len(connections.begun) == 1, "without a connection there is nothing to wait for"
        publisher.progress = lab.clock.monotonic()
        publisher._connection = object()  # type: ignore[assignment]
        await lab.clock.run_for(19.0)
        assert len(connections.begun) == 1
        await lab.clock.run_for(4.0)
        assert (len(connections.begun), connections.open) == (2, 1)
        (restart,) = lab.events(EventKind.RESTART)
        assert restart.text.startswith("the publisher made no progress for 2")
        await lab.clock.run_for(15.0)
        assert len(connections.begun) == 2, "it has time again"
        publisher._connection = None


async def test_publisher_that_does_not_end_does_not_keep_the_watchdog_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[tuple[str, ...]]
) -> None:
    connections = Connections(monkeypatch, ends_after=15.0)
    async with station(tmp_path, monkeypatch, "a") as lab:
        connections.clock = lab.clock
        await lab.clock.run_for(3.0)
        lab.service.publisher.progress = lab.clock.monotonic() - 30.0
        lab.service.publisher._connection = object()  # type: ignore[assignment]
        told.clear()
        await lab.clock.run_for(20.0)
        assert names(told).count("watchdog") == 10
        assert len(connections.begun) == 2
        lab.service.publisher._connection = None


@pytest.mark.parametrize("slow", [0.0, 6.0])
async def test_two_who_begin_the_publisher_again_at_once_leave_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow: float
) -> None:
    connections = Connections(monkeypatch, slow)
    async with station(tmp_path, monkeypatch, "a") as lab:
        connections.clock = lab.clock
        await lab.clock.run_for(1.0)
        await ends(lab, asyncio.gather(*(lab.service.restart_publishing() for _ in range(3))))
        await lab.clock.run_for(30.0)
        assert connections.open == 1
        assert sum(one.get_name() == "publisher" for one in asyncio.all_tasks()) == 1


async def test_connection_has_a_name_of_its_own_and_a_will(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connections = Connections(monkeypatch)
    async with station(tmp_path, monkeypatch, "a") as lab:
        await lab.clock.run_for(1.0)
        broker, client, will = connections.begun[0]
        assert broker == lab.service.config.broker
        assert client == f"daq-lab-{lab.service.spool.epoch[:8]}"
        assert (will.topic, will.qos, will.retain) == ("daq/1/lab/status", 1, True)
        assert json.loads(will.payload) == {"station": "lab", "state": "offline"}


async def test_health_is_recorded_every_minute_and_alarms_are_looked_for_every_five_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with station(tmp_path, monkeypatch, "a") as lab:
        looks = 0

        def look() -> None:
            nonlocal looks
            looks += 1

        lab.service.monitor.raise_alarms = look  # type: ignore[method-assign]
        before = sum(isinstance(one, Health) for one in lab.records)
        await lab.clock.run_for(180.0)
        assert sum(isinstance(one, Health) for one in lab.records) - before == 3
        assert 35 <= looks <= 37


async def test_start_and_stop_are_recorded_and_the_last_counts_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with station(tmp_path, monkeypatch, "a", "b") as lab:
        await lab.clock.run_for(10.0)
        (start,) = lab.events(EventKind.START)
        assert start.text == f"daq {__version__}, 2 instruments"
        assert not lab.events(EventKind.GAP), "a first start has no pause before it"
        assert not lab.events(EventKind.CLOCK_STEP)
        await disk_is_measured()
        assert lab.service.monitor.sync_s > 0
    (stop,) = lab.events(EventKind.STOP)
    assert stop.text == "asked to stop"
    written = json.loads((tmp_path / "spool.sqlite.ledger.json").read_text())
    assert written["waiting_readings"] == lab.readings("a") + lab.readings("b") == 20
    assert (written["state"], written["station"]) == ("offline", "lab")
    assert written["spooled"] == written["acquired"] == len(lab.records)
    assert written["parts"].keys() <= {"publisher"}
    assert set(written["instruments"]) == {"a", "b"}
    assert not any(one.get_name() in {"publisher", "health", "watchdog", "reload"} for one in asyncio.all_tasks())


async def disk_is_measured() -> None:
    """Wait for the thread that measures the disk of the spool."""
    while any(one.get_name() == "measurement of the disk" for one in asyncio.all_tasks()):
        await asyncio.sleep(0.001)


async def restarted(
    folder: Path, monkeypatch: pytest.MonkeyPatch, later: float, *, stopped: bool = True
) -> tuple[Lab, int]:
    """Start a station that has run before, so many seconds after its last record; gives it and that stamp."""
    spool = await filled(folder / "spool.sqlite", 10)
    last = reading(9).at
    if stopped:
        spool.put(Event("lab", EventKind.STOP, "asked to stop", last))
    await spool.close()
    clock = JumpingClock(last + round(later * 1e9))
    monkeypatch.setattr(test_service, "JumpingClock", lambda: clock)
    async with station(folder, monkeypatch, "a", "b") as lab:
        pass
    return lab, last


@pytest.mark.parametrize(("stopped", "how"), [(True, "it had been asked to stop"), (False, "it had ended without a")])
async def test_time_in_which_the_station_did_not_run_is_a_gap_with_its_missed_polls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: bool, how: str
) -> None:
    lab, last = await restarted(tmp_path, monkeypatch, 100.5, stopped=stopped)
    (gap,) = [one for one in lab.events(EventKind.GAP) if not one.instrument]
    assert gap.text.startswith(f"the station did not run for 100 s: {how}")
    assert (gap.at, gap.missed) == (last, 200)
    assert gap.until is not None
    assert abs(gap.until - last - 100.5e9) < 1e6
    assert lab.service.station.missed >= 200
    assert not lab.events(EventKind.CLOCK_STEP)


async def test_a_disk_that_hangs_while_it_is_measured_delays_no_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = threading.Event()
    monkeypatch.setattr("daq.spool.disk.sync_time", lambda _: float(measured.wait(60.0)))
    try:
        async with station(tmp_path, monkeypatch, "a") as lab:
            await lab.clock.run_for(5.0)
            assert lab.readings("a") >= 4
            assert lab.service.monitor.sync_s == 0.0
    finally:
        measured.set()


@pytest.mark.parametrize("later", [0.0, 0.4])
async def test_short_pause_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: float) -> None:
    lab, _ = await restarted(tmp_path, monkeypatch, later)
    assert not [one for one in lab.events(EventKind.GAP) if not one.instrument]
    assert not lab.events(EventKind.CLOCK_STEP)


async def test_clock_behind_the_last_record_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab, last = await restarted(tmp_path, monkeypatch, -7_200.0)
    (step,) = lab.events(EventKind.CLOCK_STEP)
    assert step.text == ("the wall clock is 2.0 h behind the last record: stamps are held until it has caught up")
    assert not [one for one in lab.events(EventKind.GAP) if not one.instrument]
    assert lab.service.station.last_run_stamp == last


async def test_damaged_spool_and_small_disk_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(Spool, "capacity", property(lambda _: 100 << 20))
    monkeypatch.setattr("daq.spool.disk.judgement", lambda seconds: f"slow: {seconds:g}")
    monkeypatch.setattr("daq.spool.disk.sync_time", lambda _: 2.5)
    adopt = Spool._adopt_epoch

    def damaged(spool: Spool) -> None:
        adopt(spool)
        spool.damage = "spool.sqlite was damaged"

    monkeypatch.setattr(Spool, "_adopt_epoch", damaged)
    async with station(tmp_path, monkeypatch, "a") as lab:
        await disk_is_measured()
        await lab.clock.run_for(1.0)
        assert [one.text for one in lab.events(EventKind.DAMAGE)] == ["spool.sqlite was damaged"]
        assert [one.text for one in lab.events(EventKind.FILL)] == [
            "the disk of the spool has room for 100 MiB; its limit is 2048 MiB"
        ]
        assert lab.service.monitor.sync_s == 2.5
    assert f"{tmp_path}: slow: 2.5" in caplog.text


async def test_disk_on_which_nothing_can_be_measured_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object) -> float:
        raise OSError("No space left on device")

    monkeypatch.setattr("daq.spool.disk.sync_time", full)
    async with station(tmp_path, monkeypatch, "a") as lab:
        await disk_is_measured()
        assert lab.service.monitor.sync_s == 0.0
        assert "measurement of the disk" not in lab.service.status()["parts"]


async def test_stop_waits_ten_seconds_for_what_is_not_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with station(tmp_path, monkeypatch, "a") as lab:
        await lab.clock.run_for(5.0)
        await lab.service.spool.flush()
        waiting = lab.service.spool.ledger.spooled
        began = lab.clock.monotonic()
        draining = asyncio.ensure_future(lab.service._drain())
        await asyncio.sleep(0.05)  # the thread of the spool
        async with asyncio.timeout(20.0):
            while not draining.done():
                await lab.clock.run_for(0.1)
                await asyncio.sleep(0.001)
        assert 10.0 <= lab.clock.monotonic() - began <= 11.0
        assert waiting >= 5
        assert "records wait in the spool for the next start" in caplog.text


async def test_stop_does_not_wait_where_all_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with station(tmp_path, monkeypatch, "a") as lab:
        await lab.clock.run_for(5.0)
        stored = Ledger(10, 10, 0, 0, 0)
        with monkeypatch.context() as patched:
            patched.setattr(Spool, "ledger", property(lambda _: Ledger(10, 9, 1, 0, 0)))
            draining = asyncio.ensure_future(lab.service._drain())
            await asyncio.sleep(0.05)
            for _ in range(20):
                await lab.clock.run_for(0.05)
                await asyncio.sleep(0.001)
            assert not draining.done()
            patched.setattr(Spool, "ledger", property(lambda _: stored))
            began = lab.clock.monotonic()
            async with asyncio.timeout(20.0):
                while not draining.done():
                    await lab.clock.run_for(0.01)
            assert lab.clock.monotonic() - began <= 0.1
        assert "wait in the spool for the next start" not in caplog.text


async def test_stop_does_not_wait_for_ever_for_a_disk_that_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with station(tmp_path, monkeypatch, "a") as lab:
        with monkeypatch.context() as patched:
            patched.setattr(lab.service.spool, "flush", lambda: asyncio.Event().wait())
            began = lab.clock.monotonic()
            await ends(lab, lab.service._drain())
        assert lab.clock.monotonic() - began <= 21.0


async def test_stop_drains_and_says_so_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states: list[str] = []
    drain = StationService._drain

    async def watched(service: StationService) -> None:
        states.append(service.monitor.state)
        assert not any(one.keeper and not one.keeper.done() for one in service.supervisor.followers.values())
        await drain(service)

    monkeypatch.setattr(StationService, "_drain", watched)
    async with station(tmp_path, monkeypatch, "a") as lab:
        await lab.clock.run_for(3.0)
    assert states == ["draining"]
    assert lab.service.monitor.state == "offline"


async def test_last_status_is_published_and_refused_records_are_told_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published: list[str] = []

    async def last(publisher: Any) -> None:
        published.append(publisher._status()["state"])

    monkeypatch.setattr("daq.station.publisher.Publisher.publish_last_status", last)
    async with station(tmp_path, monkeypatch, "a") as lab:
        await lab.clock.run_for(3.0)
        lab.service.spool.full = True
        await lab.clock.run_for(3.0)
    assert published == ["offline"]
    assert any("may drop nothing; the station stops" in one.text for one in lab.events(EventKind.GAP))


async def test_station_answers_at_its_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with station(tmp_path, monkeypatch, "a") as lab:
        await lab.clock.run_for(3.0)
        place = socket_of(tmp_path / "spool.sqlite")
        said = await asyncio.to_thread(ask, place, "status")
        assert said["status"]["instruments"]["a"]["readings"] >= 2
        assert said["status"]["parts"] == lab.service.status()["parts"]
        assert (await asyncio.to_thread(ask, place, "quarantine"))["rows"] == []


async def test_status_that_cannot_be_made_says_which_part_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with station(tmp_path, monkeypatch, "a") as lab:
        with monkeypatch.context() as patched:
            patched.setattr(lab.service, "_look", dict)
            said = lab.service.status()
        assert said == {"station": "lab", "state": "failing", "at_ns": lab.clock.utc_ns(), "parts": said["parts"]}


async def test_live_values_show_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with station(tmp_path, monkeypatch, "a") as lab:
        await lab.clock.run_for(3.0)
        assert [one.instrument for one in lab.service.publisher.live._newest] == ["a"]


async def test_signal_reads_the_config_again_and_systemd_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[tuple[str, ...]]
) -> None:
    answers = [config(tmp_path, "a", "b"), RuntimeError("a mistake"), config(tmp_path, "b")]

    def read(_: object) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("daq.station.reloading._read", read)
    async with station(tmp_path, monkeypatch, "a", path=tmp_path / "station.toml") as lab:
        for expected, seconds in (({"a", "b"}, 3.0), ({"a", "b"}, 3.0), ({"b"}, 6.0)):
            told.clear()
            lab.reload.set()
            for _ in range(10):
                await lab.clock.run_for(seconds / 10)
                await asyncio.sleep(0.005)  # the thread that reads
            assert set(lab.service.supervisor.followers) == expected
            assert ("reloading",) in told
            assert ("ready", f"reading {len(expected)} instruments") in told
            assert not lab.reload.is_set()
        assert lab.service.status()["parts"]["reload"]["failures"] == 1


async def test_instrument_whose_follower_cannot_be_made_gives_its_wire_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, wrong = Follower.__post_init__, True

    def init(one: Follower) -> None:
        if wrong and one.instrument.name == "b":
            raise AttributeError("a channel without a unit")
        real(one)

    monkeypatch.setattr(Follower, "__post_init__", init)
    async with station(tmp_path, monkeypatch, "a", "b") as lab:
        await lab.clock.run_for(10.0)
        kept, wires = lab.service.supervisor.followers["b"], lab.service.wires
        assert kept.failures.count >= 3
        assert "AttributeError: a channel without a unit" in kept.last_error
        assert len(wires.back) == kept.failures.count  # type: ignore[attr-defined]
        wrong = False
        await lab.clock.run_for(20.0)
        await lab.reads("a", "b")


async def test_spool_of_a_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    table = config(tmp_path, "a")
    monkeypatch.setattr(service_module, "instrument_of", test_service.made)
    wires: Any = test_service.Given()
    wires.clock = JumpingClock()
    service = StationService(
        table.model_copy(update={"spool": table.spool.model_copy(update={"path": None})}), wires.clock, wires
    )
    assert service.spool_path == tmp_path / "spool.sqlite"
    assert service.spool.limit == 2 * GIB
    supervisor: Supervisor = service.supervisor
    assert set(supervisor.followers) == {"a"}
    await service.spool.close()
