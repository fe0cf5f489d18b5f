"""R6: a day without a database; the spool grows as predicted, takes new records as fast, and opens as fast."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import pytest

from daq.road.line_protocol import encode
from daq.spool.file import Changes, SpoolFile
from daq.spool.queue import Spool
from daq.spool.writer import COMMIT_ROWS
from tests.drills.report import count, note
from tests.spools import GIB, reading

if TYPE_CHECKING:
    from pathlib import Path

DAY = 250 * 86_400
INSERT_WITHIN = 0.020
OPENS_WITHIN = 5.0
COMMITS = 300


def grown(file: SpoolFile, first: int, last: int) -> None:
    for start in range(first, last + 1, COMMIT_ROWS):
        end = min(start + COMMIT_ROWS - 1, last)
        rows = [(seq, reading(seq).at, encode(reading(seq), seq, file.epoch)) for seq in range(start, end + 1)]
        file.commit(Changes(rows))


@pytest.mark.timeout(7_200)
async def test_day_without_a_database(tmp_path: Path) -> None:
    records, path = count(60_000, DAY), tmp_path / "spool.sqlite"
    file = SpoolFile(path, 32 * GIB)
    part = records // 20
    grown(file, 1, part)
    predicted = file.used / part * records
    grown(file, part + 1, records)
    size = file.used
    took = []
    for seq in range(records + 1, records + 1 + COMMITS * 10, 10):  # a commit every 40 ms at 250 records a second
        rows = [(one, reading(one).at, encode(reading(one), one, file.epoch)) for one in range(seq, seq + 10)]
        began = time.perf_counter()
        file.commit(Changes(rows))
        took.append(time.perf_counter() - began)
    file.close()
    began = time.monotonic()
    spool = Spool(path, 32 * GIB)
    spool.put(reading(records + COMMITS * 10 + 1))
    await spool.flush()
    opened = time.monotonic() - began
    assert spool.ledger.spooled == records + COMMITS * 10 + 1
    first = await spool.run_from(1, 500)
    assert first is not None
    assert len(first[1]) == 500
    await spool.close()
    p99 = statistics.quantiles(took, n=100)[-1]
    assert abs(size / predicted - 1) < 0.05
    assert opened < OPENS_WITHIN
    note(
        "R6",
        claim="a day without a database: the spool is as large as predicted, and neither slower nor longer to open",
        aim=f"21,600,000 records: size as predicted ± 5 %; commit p99 ≤ {INSERT_WITHIN * 1e3:.0f} ms; open ≤ 5 s",
        seen=f"{records:,} records: {size / 1e9:.2f} GB ({size / records:.0f} bytes each), {size / predicted:.3f} of "
        f"what a twentieth of them predicted; commit of 10 records p50 {statistics.median(took) * 1e3:.1f} ms, "
        f"p99 {p99 * 1e3:.1f} ms; opened, and a new record committed, after {opened:.2f} s",
        test="pytest tests/drills/test_depth.py",
    )
