"""Serial instruments are unplugged, plugged in again and mixed up, hundreds of times, on real pseudo-terminals."""

from __future__ import annotations

import asyncio
import json
import random
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from daq.host.clock import SystemClock
from daq.road.reading import Event, EventKind, Reading, Record
from daq.station.acquisition import Follower
from daq.station.installation import instrument_of, load_station
from daq.station.records import Station
from daq.station.supervision import Supervisor
from drivers.links import Wires
from simulators.lab import Lab
from simulators.pty_line import PtyLine
from tests.drills.report import LONG, SEED, count, note
from tests.system.world import Stored, compare

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

UNPLUGS = count(8, 500)
PAIRS = (("balance-1", "balance-2"), ("balance-3", "balance-4"), *([("bath-1", "bath-2")] if LONG else []))
"""Two of a kind each: only its serial number tells an instrument from the other one of its pair."""
RESUMES_WITHIN = 3.0
SETTLES = {"bath-1": 5.0, "bath-2": 5.0}
"""Seconds after which no late answer of a thermometer can come: what was asked when it was unplugged is waited for."""
LONGEST = 8.0 if LONG else 1.6
"""Seconds unplugged or mixed up; from the third on, an instrument that fails is asked less often."""
LAB = """
seed = 15
[instruments.balance-1]
simulator = "mt-sics"
serve = "pty"
serial = "SIM0000001"
period = "100 ms"
options = { load_g = 10.0, hold_s = 1e6 }
[instruments.balance-2]
simulator = "mt-sics"
serve = "pty"
serial = "SIM0000002"
period = "100 ms"
options = { load_g = 20.0, hold_s = 1e6 }
[instruments.balance-3]
simulator = "sartorius-sbi"
serve = "pty"
serial = "SIM0000003"
period = "100 ms"
options = { load_g = 30.0, hold_s = 1e6 }
[instruments.balance-4]
simulator = "sartorius-sbi"
serve = "pty"
serial = "SIM0000004"
period = "100 ms"
options = { load_g = 40.0, hold_s = 1e6 }
"""
BATHS = """
[instruments.bath-1]
simulator = "milli-k"
serve = "pty"
serial = "SIM-P0005"
period = "1 s"
options = { celsius = 25.0 }
[instruments.bath-2]
simulator = "milli-k"
serve = "pty"
serial = "SIM-P0006"
period = "1 s"
options = { celsius = 60.0 }
"""
TRUE = {"balance-1": 10, "balance-2": 20, "balance-3": 30, "balance-4": 40, "bath-1": 109.73, "bath-2": 123.24}
"""What each one measures (g, and ohms of 25 and 60 degrees), to 0.5: each value names its instrument."""


@dataclass(frozen=True)
class Step:
    """What happens to a pair: `who` is unplugged for so many seconds; both where `who` is None.

    "mixed" plugs both in as the other one for that time; "renamed" does, too, and then puts only the names right, as
    udev does for a corrected rule: nobody is unplugged a second time.
    """

    kind: str
    seconds: float
    who: int | None = None

    @property
    def unplugs(self) -> int:
        return {"out": 1 if self.who is not None else 2, "mixed": 4, "renamed": 2}[self.kind]


@dataclass
class Seen:
    """What the station kept, and when; the queue of a station that has no spool."""

    records: list[Record] = field(default_factory=list)
    last: dict[str, float] = field(default_factory=dict)
    resumed: dict[str, list[float]] = field(default_factory=dict)

    def put(self, record: Record, *, urgent: bool = False) -> int:
        self.records.append(record)
        if isinstance(record, Reading):
            self.last[record.series.instrument] = time.monotonic()
        return len(self.records)

    @property
    def readings(self) -> list[Reading]:
        return [one for one in self.records if isinstance(one, Reading)]

    def strangers(self, name: str, since: int) -> list[str]:
        """Give what was said about strangers in the place of an instrument, from a record on."""
        return [
            one.text
            for one in self.records[since:]
            if isinstance(one, Event) and one.kind is EventKind.IDENTITY and one.instrument == name
        ]

    async def until_read(self, name: str, plugged: float, step: Step) -> None:
        """Wait for a reading that is newer than the plug, and note how long it took."""
        allowed = RESUMES_WITHIN + SETTLES.get(name, 0.0)
        while self.last.get(name, 0.0) < plugged:
            assert time.monotonic() - plugged < allowed, f"{name}: no reading within {allowed} s after {step}"
            await asyncio.sleep(0.005)
        self.resumed.setdefault(name, []).append(self.last[name] - plugged)


def plan(dice: random.Random, first: str, unplugs: int) -> list[Step]:
    """Throw the steps of one pair; in the short form, too, it is mixed up once."""
    steps = [Step(first, dice.uniform(0.5 * LONGEST, LONGEST))]
    while (left := unplugs - sum(one.unplugs for one in steps)) > 0:
        kind = dice.choice(["out", "out", "out", "mixed", "renamed"]) if left >= 4 else "out"
        longest = LONGEST if LONG and dice.random() < 0.1 else 0.8
        who = dice.choice([0, 1, None]) if kind == "out" and left >= 2 else 0 if kind == "out" else None
        steps.append(Step(kind, dice.uniform(0.02, longest), who))
    return steps


class Pair:
    """Two ports, and the hand that plugs."""

    def __init__(self, lab: Lab, names: tuple[str, str], serials: tuple[str, str], seen: Seen) -> None:
        self.names = names
        self._serials = serials
        self._seen = seen
        ports = [lab._wires[name] for name in names]
        self._ports = [port for port in ports if isinstance(port, PtyLine)]

    async def suffer(self, step: Step) -> None:
        """Do one step; all is as before at its end, and both are read again."""
        ports = self._ports if step.who is None else [self._ports[step.who]]
        for port in ports:
            await port.unplug()
        if step.kind == "out":
            await asyncio.sleep(step.seconds)
        else:
            await asyncio.sleep(0.02)  # an answer that came just before is still taken
            await self._mix_up(step)
        for port in ports:
            if step.kind != "renamed":
                await port.plug_in()
        plugged = time.monotonic()
        for name in self.names:
            await self._seen.until_read(name, plugged, step)

    async def _mix_up(self, step: Step) -> None:
        first, second = self._ports
        since = len(self._seen.records)
        self._swap_names()
        for port in self._ports:
            await port.plug_in()
        began = time.monotonic()
        for name, other in zip(self.names, reversed(self._serials), strict=True):
            while not self._seen.strangers(name, since):
                assert time.monotonic() - began < RESUMES_WITHIN + SETTLES.get(name, 0.0), f"{name}: nobody noticed"
                await asyncio.sleep(0.005)
            said = self._seen.strangers(name, since)
            assert all(f"{other!r} answers where" in one for one in said), said
        await asyncio.sleep(step.seconds)
        read = [
            one
            for one in self._seen.records[since:]
            if isinstance(one, Reading) and one.series.instrument in self.names
        ]
        assert not read, f"read while mixed up: {read}"
        if step.kind == "renamed":
            places = [port.path.readlink() for port in self._ports]
            for port, place in zip(self._ports, reversed(places), strict=True):
                port.path.unlink()
                port.path.symlink_to(place)
            self._swap_names()
        else:
            for port in (first, second):
                await port.unplug()
            await asyncio.sleep(0.02)
            self._swap_names()

    def _swap_names(self) -> None:
        first, second = self._ports
        first.path, second.path = second.path, first.path


@asynccontextmanager
async def station_on_ptys(folder: Path) -> AsyncIterator[tuple[Lab, Seen, Supervisor]]:
    """Run a lab and the acquisition of a station that reads it by names, as in /dev/serial/by-id."""
    (folder / "lab.toml").write_text(LAB + (BATHS if LONG else ""))
    lab = Lab.from_file(folder / "lab.toml", truth=folder / "truth.jsonl", pty_folder=folder / "by-id")
    async with lab:
        tables = "\n".join(one.station_table() for one in lab.listening.values())
        (folder / "station.toml").write_text(f'station = "lab"\n[broker]\nhosts = ["127.0.0.1:1"]\n{tables}\n')
        config = load_station(folder / "station.toml")
        seen, wires = Seen(), Wires()
        station = Station("lab", seen, SystemClock())
        followers = [
            Follower(station, instrument_of(name, table, wires), table.period)
            for name, table in config.instruments.items()
        ]
        supervisor = Supervisor(station, followers)
        running = asyncio.create_task(supervisor.run(), name="acquisition")
        try:
            yield lab, seen, supervisor
        finally:
            running.cancel()
            await asyncio.wait([running])
            await wires.close()


def held() -> tuple[int, int]:
    """Count open files and tasks."""
    return len(list(Path("/proc/self/fd").iterdir())), len(asyncio.all_tasks())


@pytest.mark.timeout(1_200 if LONG else 60)
async def test_unplugged_instruments_are_read_again_and_never_under_a_wrong_name(tmp_path: Path) -> None:
    dice = random.Random(SEED)
    plans = [
        plan(dice, first, -(-UNPLUGS // len(PAIRS)))
        for first, _ in zip(("mixed", "renamed", "out"), PAIRS, strict=False)
    ]
    async with station_on_ptys(tmp_path) as (lab, seen, supervisor):
        serials = {name: str(one.serial) for name, one in lab.listening.items()}
        pairs = [Pair(lab, (one, two), (serials[one], serials[two]), seen) for one, two in PAIRS]

        async def suffer_all(pair: Pair, steps: list[Step], rest: random.Random) -> None:
            period = supervisor.followers[pair.names[0]].period
            for step in steps:
                await pair.suffer(step)
                await asyncio.sleep(rest.uniform(0.0, 1.5 * period))  # or every unplug would come just after an answer

        for name in serials:
            await seen.until_read(name, time.monotonic(), Step("out", 0.0))
        seen.resumed.clear()
        before = held()
        async with asyncio.TaskGroup() as group:
            for pair, steps in zip(pairs, plans, strict=True):
                group.create_task(suffer_all(pair, steps, random.Random(dice.random())))
        after = held()
        restarts = sum(one.restarts for one in supervisor.followers.values())
    unplugs = sum(step.unplugs for steps in plans for step in steps)
    mixed = sum(step.kind != "out" for steps in plans for step in steps)
    wrong = [one for one in seen.readings if abs(float(one.value or 0) - TRUE[one.series.instrument]) > 0.5]
    assert not wrong, wrong[:3]
    truth = [json.loads(line) for line in (tmp_path / "truth.jsonl").read_text().splitlines()]
    counts = compare(truth, [stored(number, one) for number, one in enumerate(seen.readings)], stops=unplugs)
    assert after == before, "files or tasks are left over"
    assert restarts == 0
    slowest = {name: max(times) for name, times in seen.resumed.items()}
    note(
        "R15",
        claim="an instrument that is unplugged is read again when it is back, and a stranger in its place never",
        aim=f"0 readings under a wrong name; read again ≤ {RESUMES_WITHIN:.0f} s after the plug (thermometers: and the "
        f"{SETTLES['bath-1']:.0f} s in which an answer to a question of before may come); no file or task left over",
        seen=f"{unplugs} unplugs of {len(counts)} serial instruments, {mixed} times mixed up in pairs, each noticed: "
        f"{len(seen.readings)} readings, 0 under a wrong name; read again after at most "
        + ", ".join(f"{seconds:.1f} s ({name})" for name, seconds in sorted(slowest.items()))
        + f"; {after[0]} files and {after[1]} tasks before and after",
        test="pytest tests/drills/test_unplug.py",
        seed=SEED,
    )


def stored(number: int, one: Reading) -> Stored:
    """Give a reading as the database would."""
    value = None if one.value is None else float(one.value)
    return Stored(
        one.series.instrument, one.series.channel, one.at, value, one.text, int(one.status), number, one.rtt_ms
    )
