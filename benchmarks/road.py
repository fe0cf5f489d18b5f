"""Benchmarks of the whole road: rate, processor time, latency, timing, memory, start, use of slow lines."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmarks import labs
from benchmarks.measure import Result, cpu_seconds, quantile, resident_megabytes
from daq.demo.programs import find_influxdb
from tests.system.world import Stored, World, influxql, world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DATABASE = "influxdb2" if find_influxdb(2) else "influxdb1"


@asynccontextmanager
async def lab_of(text: str, *, kind: str = DATABASE, start: bool = True, truth: bool = False) -> AsyncIterator[World]:
    """Run a lab in a temporary folder."""
    with TemporaryDirectory(prefix="daq-bench-") as folder:
        lab = Path(folder) / "bench.toml"
        lab.write_text(text)
        async with world(Path(folder), lab, kind, start=start, truth=truth) as made:
            yield made


async def count(made: World) -> int:
    """Count the readings of the database."""
    assert made.database is not None  # noqa: S101
    series = await influxql(made.database, "SELECT count(status) FROM reading")
    return int(series[0]["values"][0][1]) if series else 0


async def throughput(offered: int, seconds: float = 12.0) -> list[Result]:
    """Read 100 balances with a period that gives `offered` readings per second, and count the stored ones."""
    async with lab_of(labs.balances(100, f"{100_000 / offered:g} ms")) as made:
        await asyncio.sleep(4.0)
        parts = {
            "simulators": made.simulators.pid,
            "station": made.station.pid,
            "broker": made.broker.pid,
            "bridge": made.bridge.pid,
            "database": made.database.pid if made.database else 0,
        }
        before = {name: cpu_seconds(pid) for name, pid in parts.items()}
        start, first = time.monotonic(), await count(made)
        await asyncio.sleep(seconds)
        stored, elapsed = await count(made) - first, time.monotonic() - start
        used = {name: cpu_seconds(pid) - before[name] for name, pid in parts.items()}
        await made.station.stop()
        ledger = made.ledger()
        lost = (
            sum(one["readings"] for one in ledger["instruments"].values())
            - await count(made)
            - ledger["waiting_readings"]
        )
    spent = ", ".join(f"{name} {seconds_used / stored * 1e6:.0f}" for name, seconds_used in used.items())
    return [
        Result(
            f"stored, {offered} readings/s offered by 100 TCP balances",
            f"{stored / elapsed:.0f} readings/s, {lost} lost",
            "10 000/s" if offered == 10_000 else "",
            f"CPU {sum(used.values()) / elapsed:.2f} of 2 cores; µs per reading: {spent}",
        )
    ]


async def latency(seconds: float = 10.0) -> list[Result]:
    """Ask the database again and again for the newest reading of one balance, while 1 000 readings/s are stored."""
    waits: list[float] = []
    async with lab_of(labs.balances(50, "50 ms")) as made:
        assert made.database is not None  # noqa: S101
        await asyncio.sleep(3.0)
        seen, end = 0, time.monotonic() + seconds
        query = "SELECT last(seq) FROM reading WHERE instrument = 'balance-7' AND time > now() - 5s"
        while time.monotonic() < end:
            (series,) = await influxql(made.database, query)
            at = series["values"][0][0]
            if at != seen:
                waits.append(time.time() * 1000 - at / 1e6)
                seen = at
    return [
        Result(
            "time from a reading until a query returns it, 1 000 readings/s",
            f"p50 {statistics.median(waits):.0f} ms, p99 {quantile(waits, 0.99):.0f} ms ({len(waits)} seen)",
            "p50 60 ms, p99 250 ms",
            "includes the time of the query",
        )
    ]


async def pacing(seconds: float = 20.0) -> list[Result]:
    """Compare the instants of the questions with the due instants: 100 instruments, ten times a second."""
    period = 100_000_000
    async with lab_of(labs.balances(100, "100 ms")) as made:
        await asyncio.sleep(seconds + 2)
        await made.station.stop()
        stored = await made.stored()
        ledger = made.ledger()
    asked = sorted(one.at - round(one.rtt_ms * 5e5) for one in stored if one.at > stored[0].at + 2_000_000_000)
    late = [(instant + period // 2) % period - period // 2 for instant in asked]
    half = len(late) // 2
    apart = (asked[-1] - asked[0]) / 2
    drift = (statistics.median(late[half:]) - statistics.median(late[:half])) / apart * 1e6
    missed = sum(one["missed"] for one in ledger["instruments"].values())
    return [
        Result(
            "timing of the questions, 100 instruments at 10 Hz",
            f"drift {drift:+.1f} ppm, delay p50 {statistics.median(late) / 1e6:.2f} ms, "
            f"p99 {quantile([abs(one) for one in late], 0.99) / 1e6:.2f} ms, {missed} readings missed",
            "≤ 5 ppm, p99 ≤ 2 ms",
        )
    ]


async def memory() -> list[Result]:
    """Read 50 instruments once a second and measure the memory of the station."""
    async with lab_of(labs.balances(50, "1 s")) as made:
        await asyncio.sleep(10.0)
        return [
            Result("memory of the station, 50 instruments", f"{resident_megabytes(made.station.pid):.0f} MB", "≤ 90 MB")
        ]


async def start(times: int = 5) -> list[Result]:
    """Start the station and wait for the simulator to note the first answer."""
    waits = []
    async with lab_of(labs.balances(1, "10 ms"), kind="archive", start=False, truth=True) as made:
        for _ in range(times):
            known = len(made.truth()) if made.truth_file.exists() else 0
            begun = time.time_ns()
            await made.station.start()
            while not made.truth_file.exists() or len(made.truth()) <= known:
                await asyncio.sleep(0.02)
            waits.append((made.truth()[known]["at_ns"] - begun) / 1e9)
            await made.station.kill()
            await asyncio.sleep(0.3)
    return [
        Result(
            "time from start to the first reading", f"{statistics.median(waits):.2f} s (median of {times})", "≤ 1.5 s"
        )
    ]


def rate(stored: list[Stored]) -> float:
    """Give the number of answers per second, without the first and last five."""
    instants = sorted({(one.instrument, one.at) for one in stored}, key=lambda pair: pair[1])[5:-5]
    return (len(instants) - 1) / ((instants[-1][1] - instants[0][1]) / 1e9)


async def serial_line(seconds: float = 12.0) -> list[Result]:
    """Read one balance at 9600 baud as fast as it goes: 4 characters sent, 18 received, 10 bits each."""
    async with lab_of(labs.SERIAL_LINE, kind="archive") as made:
        await asyncio.sleep(seconds)
        await made.station.stop()
        stored = await made.stored()
    possible = 9600 / 10 / (4 + 18)
    return [
        Result(
            "MT-SICS at 9600 baud",
            f"{rate(stored):.1f}/s, {100 * rate(stored) / possible:.1f} % of the time of the line",
            "≥ 98 %",
        )
    ]


async def rtu_bus(seconds: float = 12.0, units: int = 16) -> list[Result]:
    """Read 16 units on one line of 19200 baud: 8 characters sent, 13 received, 2 pauses of 3.5, 11 bits each."""
    async with lab_of(labs.rtu_bus(units), kind="archive") as made:
        await asyncio.sleep(seconds + 2)
        await made.station.stop()
        stored = [one for one in await made.stored() if one.channel == "humidity"]
    possible = 19200 / 11 / (8 + 13 + 7)
    share = 100 * rate(stored) / possible
    return [
        Result(
            f"Modbus RTU at 19200 baud, {units} units",
            f"{rate(stored):.1f}/s, {share:.1f} % of the time of the line",
            "≥ 98 %",
        )
    ]


async def everything() -> list[Result]:
    """Run all benchmarks of the road, one after the other."""
    results: list[Result] = []
    for benchmark in (
        partial(throughput, 2_000),
        partial(throughput, 5_000),
        partial(throughput, 10_000),
        latency,
        pacing,
        memory,
        start,
        serial_line,
        rtu_bus,
    ):
        found = await benchmark()
        results += found
        for one in found:
            print(json.dumps(one.__dict__, ensure_ascii=False), flush=True)
    return results
