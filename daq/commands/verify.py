"""`daq verify`: whether a station's file is what was written into it, and whether the database has the same."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console

from daq.bridge.influxdb import InfluxDb
from daq.bridge.sink import SinkError
from daq.commands.doubted import Doubted
from daq.commands.failing import FAILED, config_errors, fail, spool_errors
from daq.commands.progress import progress
from daq.commands.reach import reach, spool_of
from daq.commands.span import ALL_TIME, span_of
from daq.config import BridgeConfig, load
from daq.host.signals import state_folder
from daq.road.point import NoLine, parse
from daq.road.ranges import Ranges
from daq.spool import chain
from daq.spool.chain import Finding
from daq.station.installation import load_station
from daq.verification import ArchiveFile, Influx, Tally, compare, heads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from daq.commands.reach import Reach
    from daq.config import StationConfig
    from daq.road.point import Point
    from daq.spool.chain import Bounds, Row
    from daq.verification import Database

SHOWN = 20
AT_ONCE = 20_000
"""Rows that are compared with one question to the database, about."""


@dataclass
class Report:
    """What was checked, and what is wrong."""

    station: str
    epoch: str = ""
    first: int = 0
    last: int = 0
    rows: int = 0
    heads: int = 0
    doubts: int = 0
    """Doubts whose span reaches into the time that was asked for."""
    in_doubt: int = 0
    """Readings of that time that lie inside a doubt."""
    tally: Tally = field(default_factory=Tally)
    findings: list[Finding] = field(default_factory=list)


def verify_command(
    config_path: Path, bridge_path: Path | None, span: tuple[str | None, str | None], *, as_json: bool
) -> None:
    """Verify and report; exit 1 where anything is wrong."""
    start, end = span_of(span, ALL_TIME)
    with config_errors():
        config = load_station(config_path)
        bridge = load(bridge_path, BridgeConfig) if bridge_path else None
    if (archive := _archive_of(bridge)) is not None and not archive.is_file():
        fail(f"{archive}: there is no such file; name the config of the bridge that keeps it")
    with spool_errors(), reach(spool_of(config)) as spool:
        try:
            report = asyncio.run(_verify(config, bridge, spool, (start, end)))
        except SinkError as error:
            fail(str(error))
    if as_json:
        sys.stdout.write(json.dumps(_summary(report)) + "\n")
    else:
        _show(report, compared=bridge is not None)
    if report.findings or report.tally.differences:
        sys.exit(FAILED)


async def _verify(config: StationConfig, bridge: BridgeConfig | None, spool: Reach, span: tuple[int, int]) -> Report:
    bounds, stored = spool.bounds()
    report = Report(config.station, bounds.epoch, bounds.start + 1, bounds.head)
    influx = InfluxDb(bridge.influxdb) if bridge is not None and bridge.influxdb is not None else None
    try:
        database: Database | None = None
        if influx is not None:
            await influx.ask()
            database = Influx(influx)
        elif (archive := _archive_of(bridge)) is not None:
            database = ArchiveFile(archive)
        stored_heads = await heads(database, config.station, bounds.epoch) if database is not None else {}
        quarantined = Ranges((one["seq"], one["seq"]) for one in spool.quarantine())
        with progress() as bar:
            task = bar.add_task("records", total=bounds.head - bounds.start)
            doubts: list[Point] = []
            chain_check = _ChainCheck(bounds, stored_heads, report)
            for rows in _all_rows(spool, bounds):
                chain_check.check(rows)
                doubts += [one for one in _parsed(rows, b"doubt,") if _reaches_into(one, span)]
                inside = [row for row in rows if span[0] <= row.at < span[1]]
                if database is not None and inside:
                    found = await compare(inside, Ranges(stored), quarantined, config.station, bounds.epoch, database)
                    _add(report.tally, found)
                bar.update(task, completed=rows[-1].seq - bounds.start)
            chain_check.end()
            bar.update(task, completed=bounds.head - bounds.start)
        report.doubts, report.in_doubt = len(doubts), _count_in_doubt(spool, bounds, Doubted(doubts), span)
    finally:
        if influx is not None:
            await influx.close()
    return report


def _archive_of(bridge: BridgeConfig | None) -> Path | None:
    """Find the archive file of a bridge; None where it stores into a database, or where there is no bridge."""
    if bridge is None or bridge.influxdb is not None:
        return None
    return bridge.archive.path or state_folder() / "archive.sqlite"


def _count_in_doubt(spool: Reach, bounds: Bounds, doubted: Doubted, span: tuple[int, int]) -> int:
    """Count the readings of a span inside doubts: in a second pass, as a doubt is kept behind what it covers."""
    first, last = doubted.span
    start, end = max(span[0], first), min(span[1], last + 1)
    if start >= end:
        return 0
    pieces = _all_rows(spool, bounds, (start, end))
    return sum(1 for rows in pieces for reading in _parsed(rows, b"reading,") if doubted.words(reading))


def _parsed(rows: list[Row], beginning: bytes) -> Iterator[Point]:
    """Parse the whole lines that begin so; any other is a finding of the chain, or differs in the database."""
    for row in rows:
        if row.whole and row.line.startswith(beginning):
            with suppress(NoLine):
                yield parse(row.line)


def _reaches_into(doubt: Point, span: tuple[int, int]) -> bool:
    return doubt.time < span[1] and int(doubt.fields["until"]) >= span[0]


class _ChainCheck:
    """Checks the chain piece by piece."""

    def __init__(self, bounds: Bounds, stored_heads: dict[int, str], report: Report) -> None:
        self._bounds = bounds
        self._stored_heads = stored_heads
        self._report = report
        self._before = (bounds.start, bounds.start_digest)

    def check(self, rows: list[Row]) -> None:
        """Check checksums, digests, and the heads that the database has."""
        self._report.rows += len(rows)
        for row in rows:
            if not row.whole:
                self._report.findings.append(Finding(row.seq, "changed: its checksum does not fit"))
            if (stored_head := self._stored_heads.get(row.seq)) is not None:
                self._report.heads += 1
                if row.digest is None or row.digest.hex() != stored_head:
                    text = "the database has kept another head of the chain: this or an earlier record was changed"
                    self._report.findings.append(Finding(row.seq, text))
        inside = [row for row in rows if row.seq > self._bounds.start]
        if inside:
            self._follow(inside, inside[-1].seq, inside[-1].digest or b"")

    def _follow(self, rows: list[Row], head: int, head_digest: bytes) -> None:
        epoch, dropped = self._bounds.epoch, self._bounds.dropped
        piece = chain.Bounds(epoch, *self._before, head, head_digest, dropped)
        known = {one.seq for one in self._report.findings}
        self._report.findings += [one for one in chain.check(rows, piece) if one.seq not in known]
        self._before = (head, head_digest)

    def end(self) -> None:
        """Check that the last row is the head."""
        if self._before != (self._bounds.head, self._bounds.head_digest):
            self._follow([], self._bounds.head, self._bounds.head_digest)
        self._report.findings.sort(key=lambda one: one.seq)


def _all_rows(spool: Reach, bounds: Bounds, span: tuple[int, int] = ALL_TIME) -> Iterator[list[Row]]:
    """Give the rows of a span up to the head, `AT_ONCE` at a time: each question to the database takes time."""
    gathered: list[Row] = []
    after = 0
    while rows := spool.rows(after, *span):
        after = rows[-1].seq
        gathered += [row for row in rows if row.seq <= bounds.head]  # later rows came meanwhile
        if len(gathered) >= AT_ONCE or after >= bounds.head:
            if gathered:
                yield gathered
            gathered = []
        if after >= bounds.head:
            return
    if gathered:
        yield gathered


def _add(tally: Tally, more: Tally) -> None:
    tally.equal += more.equal
    tally.waiting += more.waiting
    tally.quarantined += more.quarantined
    tally.differences += more.differences


def _summary(report: Report) -> dict[str, Any]:
    wrong = [*report.findings, *report.tally.differences]
    return {
        "station": report.station,
        "epoch": report.epoch,
        "first": report.first,
        "last": report.last,
        "records": report.rows,
        "heads_compared": report.heads,
        "equal": report.tally.equal,
        "waiting": report.tally.waiting,
        "quarantined": report.tally.quarantined,
        "doubts": report.doubts,
        "readings_in_doubt": report.in_doubt,
        "whole": not wrong,
        "findings": [{"seq": one.seq, "text": one.text} for one in wrong[:1000]],
    }


def _show(report: Report, *, compared: bool) -> None:
    console = Console(highlight=False, markup=False)
    console.print(f"station {report.station}, epoch {report.epoch}: {report.rows} records kept, up to {report.last}")
    if report.findings:
        console.print(f"file: {len(report.findings)} findings, the first at record {report.findings[0].seq}")
    else:
        console.print(f"file: every checksum fits, and the chain is whole from record {report.first} to {report.last}")
    if compared:
        tally = report.tally
        console.print(f"heads of the chain kept by the database: {report.heads} compared")
        console.print(
            f"database: {tally.equal} records equal, {len(tally.differences)} differ; "
            f"{tally.waiting} wait, {tally.quarantined} in quarantine"
        )
    else:
        console.print("database: not compared; name the config of a bridge with --bridge")
    if report.doubts:
        console.print(
            f"doubts: {report.doubts}, with {report.in_doubt} readings inside, which may be wrong; "
            "the column `doubt` of `daq export` shows which and why"
        )
    else:
        console.print("doubts: none")
    wrong = [*report.findings, *report.tally.differences]
    for one in wrong[:SHOWN]:
        console.print(f"record {one.seq}: {one.text}")
    if len(wrong) > SHOWN:
        console.print(f"… and {len(wrong) - SHOWN} more")
