"""`daq verify`: whether a station's file is what was written into it, and whether the database has the same."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from daq.bridge.influxdb import InfluxDb
from daq.bridge.sink import SinkError
from daq.commands.failing import FAILED, config_errors, fail
from daq.commands.reach import reach, spool_of
from daq.commands.span import span_of
from daq.config import BridgeConfig, load
from daq.host.signals import state_folder
from daq.road.ranges import Ranges
from daq.spool import chain
from daq.spool.chain import Finding
from daq.spool.schema import SpoolError
from daq.station.control import ControlError
from daq.station.installation import load_station
from daq.verification import ArchiveFile, Influx, Tally, compare, heads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from daq.commands.reach import Reach
    from daq.config import StationConfig
    from daq.spool.chain import Bounds, Row
    from daq.verification import Database

ALL_TIME = (-(2**62), 2**62)
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
    try:
        with reach(spool_of(config)) as spool:
            report = asyncio.run(_verify(config, bridge, spool, (start, end)))
    except FileNotFoundError as error:
        fail(f"{error.args[0]}: there is no such file; name the config of the station that keeps it")
    except (ControlError, SpoolError, SinkError) as error:
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
        elif bridge is not None:
            database = ArchiveFile(bridge.archive.path or state_folder() / "archive.sqlite")
        stored_heads = await heads(database, config.station, bounds.epoch) if database is not None else {}
        quarantined = Ranges((one["seq"], one["seq"]) for one in spool.quarantine())
        with _progress() as progress:
            task = progress.add_task("records", total=bounds.head - bounds.start)
            chain_check = _ChainCheck(bounds, stored_heads, report)
            for rows in _all_rows(spool, bounds):
                chain_check.check(rows)
                inside = [row for row in rows if span[0] <= row.at < span[1]]
                if database is not None and inside:
                    found = await compare(inside, Ranges(stored), quarantined, config.station, bounds.epoch, database)
                    _add(report.tally, found)
                progress.update(task, completed=rows[-1].seq - bounds.start)
            chain_check.end()
            progress.update(task, completed=bounds.head - bounds.start)
    finally:
        if influx is not None:
            await influx.close()
    return report


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


def _all_rows(spool: Reach, bounds: Bounds) -> Iterator[list[Row]]:
    """Give all rows up to the head, `AT_ONCE` at a time: each question to the database takes time."""
    gathered: list[Row] = []
    after = 0
    while rows := spool.rows(after, *ALL_TIME):
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


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)


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
    wrong = [*report.findings, *report.tally.differences]
    for one in wrong[:SHOWN]:
        console.print(f"record {one.seq}: {one.text}")
    if len(wrong) > SHOWN:
        console.print(f"… and {len(wrong) - SHOWN} more")
