"""R17: the database is gone, with all that it had confirmed; the station fills an empty one with the same points."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.drills.report import count, note
from tests.drills.test_backfill import INSTRUMENTS, backlog, lab
from tests.drills.test_kills import database
from tests.system.conftest import needs
from tests.system.world import DAQ, influxql, world

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.world import World

DAYS = 30
CHUNK = "SELECT * FROM reading WHERE instrument = 'balance-{}' AND time <= {} GROUP BY *"


async def fingerprint(made: World, until: int) -> tuple[str, int]:
    """Give the hash of every reading up to a stamp, as the database gives it back, and how many these are."""
    assert made.database is not None
    found, rows = hashlib.sha256(), 0
    for number in range(INSTRUMENTS):
        for one in await influxql(made.database, CHUNK.format(number, until)):
            found.update(json.dumps(one, sort_keys=True).encode())
            rows += len(one["values"])
    return found.hexdigest(), rows


def replay(made: World) -> int:
    """Let a person say `daq replay`; gives how many records it says it has sent again."""
    command = [str(DAQ), "replay", f"--config={made.folder}/station.toml", "--json"]
    said = subprocess.run(command, cwd=made.folder / "station", capture_output=True, text=True, check=True)
    return int(json.loads(said.stdout)["recalled"])


@pytest.mark.timeout(1_800)
async def test_empty_database_is_filled_again(tmp_path: Path) -> None:
    kind = database()
    needs(kind)
    records = count(20_000, 1_000_000)
    (tmp_path / "lab.simulated.toml").write_text(lab())
    (tmp_path / "station").mkdir()
    period = (DAYS - 1) * 86_400 / (records / INSTRUMENTS)
    backlog(tmp_path / "station" / "spool.sqlite", records, period)
    async with world(tmp_path, tmp_path / "lab.simulated.toml", kind) as made:
        assert made.database is not None
        await asyncio.sleep(2.0)
        await made.until_drained(600)
        until = time.time_ns() - 1_000_000_000
        before, rows = await fingerprint(made, until)
        assert rows >= records
        await made.database.stop()
        shutil.rmtree(made.database.folder)
        made.database.folder.mkdir()
        await made.database.start()
        if made.database.token:
            (tmp_path / "token").write_text(made.database.token)
            await made.bridge.stop()
            await made.bridge.start()
        began = time.monotonic()
        recalled = await asyncio.to_thread(replay, made)
        took = time.monotonic() - began
        assert recalled >= rows
        await made.until_drained(600)
        after, again = await fingerprint(made, until)
        await made.station.stop()
        said = made.verify()
    ledger = made.ledger()
    assert (after, again) == (before, rows)
    assert ledger["stored"] == ledger["acquired"] == said["equal"]
    note(
        "R17",
        claim="a database that has lost everything is filled again from the station, with the same points",
        aim="30 days bit-identical (hash equal)",
        seen=f"{rows:,} readings of {DAYS} days, {kind}: database emptied, `daq replay` sent {recalled:,} records in "
        f"{took:.0f} s; SHA-256 over every series before and after equal ({after[:12]}…); `daq verify`: "
        f"{said['equal']} equal",
        test="pytest tests/drills/test_replay.py",
    )
