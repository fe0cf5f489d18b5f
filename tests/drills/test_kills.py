"""R1, R2, R3: kill -9 of the station, of random parts of the road, and of a broker that has said it has everything."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import statistics
import time
from bisect import bisect_right
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest

from daq.demo.programs import find, find_influxdb
from daq.demo.servers import Mosquitto
from daq.road.batch import LIMIT_LINES
from daq.station.outgoing import BATCH_LINES, WINDOW
from tests.drills.report import LONG, SEED, count, note
from tests.system.conftest import needs
from tests.system.test_road import KILLED_LAB
from tests.system.world import compare, log_of, world

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.world import World

AGAIN_WITHIN = 3.0
STOCK = (
    "allow_anonymous true",
    "persistence true",
    "persistence_location {folder}/",
)
"""What /etc/mosquitto/mosquitto.conf of Debian 12 says, with a folder of our own; all else is the default."""
MESSAGES = 500


def fast_lab(instruments: int) -> str:
    """Give balances that are read ten times a second each."""
    one = '[instruments.balance-{0}]\nsimulator = "mt-sics"\nserve = "tcp"\nserial = "SIM{0:07}"\nperiod = "100 ms"\n'
    return "".join(one.format(number) for number in range(instruments))


def database() -> str:
    return "influxdb2" if find_influxdb(2) is not None else "influxdb1"


async def until_reading(made: World) -> None:
    """Wait until the station reads: how long that takes is told by the stamps of what it has read."""
    deadline = time.monotonic() + 30.0
    while not any(one["readings"] for one in (await made.status())["instruments"].values()):
        assert time.monotonic() < deadline, log_of(made.station)[-2000:]
        await asyncio.sleep(0.02)


@pytest.mark.timeout(7_200)
async def test_killed_station(tmp_path: Path) -> None:
    needs("influxdb1")
    kills, dice = count(4, 1_000), random.Random(SEED)
    lab = tmp_path / "fast.toml"
    lab.write_text(fast_lab(100))
    killed: list[int] = []
    async with world(tmp_path, lab, "influxdb1") as made:
        await asyncio.sleep(2.0)
        for _ in range(kills):
            await until_reading(made)
            await asyncio.sleep(dice.uniform(0.0, 0.5))
            killed.append(time.time_ns())
            await made.station.kill()
            await made.station.start()
        await until_reading(made)
        await made.until_drained()
        await made.station.stop()
        said = made.verify()
        stored = await made.stored()
        counts = compare(made.truth(), stored, kills=killed)
    ledger = made.ledger()
    assert ledger["stored"] == ledger["acquired"] == said["equal"]
    numbers = {one.seq for one in stored}
    assert len(numbers) == len(stored) == sum(counts.values())
    stamps = sorted(one.at for one in stored)
    again = [(stamps[bisect_right(stamps, one)] - one) / 1e9 for one in killed]
    assert max(again) <= AGAIN_WITHIN
    note(
        "R1",
        claim="kill -9 of the station costs nothing that was committed; it reads again within seconds",
        aim=f"0 lost of committed, 0 doubled, 0 damaged files; acquiring again ≤ {AGAIN_WITHIN:.0f} s after the kill",
        seen=f"{kills} kills at 1,000 readings/s: {len(stored)} readings, 0 lost of committed, 0 doubled; "
        f"`daq verify`: {said['equal']} records equal in station and database, chain whole; the next reading "
        f"{statistics.median(again):.2f} s after the kill (median), {max(again):.2f} s at most",
        test="pytest tests/drills/test_kills.py -k killed_station",
        seed=SEED,
    )


@pytest.mark.timeout(7_200)
async def test_random_kills(tmp_path: Path) -> None:
    kind = "influxdb1" if LONG else database()  # it is up again sooner, so more kills meet a road that works
    needs(kind)
    kills, dice = count(24, 2_000), random.Random(SEED)
    lab = tmp_path / "killed.toml"
    lab.write_text(KILLED_LAB)
    killed = {"station": 0, "broker": 0, "bridge": 0, "database": 0}
    instants: list[int] = []
    async with world(tmp_path, lab, kind) as made:
        await asyncio.sleep(1.5)
        while sum(killed.values()) < kills:
            names = dice.sample(sorted(killed), dice.choice([1, 1, 2, 3]))
            if "station" in names:
                instants.append(time.time_ns())
            await asyncio.gather(*(getattr(made, name).kill() for name in names))
            await asyncio.sleep(dice.uniform(0.0, 0.3))
            await asyncio.gather(*(getattr(made, name).start() for name in names))
            await asyncio.sleep(dice.uniform(0.1, 0.6))
            for name in names:
                killed[name] += 1
        await asyncio.sleep(2.0)
        await made.until_drained()
        await made.station.stop()
        said = made.verify()
        stored = await made.stored()
        counts = compare(made.truth(), stored, kills=instants, stops=2)
    ledger = made.ledger()
    assert ledger["stored"] == ledger["acquired"] == said["equal"]
    assert (ledger["spooled"], ledger["quarantined"], ledger["dropped"]) == (0, 0, 0)
    assert len({one.seq for one in stored}) == len(stored) == sum(counts.values())
    assert "Traceback" not in log_of(made.station) + log_of(made.bridge)
    note(
        "R2",
        claim="kill -9 of any part at any time, also of several at once, loses and doubles nothing",
        aim="0 lost of committed, 0 doubled, acquired = stored exactly",
        seen=f"{sum(killed.values())} kills ({', '.join(f'{name} {n}' for name, n in killed.items())}), {kind}: "
        f"{len(stored)} readings, 0 lost of committed, 0 doubled; acquired {ledger['acquired']} = stored "
        f"{ledger['stored']}; `daq verify`: {said['equal']} equal, chain whole",
        test="pytest tests/drills/test_kills.py -k random",
        seed=SEED,
    )


def stock_broker(made: World) -> Mosquitto:
    """Give the broker of a lab the configuration that Debian ships."""
    made.broker.settings = [line.format(folder=made.broker.folder) for line in STOCK]
    return made.broker


@pytest.mark.timeout(300)
async def test_broker_killed_with_a_full_window(tmp_path: Path) -> None:
    """The bridge stands still, so all that the station may send lies in the broker, acknowledged by it, and dies."""
    lab = tmp_path / "fast.toml"
    lab.write_text(fast_lab(100))
    rounds = count(1, 10)
    held = []
    async with world(tmp_path, lab, start=False) as made:
        await made.broker.stop()
        await stock_broker(made).start()
        await made.bridge.start()
        await made.station.start()
        for _ in range(rounds):
            await made.until_drained()
            before = await made.status()
            os.kill(made.bridge.pid, signal.SIGSTOP)
            while (status := await made.status())["spooled"] < 2 * WINDOW * BATCH_LINES // 10:
                await asyncio.sleep(0.1)
            await asyncio.sleep(1.0)
            assert status["stored"] - before["stored"] < LIMIT_LINES, "the bridge stands still"
            held.append((await made.status())["spooled"])
            await made.broker.kill()
            await made.broker.start()
            os.kill(made.bridge.pid, signal.SIGCONT)
            await asyncio.sleep(1.0)
        await made.until_drained()
        await made.station.stop()
        stored = await made.stored()
        counts = compare(made.truth(), stored)
    ledger = made.ledger()
    assert counts == {name: one["readings"] for name, one in ledger["instruments"].items()}
    assert ledger["stored"] == ledger["acquired"]
    lost = await lost_by_qos_1(tmp_path / "peer")
    assert lost == MESSAGES, "the broker has learned to keep what it says it has"
    note(
        "R3",
        claim="a broker that dies with what it had acknowledged costs nothing",
        aim="0 lost (QoS 1 alone loses 100 %)",
        seen=f"mosquitto {made.broker.version} with Debian's configuration, killed -9 {rounds} times with "
        f"{min(held)} to {max(held)} unstored records sent: {len(stored)} readings, 0 lost, 0 doubled; QoS 1 with a "
        f"session that lasts, same broker: {lost} of {MESSAGES} messages lost that it had acknowledged",
        test="pytest tests/drills/test_kills.py -k full_window",
    )


async def lost_by_qos_1(folder: Path) -> int:
    """Publish to a subscriber who is away, kill the broker, and count what does not come when he is back."""
    program = find("mosquitto")
    assert program is not None
    broker = Mosquitto(program, folder)
    broker.settings = [line.format(folder=folder) for line in STOCK]
    await broker.start()
    session: dict[str, Any] = {"identifier": "peer", "protocol": aiomqtt.ProtocolVersion.V311, "clean_session": False}
    try:
        async with aiomqtt.Client("127.0.0.1", broker.port, **session) as client:
            await client.subscribe("data", qos=1)
        async with aiomqtt.Client("127.0.0.1", broker.port) as client:
            for number in range(MESSAGES):
                await client.publish("data", str(number), qos=1)  # returns when the broker has acknowledged it
        await broker.kill()
        await broker.start()
        got = 0
        async with aiomqtt.Client("127.0.0.1", broker.port, **session) as client:
            await client.subscribe("data", qos=1)
            messages = aiter(client.messages)
            try:
                while True:
                    await asyncio.wait_for(anext(messages), 3.0 if LONG else 1.0)
                    got += 1
            except TimeoutError:
                pass
        return MESSAGES - got
    finally:
        await broker.stop()
