"""A whole laboratory of real processes: simulators, broker, station, bridge, database; and what they stored."""

from __future__ import annotations

import asyncio
import csv
import json
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from daq.demo.programs import find, find_influxdb
from daq.demo.servers import InfluxDb1, InfluxDb2, Mosquitto, Server, VictoriaMetrics
from daq.demo.whole_lab import Program
from daq.station.control import ControlError, ask, socket_of
from tests.system.comparison import Stored, compare

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["DAQ", "ROOT", "Database", "Stored", "World", "compare", "influxql", "log_of", "make_database", "world"]

Database = InfluxDb1 | InfluxDb2 | VictoriaMetrics
UNDER_WAY = 500
"""Records in the spool of a road in good health: they are read, committed, and not yet acknowledged."""
TRIES = 300
"""Times that a station which does not answer at its control socket is asked again, 50 ms apart: it may be starting."""
ROOT = Path(__file__).parents[2]
DAQ = Path(sys.executable).with_name("daq")


@dataclass
class World:
    """Everything that runs, by name; `database` is None where the bridge stores into an archive file."""

    folder: Path
    broker: Mosquitto
    database: Database | None
    simulators: Program
    station: Program
    bridge: Program
    name: str = "lab"

    @property
    def truth_file(self) -> Path:
        return self.folder / "truth.jsonl"

    @property
    def archive(self) -> Path:
        return self.folder / "bridge" / "archive.sqlite"

    def truth(self) -> list[dict[str, Any]]:
        """Every answer with values that a simulator gave, in its own words."""
        with self.truth_file.open() as lines:
            return [json.loads(line) for line in lines if line.endswith("\n")]

    def ledger(self) -> dict[str, Any]:
        """Give the last count of a station that was stopped."""
        found: dict[str, Any] = json.loads((self.folder / "station" / "spool.sqlite.ledger.json").read_text())
        return found

    @property
    def control(self) -> Path:
        """Where the station answers."""
        return socket_of(self.folder / "station" / "spool.sqlite")

    async def status(self) -> dict[str, Any]:
        """Ask the station how it is, as soon as it is up."""
        tries = 0
        while True:
            try:
                said: dict[str, Any] = (await asyncio.to_thread(ask, self.control, "status"))["status"]
            except ControlError:
                tries += 1
                if tries > TRIES:
                    raise
                await asyncio.sleep(0.05)
            else:
                return said

    async def until_drained(self, within: float = 120.0) -> float:
        """Wait until hardly anything waits in the station's spool; gives the seconds."""
        began = time.monotonic()
        while (status := await self.status())["spooled"] > UNDER_WAY:
            assert time.monotonic() - began < within, f"not drained: {status}\n{log_of(self.bridge)[-3000:]}"
            await asyncio.sleep(0.2)
        return time.monotonic() - began

    def verify(self) -> dict[str, Any]:
        """Let `daq verify` compare the station's file with the database, record by record."""
        configs = (
            f"{word}={self.folder}/{name}.toml" for word, name in (("--config", "station"), ("--bridge", "bridge"))
        )
        folder = self.folder / "station"
        done = subprocess.run(
            [DAQ, "verify", *configs, "--json"], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    async def stored(self) -> list[Stored]:
        """Every reading of the database, however it is asked."""
        if self.database is None:
            return self._exported()
        if isinstance(self.database, VictoriaMetrics):
            raise TypeError("VictoriaMetrics keeps no text; ask `metrics`")
        query = "SELECT value, text, status, seq, rtt_ms, serial FROM reading GROUP BY instrument, channel, unit"
        return [
            Stored(
                one["tags"]["instrument"],
                one["tags"]["channel"],
                row[0],
                row[1],
                row[2],
                row[3],
                row[4],
                row[5],
                one["tags"]["unit"],
                row[6] or "",
            )
            for one in await influxql(self.database, query)
            for row in one["values"]
        ]

    def _exported(self) -> list[Stored]:
        if not self.archive.exists():
            return []
        said = subprocess.run(
            [DAQ, "export", "--archive", self.archive], capture_output=True, text=True, check=True, timeout=60
        ).stdout
        return [
            Stored(
                row["instrument"],
                row["channel"],
                int(row["time_ns"]),
                float(row["value"]) if row["value"] else None,
                row["text"],
                int(row["status"]),
                int(row["seq"]),
                float(row["rtt_ms"]),
                row["unit"],
                row.get("serial") or "",
            )
            for row in csv.DictReader(said.splitlines())
        ]

    async def until_stored(self, count: int, within: float = 30.0) -> None:
        """Wait until the database holds at least `count` readings."""
        deadline = time.monotonic() + within
        while (found := len(await self.stored())) < count:
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"{found} of {count} readings after {within} s\n{log_of(self.station)}\n{log_of(self.bridge)}"
                )
            await asyncio.sleep(0.1)


def log_of(program: Server) -> str:
    """Give what a program has written so far."""
    path = program.folder / "log"
    return path.read_text(errors="replace") if path.exists() else ""


async def influxql(database: Database, query: str) -> list[dict[str, Any]]:
    """Ask a real InfluxDB through its own HTTP interface; independent of the client that the bridge uses."""
    headers = {"Authorization": f"Token {database.token}"} if database.token else {}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(
            f"{database.url}/query", params={"db": database.database, "epoch": "ns"}, data={"q": query}
        ) as answer,
    ):
        said = await answer.json()
    (result,) = said["results"]
    if "error" in result:
        raise AssertionError(f"{query}: {result['error']}")
    series: list[dict[str, Any]] = result.get("series", [])
    return series


def make_database(kind: str, folder: Path) -> Database | None:
    """Give a database of a kind ("influxdb1", "influxdb2", "victoriametrics", "archive"), not yet started."""
    if kind == "archive":
        return None
    if kind == "victoriametrics":
        program = find("victoria-metrics")
        assert program is not None, "victoria-metrics is missing: make servers"
        return VictoriaMetrics(program, folder)
    generation = {"influxdb1": 1, "influxdb2": 2}[kind]
    program = find_influxdb(generation)
    assert program is not None, f"InfluxDB {generation} is missing: make servers, make influxdb2"
    return (InfluxDb1 if generation == 1 else InfluxDb2)(program, folder)


@asynccontextmanager
async def world(
    folder: Path, lab: Path, kind: str = "archive", *, start: bool = True, truth: bool = True
) -> AsyncIterator[World]:
    """Start everything; what still runs at the end is stopped, the station first."""
    mosquitto = find("mosquitto")
    assert mosquitto is not None, "mosquitto is missing: make servers"
    made = World(
        folder,
        Mosquitto(mosquitto, folder / "broker"),
        make_database(kind, folder / "database"),
        Program.command_of_daq(
            folder / "simulators",
            *("simulate", str(lab), "--station", str(folder / "lab.toml")),
            *(("--truth", str(folder / "truth.jsonl")) if truth else ()),
            appears=folder / "lab.toml",
        ),
        Program.command_of_daq(folder / "station", "run", str(folder / "station.toml")),
        Program.command_of_daq(folder / "bridge", "bridge", str(folder / "bridge.toml")),
    )
    running: list[Server] = [one for one in (made.broker, made.database, made.simulators) if one is not None]
    try:
        for server in running:
            await server.start()
        write_configs(made)
        if start:
            await made.bridge.start()
            await made.station.start()
        yield made
    finally:
        for server in (made.station, made.bridge, *reversed(running)):
            await server.stop()


def write_configs(made: World) -> None:
    """Write the two configs of a lab: the instruments are those that the simulators serve."""
    broker = f'[broker]\nhosts = ["127.0.0.1:{made.broker.port}"]\n'
    instruments = (made.folder / "lab.toml").read_text()
    instruments = instruments[instruments.index("[instruments.") :]
    (made.folder / "station.toml").write_text(f'station = "{made.name}"\n{broker}\n{instruments}')
    if made.database is None:
        (made.folder / "bridge.toml").write_text(f'{broker}[archive]\npath = "{made.archive}"\n')
        return
    influxdb = (
        f'[influxdb]\nurl = "{made.database.url}"\ndatabase = "{made.database.database}"\norg = "{made.database.org}"\n'
    )
    if made.database.token:
        token = made.folder / "token"
        token.touch(mode=0o600)
        token.write_text(made.database.token)
        influxdb += f'token_file = "{token}"\n'
    (made.folder / "bridge.toml").write_text(broker + influxdb)
