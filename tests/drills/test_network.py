"""Bad networks between all parts of the road: slow, lossy, broken and silent ones; nothing is lost, nothing grows."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import re
import time
from collections import defaultdict
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from daq.config import Broker
from daq.road.batch import topic
from daq.road.mqtt import stay_connected
from tests.drills.fault_proxy import Fault, FaultProxy
from tests.drills.report import LONG, SEED, count, note
from tests.system.conftest import needs
from tests.system.test_road import KILLED_LAB
from tests.system.world import World, compare, log_of, world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from daq.road.mqtt import Connection

log = logging.getLogger(__name__)

ROUNDS = count(1, 3)
LASTS = 20.0 if LONG else 1.5
SILENT_FOR = 65.0 if LONG else 0.0
"""Seconds that a half-open network is silent at least; it stays so until it was noticed."""
NOTICED_WITHIN = 60.0
DRAINED_WITHIN = 90.0
GROWTH = 20.0
KEEP_ALIVE = "10 s" if LONG else "2 s"
NEARLY_NOTHING = 100
"""Records in the spool of a road in good health: half a second of readings that are under way."""
PLACES = ("station", "bridge", "database")
"""A network is named after the part that suffers: the station's and the bridge's way to the broker, the database."""
FAULTS = {
    "delay": Fault(delay=2.0 if LONG else 0.5),
    "trickle": Fault(rate=1_000),
    "loss": Fault(loss=0.3),
    "reset": Fault(reset=(20_000, 60_000) if LONG else (2_000, 20_000)),
    "half-open": Fault(silent=True),
    "refused": Fault(refuse=True),
}


class Watch:
    """Looks on from outside: the newest status of the station, straight from the broker, and the memory of programs."""

    def __init__(self, made: World) -> None:
        self.programs = {"station": made.station, "bridge": made.bridge}
        self.most: defaultdict[str, float] = defaultdict(float)
        self._status: dict[str, Any] = {}

    async def serve(self, connection: Connection) -> None:
        await connection.subscribe(topic("lab", "status"))
        async for message in connection.messages():
            self._status = json.loads(message.payload)

    async def memory(self) -> None:
        while True:
            for name, program in self.programs.items():
                self.most[name] = max(self.most[name], resident(program.pid))
            await asyncio.sleep(0.2)

    async def until_drained(self) -> float:
        """Wait until a status that is younger than this call says so; gives the seconds."""
        began, asked = time.monotonic(), time.time_ns()
        while self._status.get("at_ns", 0) < asked or self._status.get("spooled", 10**9) > NEARLY_NOTHING:
            assert time.monotonic() - began < DRAINED_WITHIN, f"not drained: {self._status}"
            await asyncio.sleep(0.1)
        return time.monotonic() - began


def resident(pid: int) -> float:
    """Give the memory of a process in MB."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1_000


def plan(dice: random.Random) -> list[tuple[str, str]]:
    """Give each fault once in each round, each time at another place, in random order."""
    # A request to a database may take 30 s before it is given up: half-open comes there last, not in the short form.
    places = [*dice.sample(PLACES[:2], 2), "database"]
    faults = ["half-open", *dice.sample([name for name in FAULTS if name != "half-open"], len(FAULTS) - 1)]
    rounds = [[(fault, places[(row + turn) % 3]) for row, fault in enumerate(faults)] for turn in range(ROUNDS)]
    return [step for one in rounds for step in dice.sample(one, len(one))]


@asynccontextmanager
async def lab_behind_proxies(folder: Path, dice: random.Random) -> AsyncIterator[tuple[World, dict[str, FaultProxy]]]:
    """Run a whole lab with a bad network at each place."""
    lab = folder / "lab.simulated.toml"
    lab.write_text(KILLED_LAB)
    async with world(folder, lab, "influxdb1", start=False) as made, AsyncExitStack() as ends:
        assert made.database is not None
        proxies = {}
        for place, server in zip(PLACES, (made.broker, made.broker, made.database), strict=True):
            proxies[place] = await ends.enter_async_context(FaultProxy(server.port, dice))
        ports = {"station": {made.broker.port: "station"}}
        ports["bridge"] = {made.broker.port: "bridge", made.database.port: "database"}
        for name, changes in ports.items():
            config = folder / f"{name}.toml"
            text = config.read_text().replace("[broker]\n", f'[broker]\nkeep_alive = "{KEEP_ALIVE}"\n')
            for port, place in changes.items():
                text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{proxies[place].port}")
            config.write_text(text)
        await made.bridge.start()
        await made.station.start()
        yield made, proxies
        await made.station.stop()
        await made.bridge.stop()


async def suffer(proxy: FaultProxy, fault: Fault) -> float | None:
    """Have a fault for its time; gives after how many seconds a silent network was noticed: somebody connects anew."""
    known, began = len(proxy.accepted), time.monotonic()
    proxy.strike(fault)
    try:
        if not fault.silent:
            await asyncio.sleep(LASTS)
            return None
        while len(proxy.accepted) == known:
            assert time.monotonic() - began < NOTICED_WITHIN, "nobody noticed that the network is silent"
            await asyncio.sleep(0.05)
        await asyncio.sleep(SILENT_FOR - (time.monotonic() - began))
        return proxy.accepted[known] - began
    finally:
        proxy.heal()


@pytest.mark.timeout(3_600 if LONG else 120)
async def test_bad_networks_lose_and_double_nothing(tmp_path: Path) -> None:
    needs("influxdb1")
    dice = random.Random(SEED)
    steps = plan(dice)  # thrown before anything runs: the networks throw the same dice whenever a chunk passes
    noticed: dict[str, float] = {}
    drained: dict[str, float] = {}
    async with lab_behind_proxies(tmp_path, dice) as (made, proxies):
        watch = Watch(made)
        direct = Broker(hosts=[f"127.0.0.1:{made.broker.port}"])
        looking = [asyncio.create_task(stay_connected(direct, "watch", watch.serve))]
        await watch.until_drained()
        await asyncio.sleep(LASTS)
        before = {name: resident(program.pid) for name, program in watch.programs.items()}
        looking.append(asyncio.create_task(watch.memory()))
        for fault, place in steps:
            known = len(proxies[place].accepted)
            seconds = await suffer(proxies[place], FAULTS[fault])
            if seconds is not None:
                noticed[place] = seconds
            drained[f"{fault} at {place}"] = await watch.until_drained()
            broke = len(proxies[place].accepted) - known
            assert broke or fault not in {"reset", "half-open", "refused"}, f"{fault} at {place} broke nothing"
            took, memory = drained[f"{fault} at {place}"], dict(watch.most)
            log.info("%s at %s: %d new connections, drained after %.1f s, %s MB", fault, place, broke, took, memory)
        for task in looking:
            task.cancel()
        await asyncio.wait(looking)
        connections = sum(len(proxy.accepted) for proxy in proxies.values())
        await made.station.stop()
        stored = await made.stored()
        counts = compare(made.truth(), stored)
    ledger, logs = made.ledger(), log_of(made.station) + log_of(made.bridge)
    growth = {name: watch.most[name] - before[name] for name in before}
    assert counts == {name: one["readings"] for name, one in ledger["instruments"].items()}
    assert len({one.seq for one in stored}) == len(stored)
    assert ledger["stored"] == ledger["acquired"]
    assert (ledger["spooled"], ledger["quarantined"], ledger["dropped"]) == (0, 0, 0)
    assert "Traceback" not in logs
    assert "never retrieved" not in logs
    assert max(growth.values()) <= GROWTH, growth
    slowest = max(drained, key=lambda step: drained[step])
    note(
        "R5",
        claim="no fault of a network between any two parts loses or doubles a reading, and a silent one is noticed",
        aim=f"0 lost, 0 doubled; half-open noticed within {NOTICED_WITHIN:.0f} s; memory grows by ≤ {GROWTH:.0f} MB",
        seen=f"{len(drained)} faults ({', '.join(FAULTS)}) in turn on three networks, {connections} connections, "
        f"{len(stored)} readings: 0 lost, 0 doubled, 0 spooled; half-open noticed after "
        + ", ".join(f"{seconds:.0f} s ({place})" for place, seconds in sorted(noticed.items()))
        + f"; drained {max(drained.values()):.1f} s after the network at the latest ({slowest}); memory grew by "
        + ", ".join(f"{size:.1f} MB ({name})" for name, size in growth.items()),
        test="pytest tests/drills/test_network.py",
        seed=SEED,
    )
