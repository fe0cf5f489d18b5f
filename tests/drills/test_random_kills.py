"""Kills of random parts of the road, one after another; at the end every reading is stored once."""

from __future__ import annotations

import asyncio
import os
import random
from typing import TYPE_CHECKING

import pytest

from tests.system.conftest import needs
from tests.system.test_road import KILLED_LAB
from tests.system.world import compare, world

if TYPE_CHECKING:
    from pathlib import Path

KILLS = int(os.environ.get("DAQ_DRILL_KILLS", "40"))
SEED = int(os.environ.get("DAQ_DRILL_SEED", "1"))


@pytest.mark.timeout(KILLS * 5 + 120)
@pytest.mark.parametrize("kind", ["influxdb2", "influxdb1"])
async def test_random_kills(tmp_path: Path, kind: str) -> None:
    needs(kind)
    dice = random.Random(SEED)
    lab = tmp_path / "killed.toml"
    lab.write_text(KILLED_LAB)
    killed = {"station": 0, "broker": 0, "bridge": 0, "database": 0}
    async with world(tmp_path, lab, kind) as made:
        for _ in range(KILLS):
            name = dice.choice(sorted(killed))
            await asyncio.sleep(dice.uniform(0.2, 1.2))
            await getattr(made, name).kill()
            await asyncio.sleep(dice.uniform(0.0, 0.8))
            await getattr(made, name).start()
            killed[name] += 1
        await asyncio.sleep(6.0)
        await made.station.stop()
        stored = await made.stored()
        # What a killed station had read and not yet committed is some ten milliseconds of readings.
        counts = compare(made.truth(), stored, stops=killed["station"] * 10 + 1)
    ledger = made.ledger()
    assert ledger["spooled"] == 0
    assert ledger["stored"] == ledger["acquired"]
    numbers = [one.seq for one in stored]
    assert len(set(numbers)) == len(numbers)
    assert sum(counts.values()) == len(numbers)
