"""Spools filled with readings that every test knows."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from daq.road.reading import Reading, Series
from daq.spool.queue import Spool
from drivers.sample import Status

if TYPE_CHECKING:
    from pathlib import Path

SERIES = Series("lab", "balance", "mass", "mass", "g")
GIB = 2**30


def reading(number: int) -> Reading:
    text = f"S S {number:10}.00 g"
    return Reading(SERIES, 1_700_000_000_000_000_000 + number, Decimal(number), Status.GOOD, text, 12.5, True, False)


async def filled(path: Path, count: int, limit: int = GIB) -> Spool:
    spool = Spool(path, limit)
    for number in range(count):
        spool.put(reading(number))
    await spool.flush()
    return spool
