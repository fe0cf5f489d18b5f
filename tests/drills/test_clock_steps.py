"""The wall clock of a real station is set forwards and backwards while it reads; no record takes another's place."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from daq.demo.programs import cache_folder
from daq.host.clock import synchronised
from tests.drills.report import SEED, count, note
from tests.system.comparison import answers_to_polls
from tests.system.conftest import needs
from tests.system.world import World, influxql, log_of, world

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS = count(1, 20)
SECOND = 1_000_000_000
HOUR = 3_600.0
YEARS = 2 * 365 * 86_400.0
CHANNELS = 4
STAMPED_WITHIN_NS = 100_000_000
"""From an answer to its stamp; a clock that is set meanwhile may count with either time."""
LAB = """
seed = 13
[instruments.balance]
simulator = "mt-sics"
serve = "pty"
serial = "SIM0000001"
period = "50 ms"
options = { noise_g = 5.0, hold_s = 1e6 }
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
options = { noise_ohm = 1.0 }
"""


def library() -> Path:
    """Find libfaketime, which puts another time into one process only; skip where it is not there."""
    places = [cache_folder() / "debian" / "usr" / "lib", Path("/usr/lib")]
    found = [path for place in places for path in place.glob("*/faketime/libfaketimeMT.so.1")]
    if not found:
        pytest.skip("libfaketime is missing: make servers (or apt install libfaketime)")
    return found[0]


@dataclass
class WallClock:
    """The wall clock of one process: the true one, and an offset that can be set while it runs."""

    library: Path
    file: Path
    offset: float = 0.0
    past: list[tuple[int, int, float]] = field(default_factory=list)
    """Since when at the earliest, and at the latest (true UTC ns), which offset was in force."""

    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(self.library),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def set_by(self, seconds: float) -> None:
        """Set it by so many seconds."""
        self.offset += seconds
        new = self.file.with_suffix(".new")
        new.write_text(f"{self.offset:+.6f}\n")
        before = time.time_ns()
        new.replace(self.file)
        self.past.append((before, time.time_ns(), self.offset))

    def offsets(self, first_ns: int, last_ns: int) -> Iterator[int]:
        """Give every offset (ns) that was in force between two true instants."""
        for place, (since, _, offset) in enumerate(self.past):
            until = self.past[place + 1][1] if place + 1 < len(self.past) else 2**63
            if since <= last_ns and until > first_ns:
                yield round(offset * SECOND)


@dataclass
class Operator:
    """Sets the clock of a station, waits until the station says so, and knows what it should have said."""

    made: World
    clock: WallClock
    dice: random.Random
    expected: list[float] = field(default_factory=list)
    starts: int = 0

    async def set_by(self, seconds: float) -> None:
        self.clock.set_by(seconds)
        self.expected.append(seconds)
        await self.until_said()

    async def until_said(self) -> None:
        """Wait until every step was noticed, and for some readings more."""
        await self._until_logged(" clock_step: ", len(self.expected))

    async def start(self) -> None:
        """Start the station; a clock that is set before it reads is no step."""
        await self.made.station.start()
        self.starts += 1
        await self._until_logged(" connect: ", self.starts * LAB.count("[instruments."))

    async def _until_logged(self, words: str, times: int) -> None:
        deadline = time.monotonic() + 15.0
        while log_of(self.made.station).count(words) < times:
            assert time.monotonic() < deadline, log_of(self.made.station)[-2000:]
            await asyncio.sleep(0.02)
        await asyncio.sleep(self.dice.uniform(0.1, 0.4))

    async def set_back_across_a_batch(self, seconds: float) -> None:
        """Set it back while the broker is down: records of both times wait, and leave together."""
        await self.made.broker.kill()
        await asyncio.sleep(self.dice.uniform(0.1, 0.4))
        await self.set_by(-seconds)
        await self.made.broker.start()

    async def set_back_between_two_runs(self, seconds: float) -> None:
        """Start the station anew with a clock that is behind what it has stored."""
        await self.made.station.stop()
        self.clock.set_by(-seconds)
        self.expected.append(-seconds)
        await self.start()
        await self.until_said()


@dataclass(frozen=True)
class Point:
    """One reading of the database, with what is said about its stamp."""

    at: int
    seq: int
    value: float | None
    rtt_ms: float
    clock: str
    clock_at: int | None

    @property
    def seen(self) -> int:
        """What the clock of the station showed when it was read."""
        return self.at if self.clock_at is None else self.clock_at


async def points(made: World) -> dict[tuple[str, str], list[Point]]:
    """Every reading by instrument and channel, in the order in which they were taken."""
    assert made.database is not None
    query = "SELECT seq, value, rtt_ms, clock, clock_at FROM reading GROUP BY instrument, channel"
    return {
        (one["tags"]["instrument"], one["tags"]["channel"]): sorted(
            (Point(at, seq, value, rtt, said or "", clock_at) for at, seq, value, rtt, said, clock_at in one["values"]),
            key=lambda point: point.seq,
        )
        for one in await influxql(made.database, query)
    }


async def numbers(made: World) -> list[int]:
    """Give the number of every record of every measurement, rising."""
    assert made.database is not None
    series = await influxql(made.database, "SELECT seq FROM reading, event, station GROUP BY *")
    return sorted(row[1] for one in series for row in one["values"])


async def events(made: World, kind: str) -> list[str]:
    """Give what was said of one kind, in its order."""
    assert made.database is not None
    series = await influxql(made.database, "SELECT seq, text FROM event GROUP BY kind")
    said = sorted((row[1], row[2]) for one in series for row in one["values"] if one["tags"]["kind"] == kind)
    return [text for _, text in said]


def follow(truth: list[dict[str, Any]], given: list[Point], channel: str, clock: WallClock, stops: int) -> int:
    """Hold the readings of one channel, in their order, against the answers of its simulator in theirs.

    Their stamps tell nothing here, so only the order does: each answer is stored next after the one before it, but for
    one that was on its way at each stop of the station. Gives how many stamps were held.
    """
    answers = [one for one in truth if channel in one["values"]]
    place = 0
    latest, held = 0, 0
    for point in given:
        while (digits := answers[place]["values"][channel]) is None or float(digits) != point.value:
            place += 1
            assert place < len(answers), f"{channel}: no simulator gave {point} after what was stored before it"
        true = answers[place]["at_ns"]
        place += 1
        rtt = round(point.rtt_ms * 1e6)
        offsets = clock.offsets(true - rtt, true + rtt + STAMPED_WITHIN_NS)
        assert any(abs(point.seen - true - one) <= rtt / 2 + 1_000_000 for one in offsets), (
            f"{channel}: {point} at {true}"
        )
        assert point.at > latest, f"{channel}: {point} is not later than the reading before it, {latest}"
        assert (point.clock == "held") == (point.clock_at is not None), f"{channel}: {point}"
        assert point.clock_at is None or point.clock_at < point.at, f"{channel}: {point}"
        latest = point.at
        held += point.clock == "held"
    assert len(answers) - len(given) <= stops, f"{channel}: {len(given)} readings of {len(answers)} answers"
    return held


def check_steps(said: list[str], expected: list[float]) -> None:
    """Hold the events against the steps, in their order: one each."""
    assert len(said) == len(expected), said
    for text, seconds in zip(said, expected, strict=True):
        if found := re.search(r"was set by ([+-][\d.]+) s", text):
            assert abs(float(found[1]) - seconds) < 0.1, f"{text}, but by {seconds} s"
        else:
            assert "behind the last record" in text, text


@pytest.mark.timeout(60 + 25 * ROUNDS)
async def test_steps_of_the_wall_clock_overwrite_nothing(tmp_path: Path) -> None:
    needs("influxdb1")
    dice = random.Random(SEED)
    lab = tmp_path / "lab.simulated.toml"
    lab.write_text(LAB)
    clock = WallClock(library(), tmp_path / "clock")
    async with world(tmp_path, lab, "influxdb1", start=False) as made:
        made.station.environment = clock.environment()
        operator = Operator(made, clock, dice)
        clock.set_by(-YEARS)  # a computer without a battery for its clock, before it has found its time server
        await made.bridge.start()
        await operator.start()
        await operator.set_by(YEARS)
        for _ in range(ROUNDS):
            for seconds in dice.sample((-1.0, 1.0), 2):
                await operator.set_by(seconds)
            await operator.set_by(HOUR)
            await operator.set_back_across_a_batch(10.0)
            await operator.set_by(HOUR)
            await operator.set_by(-HOUR)
            await operator.set_back_between_two_runs(10.0)
            await operator.set_by(HOUR)
        await made.station.stop()
        given, known = await points(made), await numbers(made)
        steps, notices = await events(made, "clock_step"), await events(made, "clock_sync")
        truth = defaultdict(list)
        for one in answers_to_polls(made.truth()):
            truth[one["instrument"]].append(one)
    ledger = made.ledger()
    assert known == list(range(1, ledger["acquired"] + 1)), "records are missing, or took the place of others"
    assert ledger["stored"] == ledger["acquired"]
    assert (ledger["spooled"], ledger["quarantined"], ledger["dropped"]) == (0, 0, 0)
    check_steps(steps, operator.expected)
    assert len(given) == CHANNELS
    held = {key: follow(truth[key[0]], series, key[1], clock, operator.starts) for key, series in given.items()}
    assert all(held.values()), held
    # Nobody but root can give this computer a time server or take it away: it says here what it says everywhere.
    readings = [point for series in given.values() for point in series]
    follows = synchronised() is not False
    assert {point.clock for point in readings} == {"held", "" if follows else "unsynchronised"}
    assert len(notices) == (0 if follows else operator.starts), notices
    assert "Traceback" not in log_of(made.station) + log_of(made.bridge)
    note(
        "R13",
        claim="however the wall clock is set, no record takes the place of another one, and a held stamp is marked",
        aim="0 records overwritten; one event for each step; every stamp is what the clock said, or is marked as held",
        seen=f"{len(steps)} steps (1 s, 10 s, 1 h, both ways; 2 years at the first start; back while the broker was "
        f"down, and between two runs), each with its event: {len(readings)} readings of {len(given)} channels in "
        f"the order of the simulators, {len(known)} records, 0 overwritten, {sum(held.values())} stamps held and marked"
        + ("" if follows else "; no time server here, and every reading says so"),
        test="pytest tests/drills/test_clock_steps.py",
        seed=SEED,
    )
