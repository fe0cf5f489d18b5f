"""The road with real processes, into each kind of database; the oracle is the truth of the simulators."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from daq.demo.servers import VictoriaMetrics
from tests.system.comparison import answers_to_polls
from tests.system.conftest import needs
from tests.system.world import ROOT, World, compare, log_of, world

if TYPE_CHECKING:
    from pathlib import Path

LAB = ROOT / "configs" / "lab.simulated.toml"
SECONDS = 8.0
EVERY_INSTRUMENT = {
    "balance-1",
    "balance-2",
    "bath-1",
    "bath-2",
    "barometer-1",
    "room-1",
    "room-2",
    "vessel-1",
}

KILLED_LAB = """
seed = 7
[instruments.balance]
simulator = "mt-sics"
serve = "pty"
serial = "SIM0000001"
period = "50 ms"
[instruments.bath]
simulator = "milli-k"
serve = "tcp"
serial = "SIM-P0004"
period = "500 ms"
[instruments.room]
simulator = "vaisala-hmp"
serve = "modbus-tcp"
unit = 240
period = "20 ms"
[instruments.meter]
simulator = "scpi-dmm"
serve = "hislip"
serial = "SIM0000003"
period = "100 ms"
"""


@pytest.mark.parametrize("kind", ["archive", "influxdb1", "influxdb2"])
async def test_every_reading_is_stored_once_and_right(tmp_path: Path, kind: str) -> None:
    needs(kind)
    async with world(tmp_path, LAB, kind) as made:
        await asyncio.sleep(SECONDS)
        await made.station.stop()
        counts = compare(made.truth(), await made.stored())
    ledger = made.ledger()
    assert set(counts) == EVERY_INSTRUMENT
    assert counts == {name: one["readings"] for name, one in ledger["instruments"].items()}
    assert (ledger["spooled"], ledger["quarantined"], ledger["dropped"]) == (0, 0, 0)
    assert counts["balance-1"] >= 2 * (SECONDS - 3)
    assert "Traceback" not in log_of(made.station) + log_of(made.bridge) + log_of(made.simulators)


async def test_victoria_metrics_takes_every_value(tmp_path: Path) -> None:
    """It keeps neither texts nor nanoseconds, so values are counted and compared to the millisecond."""
    needs("victoriametrics")
    async with world(tmp_path, LAB, "victoriametrics") as made:
        await asyncio.sleep(SECONDS)
        await made.station.stop()
        assert isinstance(made.database, VictoriaMetrics)
        ledger = made.ledger()
        acquired = sum(one["readings"] for one in ledger["instruments"].values())
        series = await exported(made.database, acquired)
        truth = answers_to_polls(made.truth())
    assert ledger["spooled"] == 0
    assert sum(len(one["values"]) for one in series) == acquired
    for one in series:
        name, channel = one["metric"]["instrument"], one["metric"]["channel"]
        digits = [row["values"].get(channel) for row in truth if row["instrument"] == name]
        sent = [float(each) for each in digits if each is not None]
        kept = [value for _, value in sorted(zip(one["timestamps"], one["values"], strict=True))]
        assert kept == sent[: len(kept)], f"{name} {channel}: not the values in their order"
        assert len(sent) - len(kept) <= 1, f"{name} {channel}: more is missing than the answer at the stop"


async def exported(database: VictoriaMetrics, count: int) -> list[dict[str, Any]]:
    """Give every value that it has; what was just written shows up within seconds."""
    for _ in range(50):
        async with aiohttp.ClientSession() as session:
            await session.get(f"{database.url}/internal/force_flush")
            async with session.get(f"{database.url}/api/v1/export", params={"match[]": "reading_value"}) as answer:
                series = [json.loads(line) for line in (await answer.text()).splitlines()]
        if sum(len(one["values"]) for one in series) >= count:
            break
        await asyncio.sleep(0.2)
    return series


async def kill_in_turn(made: World) -> None:
    """Kill broker, bridge and database, each in mid-run, and start them again."""
    for victim in (made.broker, made.bridge, made.database or made.bridge):
        await asyncio.sleep(2.0)
        await victim.kill()
        await asyncio.sleep(1.5)
        await victim.start()


@pytest.mark.parametrize("kind", ["archive", "influxdb1", "influxdb2"])
async def test_kills_of_broker_bridge_and_database_lose_and_double_nothing(tmp_path: Path, kind: str) -> None:
    needs(kind)
    lab = tmp_path / "killed.toml"
    lab.write_text(KILLED_LAB)
    async with world(tmp_path, lab, kind) as made:
        await kill_in_turn(made)
        await asyncio.sleep(2.0)
        await made.station.stop()
        counts = compare(made.truth(), await made.stored())
    ledger = made.ledger()
    assert counts == {name: one["readings"] for name, one in ledger["instruments"].items()}
    assert ledger["spooled"] == 0
    assert counts["room"] > 600


async def test_killed_station_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    kills: list[int] = []
    lab = tmp_path / "killed.toml"
    lab.write_text(KILLED_LAB)
    async with world(tmp_path, lab) as made:
        for _ in range(3):
            await asyncio.sleep(2.5)
            kills.append(time.time_ns())
            await made.station.kill()
            await made.station.start()
        await asyncio.sleep(2.0)
        await made.station.stop()
        stored = await made.stored()
        compare(made.truth(), stored, kills=kills)
    numbers = sorted(reading.seq for reading in stored)
    assert len(set(numbers)) == len(numbers)
    ledger = made.ledger()
    assert ledger["spooled"] == 0
    assert ledger["acquired"] == ledger["stored"] > len(numbers), "events have numbers, too"


async def test_wrong_serial_number_stores_nothing_under_the_name(tmp_path: Path) -> None:
    async with world(tmp_path, LAB, start=False) as made:
        config = tmp_path / "station.toml"
        config.write_text(config.read_text().replace('"SIM0000002"', '"SIM0000009"'))
        await made.bridge.start()
        await made.station.start()
        await asyncio.sleep(4.0)
        await made.station.stop()
        stored = await made.stored()
    assert {reading.instrument for reading in stored} == EVERY_INSTRUMENT - {"balance-2"}
    assert "'SIM0000002' answers where 'SIM0000009' is expected" in log_of(made.station)
    assert "answers where" in made.ledger()["instruments"]["balance-2"]["last_error"]


FAULTY_LAB = """
seed = 3
[instruments.balance]
simulator = "mt-sics"
serve = "tcp"
serial = "SIM0000001"
period = "50 ms"
[instruments.balance.faults]
late = 0.01
late_s = 1.3
lost = 0.01
cut = 0.02
garbled = 0.02
doubled = 0.02
echoed = 0.02
unplug = [[6, 1]]
[instruments.room]
simulator = "vaisala-hmp"
serve = "rtu-tcp"
unit = 240
period = "50 ms"
faults = { late = 0.01, late_s = 1.3, lost = 0.01, cut = 0.02, garbled = 0.02, doubled = 0.02, echoed = 0.02 }
"""


async def test_faulty_instruments_invent_nothing(tmp_path: Path) -> None:
    lab = tmp_path / "faulty.toml"
    lab.write_text(FAULTY_LAB)
    async with world(tmp_path, lab) as made:
        await asyncio.sleep(15.0)
        await made.station.stop()
        stored = await made.stored()
        truth = made.truth()
    assert len({one["fault"] for one in truth}) >= 5
    # A balance sends no checksum: one changed digit in an answer of the right form cannot be told from a right one.
    # Answers that came right are not all read: after a failure, nothing counts until the instrument is identified.
    compare(truth, stored, unprovable={"balance"}, complete=False)
    assert made.ledger()["spooled"] == 0
    assert {one.instrument for one in stored} == {"balance", "room"}
