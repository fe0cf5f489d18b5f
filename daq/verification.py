"""Compares the records that a station keeps with a database: record by record, and by the heads of the hash chain."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from daq.bridge import archive
from daq.road.point import NoLine, Point, parse
from daq.road.ranges import Ranges
from daq.spool.chain import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from daq.bridge.influxdb import InfluxDb
    from daq.road.point import Value
    from daq.spool.chain import Row

MEASUREMENTS = ("reading", "event", "doubt", "station")

Key = tuple[str, tuple[tuple[str, str], ...], int]


class Database(Protocol):
    """Where stored points can be read back."""

    async def points(self, measurement: str, station: str, first: int, last: int) -> Iterator[Point]:
        """Give the points of a station with stamps from `first` to `last` (UTC ns)."""


class Influx:
    """An InfluxDB, asked in InfluxQL."""

    def __init__(self, database: InfluxDb) -> None:
        self._database = database

    async def points(self, measurement: str, station: str, first: int, last: int) -> Iterator[Point]:
        """Give the points of a span; SinkError where the database does not answer."""
        name = station.replace("\\", "\\\\").replace("'", "\\'")
        found = await self._database.query(
            f"SELECT * FROM \"{measurement}\" WHERE station = '{name}' "  # noqa: S608  # InfluxQL knows no parameters here
            f"AND time >= {first} AND time <= {last} GROUP BY *"
        )
        return (
            Point(
                measurement,
                {key: value for key, value in one["tags"].items() if value},
                {key: value for key, value in zip(one["columns"][1:], row[1:], strict=True) if value is not None},
                {},
                row[0],
            )
            for one in found
            for row in one["values"]
        )


class ArchiveFile:
    """The archive file of a bridge."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def points(self, measurement: str, station: str, first: int, last: int) -> Iterator[Point]:
        """Give the points of a span; FileNotFoundError where there is no archive."""
        found = archive.points(self._path, measurement, first, last + 1)
        return (point for point in found if point.tags.get("station") == station)


@dataclass
class Tally:
    """The counts of a comparison, and the differences that it found."""

    equal: int = 0
    waiting: int = 0
    quarantined: int = 0
    differences: list[Finding] = field(default_factory=list)


async def compare(
    rows: Sequence[Row], stored: Ranges, quarantined: Ranges, station: str, epoch: str, database: Database
) -> Tally:
    """Compare some rows, in order of number, with the points that a database has for them."""
    tally = Tally()
    expected = _expected(rows, stored, quarantined, tally)
    kept = Ranges((row.seq, row.seq) for row in rows)
    for measurement in MEASUREMENTS:
        stamps = [point.time for _, point in expected.values() if point.measurement == measurement]
        if not stamps:
            continue
        for point in await database.points(measurement, station, min(stamps), max(stamps)):
            if (match := expected.pop(_key(point), None)) is not None:
                if difference := _difference(match[1].fields, point.fields):
                    tally.differences.append(Finding(match[0], f"{_name(point)}: {difference}"))
                else:
                    tally.equal += 1
            elif (
                point.fields.get("epoch") == epoch and rows[0].seq <= (seq := int(point.fields["seq"])) <= rows[-1].seq
            ):
                if seq in kept:
                    continue  # stored, but the acknowledgement has not reached the station yet
                tally.differences.append(Finding(seq, f"{_name(point)}: only the database has it"))
    tally.differences += [
        Finding(seq, f"{_name(point)}: missing in the database, which had confirmed it")
        for seq, point in expected.values()
    ]
    tally.differences.sort(key=lambda one: one.seq)
    return tally


def _expected(rows: Sequence[Row], stored: Ranges, quarantined: Ranges, tally: Tally) -> dict[Key, tuple[int, Point]]:
    """Give the rows that the database should have; count the others."""
    expected: dict[Key, tuple[int, Point]] = {}
    for row in rows:
        if row.seq in quarantined:
            tally.quarantined += 1
        elif row.seq not in stored:
            tally.waiting += 1
        else:
            try:
                point = parse(row.line)
            except NoLine as error:
                tally.differences.append(Finding(row.seq, f"unreadable in the station's file: {error}"))
                continue
            expected[_key(point)] = (row.seq, point)
    return expected


def _key(point: Point) -> Key:
    return point.measurement, tuple(sorted(point.tags.items())), point.time


def _name(point: Point) -> str:
    tags = (point.tags.get(key) for key in ("instrument", "channel", "kind"))
    return " ".join([point.measurement, *filter(None, tags), f"at {point.time}"])


def _difference(at_station: Mapping[str, Value], in_database: Mapping[str, Value]) -> str:
    for name in sorted({*at_station, *in_database}):
        if (here := at_station.get(name)) != (there := in_database.get(name)):
            return f"{name} is {here!r} at the station and {there!r} in the database"
    return ""


async def heads(database: Database, station: str, epoch: str) -> dict[int, str]:
    """Give the heads of the hash chain that the station's health records hold in the database, by record number."""
    found = await database.points("station", station, -(2**62), 2**62)
    return {
        int(point.fields["head_seq"]): str(point.fields["head"])
        for point in found
        if point.fields.get("epoch") == epoch and "head" in point.fields
    }
