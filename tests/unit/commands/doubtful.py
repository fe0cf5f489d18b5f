"""An archive file and a spool file of the real writers, with the same ten readings of a balance and doubts of some."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from daq.bridge.archive import Archive
from daq.road.line_protocol import encode
from daq.road.reading import Doubt, Reading, Series
from daq.spool.queue import Spool
from drivers.sample import Status

if TYPE_CHECKING:
    from pathlib import Path

    from daq.road.reading import Record

START = 1_700_000_000_000_000_000
SECOND = 1_000_000_000
SERIES = Series("lab", "balance", "mass", "mass", "g")
SPOOL = "spool.sqlite"
STRANGER = 'serial number "B2" answers, not "B1"'


def reading(second: int, *, channel: str = "mass", serial: str = "B1", identified: bool = True) -> Reading:
    series = Series("lab", "balance", channel, "mass", "g")
    text = f"S S {second:10}.00 g"
    at = START + second * SECOND
    return Reading(series, at, Decimal(second), Status.GOOD, text, 12.5, identified, False, serial=serial)


def doubt(first: int, last: int, kind: str = "identity", text: str = STRANGER, *, channel: str = "mass") -> Doubt:
    return Doubt("lab", "balance", channel, kind, text, START + first * SECOND, START + last * SECOND)


RECORDS: list[Record] = [
    *(reading(second) for second in range(10)),
    reading(3, channel="other", serial="", identified=False),
    doubt(2, 4),
    doubt(4, 6, "unit", "stored without a unit"),
    doubt(0, 9, channel="third"),
]
"""Readings 2 to 4 are in the first doubt, 4 to 6 in the second; the doubts are recorded after all readings."""


async def spool_file(folder: Path, records: list[Record] = RECORDS) -> Path:
    spool = Spool(folder / SPOOL, 2**30)
    for record in records:
        spool.put(record)
    await spool.flush()
    await spool.close()
    return folder / SPOOL


async def archive_file(folder: Path, records: list[Record] = RECORDS) -> Path:
    archive = Archive(folder / "archive.sqlite")
    await archive.write([encode(record, seq, "e" * 32) for seq, record in enumerate(records, 1)])
    await archive.close()
    return folder / "archive.sqlite"
