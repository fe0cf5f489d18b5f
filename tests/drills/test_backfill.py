"""R4: the database was away for an hour; the backlog goes in many times faster than it came, and live data stays fresh.

The hour is written into the station's spool beforehand, as the station would have: 50 instruments, five readings a
second each. Everything else is real: the same 50 instruments are read on while the backlog drains.
"""

from __future__ import annotations

import asyncio
import logging
import os
import statistics
import time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from daq.road.line_protocol import encode
from daq.road.reading import Reading, Series
from daq.spool.file import Changes, SpoolFile
from daq.spool.writer import COMMIT_ROWS
from drivers.sample import Status
from tests.drills.report import count, note
from tests.drills.test_kills import database
from tests.system.conftest import needs
from tests.system.world import compare, influxql, world

if TYPE_CHECKING:
    from tests.system.world import Database, World

log = logging.getLogger(__name__)

INSTRUMENTS = 50
PERIOD = 0.2
HOUR = INSTRUMENTS * 5 * 3_600
GIB = 2**30
DOWN = 8.0
FRESH = "SELECT last(status) FROM reading WHERE instrument = 'balance-7'"


def lab() -> str:
    one = '[instruments.balance-{0}]\nsimulator = "mt-sics"\nserve = "tcp"\nserial = "SIM{0:07}"\nperiod = "200 ms"\n'
    return "".join(one.format(number) for number in range(INSTRUMENTS))


def backlog(path: Path, records: int, period: float = PERIOD) -> None:
    """Write a spool with so many records that wait, one of each instrument a period, the last some seconds old."""
    file = SpoolFile(path, 8 * GIB)
    series = [Series("lab", f"balance-{number}", "mass", "mass", "g") for number in range(INSTRUMENTS)]
    ticks = records // INSTRUMENTS
    start = time.time_ns() - round((ticks * period + 10) * 1e9)
    rows = []
    for number in range(ticks * INSTRUMENTS):
        at = start + number // INSTRUMENTS * round(period * 1e9) + number % INSTRUMENTS * 1_000
        value, text = Decimal(number) / 100, f"S S {number / 100:10.2f} g"
        reading = Reading(series[number % INSTRUMENTS], at, value, Status.GOOD, text, 1.5, True, True)
        rows.append((number + 1, at, encode(reading, number + 1, file.epoch)))
        if len(rows) == COMMIT_ROWS:
            file.commit(Changes(rows))
            rows = []
    file.commit(Changes(rows))
    file.close()


def processor_time(pid: int) -> float:
    """Give the processor seconds that a process has used."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


async def freshness(made: World, database: Database, ages: list[float]) -> None:
    """Ask the database again and again how old its newest reading of one instrument is."""
    while True:
        found = await influxql(database, FRESH)
        if found:
            ages.append((time.time_ns() - found[0]["values"][0][0]) / 1e9)
        await asyncio.sleep(0.1)


@pytest.mark.timeout(900)
async def test_backlog_drains_while_live_data_stays_fresh(tmp_path: Path) -> None:
    kind = database()
    needs(kind)
    records = count(60_000, HOUR)
    (tmp_path / "lab.simulated.toml").write_text(lab())
    (tmp_path / "station").mkdir()
    backlog(tmp_path / "station" / "spool.sqlite", records)
    ages: list[float] = []
    async with world(tmp_path, tmp_path / "lab.simulated.toml", kind) as made:
        assert made.database is not None
        await made.database.kill()
        await asyncio.sleep(DOWN)
        assert (await made.status())["spooled"] >= records
        await made.database.start()
        parts = {name: getattr(made, name).pid for name in ("station", "broker", "bridge", "database", "simulators")}
        used = {name: processor_time(pid) for name, pid in parts.items()}
        before = await made.status()
        while (await made.status())["stored"] == before["stored"]:  # the bridge asks from time to time
            await asyncio.sleep(0.05)
        began = time.monotonic()
        looking = asyncio.create_task(freshness(made, made.database, ages))
        while (status := await made.status())["backfill"] is not None or status["spooled"] > 2_000:
            await asyncio.sleep(0.1)
            assert time.monotonic() - began < 600, status
        took = time.monotonic() - began
        used = {name: (processor_time(pid) - used[name]) / took for name, pid in parts.items()}
        looking.cancel()
        await asyncio.wait([looking])
        await made.until_drained()
        await made.station.stop()
        said = made.verify()
        live = [one for one in await made.stored() if one.seq > records]
        compare(made.truth(), live)
    rate = (status["stored"] - before["stored"]) / took
    ledger = made.ledger()
    assert ledger["stored"] == ledger["acquired"] == said["equal"]
    assert said["equal"] > records
    ages = ages[3:]  # the first ones were asked before anything was stored at all
    p95 = statistics.quantiles(ages, n=20)[-1]
    log.info("%.0f rows/s, p95 %.2f s, processors in use: %s", rate, p95, used)
    note(
        "R4",
        claim="after an outage the backlog drains many times faster than it came, and live data stays fresh",
        aim="0 lost; ≥ 50,000 rows/s (200 times real time); live freshness p95 ≤ 1 s",
        seen=f"{records:,} records (an hour of 250/s), {kind}, down for {DOWN:.0f} s more: drained in {took:.1f} s = "
        f"{rate:,.0f} rows/s; newest live reading in the database p50 {statistics.median(ages):.2f} s, "
        f"p95 {p95:.2f} s, at most {max(ages):.2f} s old ({len(ages)} samples); `daq verify`: {said['equal']} equal",
        test="pytest tests/drills/test_backfill.py",
    )
