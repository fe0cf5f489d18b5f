"""A reload changes what differs and nothing else, in any order, or nothing at all with the reason."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import TYPE_CHECKING, Any

import pytest

from daq.config import ConfigError, StationConfig
from daq.road.reading import Event, EventKind
from daq.station import service as service_module
from daq.station.control import Denied
from daq.station.installation import instrument_of
from daq.station.reloading import _read
from drivers.links import Wires
from tests.unit.station.test_service import config, station
from tests.unit.station.test_service_story import Connections, ends

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.station.test_service import Lab


def as_written(folder: Path, *names: str) -> dict[str, Any]:
    """Give `config` as it would stand in a file."""
    document: dict[str, Any] = config(folder, *(names or ("x",))).model_dump(mode="json", exclude_unset=True)
    document["spool"]["ballast"] = "0 MiB"
    for table in document["instruments"].values():
        table["period"] = "1 s"
    return document


def other(folder: Path, *names: str, **tables: Any) -> StationConfig:
    """Give the config of these instruments with other values in its tables."""
    document = as_written(folder, *names)
    for name, table in tables.items():
        document[name] = table if isinstance(table, str) else document[name] | table
    return StationConfig.model_validate(document)


@pytest.mark.parametrize(
    ("key", "tables"),
    [
        ("station", {"station": "other"}),
        ("[spool] path", {"spool": {"path": "/tmp/other.sqlite"}}),  # noqa: S108  # never opened
        ("[spool] ballast", {"spool": {"ballast": "1 MiB"}}),
    ],
)
async def test_what_needs_a_restart_is_refused_and_nothing_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, tables: dict[str, Any]
) -> None:
    path = tmp_path / "station.toml"
    new = other(tmp_path, "a", "b", **tables)
    monkeypatch.setattr("daq.station.reloading._read", lambda _: new)
    async with station(tmp_path, monkeypatch, "a", path=path) as lab:
        before = lab.service.config
        with pytest.raises(Denied) as caught:
            await ends(lab, lab.service.reloading.asked())
        assert str(caught.value) == (
            f"nothing was changed:\n{path}: {key}: another value needs a restart: systemctl restart daq"
        )
        assert caught.value.reason == "config"
        assert set(lab.service.supervisor.followers) == {"a"}
        assert lab.service.config is before
        (event,) = lab.events(EventKind.RELOAD)
        assert event.text.startswith("refused, nothing was changed: ")


async def test_who_asks_is_told_what_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new = config(tmp_path, "a", "b")
    monkeypatch.setattr("daq.station.reloading._read", lambda _: new)
    async with station(tmp_path, monkeypatch, "a", path=tmp_path / "station.toml") as lab:
        assert await ends(lab, lab.service.reloading.asked()) == {"changed": ["b added"]}
        assert await ends(lab, lab.service.reloading.asked({})) == {"changed": []}


async def test_station_without_a_file_cannot_read_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with station(tmp_path, monkeypatch, "a") as lab:
        with pytest.raises(Denied, match="no config file"):
            await lab.service.reloading.asked()


async def test_other_limits_of_the_spool_are_kept_from_now_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"limit": "10 MiB", "keep": "1 d", "keep_waiting": "2 d", "when_full": "refuse_new", "alarm_after": "1 min"}
    async with station(tmp_path, monkeypatch, "a") as lab:
        begun = lab.service.supervisor.followers["a"]
        said = await ends(lab, lab.service.reloading.apply(other(tmp_path, "a", spool=table)))
        assert said == ["spool changed"]
        assert lab.service.spool.limit == 10 * 2**20
        retention = lab.service.spool._writer.retention
        assert (retention.keep, retention.keep_waiting, retention.when_full) == (86_400, 172_800, "refuse_new")
        assert lab.service.monitor.alarm_after == 60
        assert lab.service.supervisor.followers["a"] is begun, "the instruments read on"
        assert [one.text for one in lab.events(EventKind.RELOAD)] == ["spool changed"]


async def test_limits_of_the_first_config_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with station(tmp_path, monkeypatch, "a") as lab:
        retention = lab.service.spool._writer.retention
        assert (retention.keep, retention.keep_waiting, retention.when_full) == (30 * 86_400, None, "drop_oldest")
        assert lab.service.monitor.alarm_after == 3_600


async def test_another_broker_begins_a_new_connection_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connections = Connections(monkeypatch)
    async with station(tmp_path, monkeypatch, "a") as lab:
        await lab.clock.run_for(1.0)
        begun = lab.service.supervisor.followers["a"]
        new = other(tmp_path, "a", broker={"hosts": ["broker.lab"]})
        assert await ends(lab, lab.service.reloading.apply(new)) == ["broker changed"]
        await lab.clock.run_for(1.0)
        assert connections.open == 1
        assert [one[0].hosts for one in connections.begun] == [["127.0.0.1:9"], ["broker.lab"]]
        assert lab.service.supervisor.followers["a"] is begun


async def test_same_config_changes_nothing_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connections = Connections(monkeypatch)
    async with station(tmp_path, monkeypatch, "a") as lab:
        await lab.clock.run_for(1.0)
        begun = lab.service.supervisor.followers["a"]
        assert await ends(lab, lab.service.reloading.apply(config(tmp_path, "a"))) == []
        assert lab.service.supervisor.followers["a"] is begun
        assert len(connections.begun) == 1
        assert [one.text for one in lab.events(EventKind.RELOAD)] == ["nothing has changed"]
        assert not lab.service.wires.back  # type: ignore[attr-defined]


async def test_link_that_hangs_while_it_is_closed_holds_up_a_reload_for_five_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with station(tmp_path, monkeypatch, "a", "b") as lab:
        monkeypatch.setattr(lab.service.wires, "give_back", lambda _: asyncio.Event().wait())
        began = lab.clock.monotonic()
        assert await ends(lab, lab.service.reloading.apply(config(tmp_path, "a"))) == ["b removed"]
        assert 5.0 <= lab.clock.monotonic() - began <= 6.0
        assert "the link of b cannot be closed" in caplog.text
        monkeypatch.undo()
        await lab.reads("a")


async def test_a_reload_that_was_cancelled_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with station(tmp_path, monkeypatch, "a", "b") as lab:
        await lab.clock.run_for(3.0)

        async def cancelled(*_: object) -> None:
            raise asyncio.CancelledError

        with monkeypatch.context() as patched:
            patched.setattr(lab.service, "give_back", cancelled)
            with pytest.raises(asyncio.CancelledError):
                await ends(lab, lab.service.reloading.apply(other(tmp_path, "a", "c")))
        assert set(lab.service.supervisor.followers) == {"a", "b"}
        await lab.reads("a", "b")
        assert await ends(lab, lab.service.reloading.apply(config(tmp_path, "a", "b"))) == []
        assert await ends(lab, lab.service.reloading.apply(config(tmp_path, "a", "c"))) == ["b removed", "c added"]
        await lab.reads("a", "c")


def test_config_is_read_with_all_its_files(tmp_path: Path) -> None:
    path = tmp_path / "station.toml"
    good = '[instruments.a]\ndriver = "mt-sics"\naddress = "tcp://127.0.0.1:1"\nserial = "B1"\nperiod = "1 s"\n'
    path.write_text(f'station = "lab"\n{good}')
    assert set(_read(path).instruments) == {"a"}
    path.write_text(f'station = "lab"\n[broker]\npassword_file = "{tmp_path}/none"\n{good}')
    with pytest.raises(ConfigError, match=r"station.toml: \[broker\] password_file: .*none: cannot read the secret"):
        _read(path)


UNITS = ["a", "b", "c", "d"]


def bus(folder: Path, units: dict[str, int], port: int = 9) -> StationConfig:
    """Give a config of Modbus units behind one gateway."""
    document = as_written(folder)
    document["instruments"] = {
        name: {
            "driver": "keller-33x",
            "address": f"rtu+tcp://127.0.0.1:{port}",
            "unit": unit,
            "identified": False,
            "period": "1 s",
        }
        for name, unit in units.items()
    }
    return StationConfig.model_validate(document)


async def followed(lab: Lab, units: dict[str, int]) -> None:
    """Assert that exactly these are followed, each with its own unit, and none twice."""
    followers = lab.service.supervisor.followers
    assert set(followers) == set(units)
    for name, kept in followers.items():
        assert kept.follower is not None, (name, kept.last_error)
        assert kept.instrument.link._unit == units[name]
    await lab.clock.run_for(0.5)
    tasks = [one.get_name() for one in asyncio.all_tasks() if one.get_name() in UNITS]
    assert sorted(tasks) == sorted(units)
    wires = lab.service.wires
    assert len(wires._links) == len(wires._units) == len(units)
    assert len(wires._shared) == len({key for key, _ in wires._links.values()})


@pytest.mark.parametrize("seed", range(4))
async def test_units_removed_added_renamed_and_swapped_in_any_order_are_each_followed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    dice = random.Random(seed)
    every = [
        dict(zip(names, numbers, strict=True))
        for size in (1, 2, 3)
        for names in itertools.combinations(UNITS, size)
        for numbers in itertools.permutations((1, 2, 3), size)
    ]
    async with station(tmp_path, monkeypatch, "x") as lab:
        monkeypatch.setattr(service_module, "instrument_of", instrument_of)
        lab.service.wires = Wires()
        await ends(lab, lab.service.supervisor.remove(["x"]))
        for step in range(12):
            units, port = dice.choice(every), dice.choice((9, 9, 10))
            new = bus(tmp_path, units, port)
            if step % 3 == 2:  # two at once: the last one counts
                first = bus(tmp_path, dice.choice(every))
                await ends(lab, asyncio.gather(lab.service.reloading.apply(first), lab.service.reloading.apply(new)))
            else:
                await ends(lab, lab.service.reloading.apply(new))
            await followed(lab, units)
            assert lab.service.config is new


async def test_swap_of_the_addresses_of_two_is_no_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with station(tmp_path, monkeypatch, "a", "b") as lab:
        await lab.clock.run_for(5.0)
        swapped = config(tmp_path, "b", "a")
        assert await ends(lab, lab.service.reloading.apply(swapped)) == ["b changed", "a changed"]
        addresses = {name: table.address for name, table in lab.service.config.instruments.items()}
        assert addresses == {"b": "tcp://127.0.0.1:8001", "a": "tcp://127.0.0.1:8002"}
        await lab.reads("a", "b")


async def test_stop_while_a_reload_waits_ends_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with station(tmp_path, monkeypatch, "a", "b") as lab:
        await lab.clock.run_for(3.0)
        lab.service.supervisor.followers["b"].instrument.link.delay = 60.0
        await lab.clock.run_for(2.0)
        reload = asyncio.ensure_future(lab.service.reloading.apply(config(tmp_path, "a", "c")))
        await lab.clock.run_for(0.5)
    assert reload.done()
    before = len(lab.records)
    await lab.clock.run_for(60.0)
    assert len(lab.records) == before
    assert not [one for one in asyncio.all_tasks() if one.get_name() in {"a", "b", "c"}]


async def test_sum_of_what_is_told_is_exact_over_failing_reloads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.unit.station.test_service import broken

    async with station(tmp_path, monkeypatch, "b", "a") as lab:
        began = lab.clock.monotonic()
        await lab.clock.run_for(10.0)
        broken["a"] = IndexError("tuple index out of range")
        await ends(lab, lab.service.reloading.apply(config(tmp_path, "a")))  # another port than before
        await lab.clock.run_for(20.0)
        await ends(lab, lab.service.reloading.apply(config(tmp_path, "b", "a")))
        await lab.clock.run_for(20.0)
        broken.clear()
        await lab.clock.run_for(40.0)
        missed = sum(one.missed for one in lab.records if isinstance(one, Event) and one.instrument == "a")
        assert abs(lab.readings("a") + missed - (lab.clock.monotonic() - began)) <= 1.5
        assert missed >= 40


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
