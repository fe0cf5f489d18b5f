"""The whole road on one machine, each part a real process as in production."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import sys
import tempfile
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from daq.bridge.archive import points
from daq.bridge.influxdb import InfluxDb
from daq.bridge.sink import SinkError
from daq.commands.failing import fail
from daq.config import Broker, InfluxTable
from daq.demo.programs import find, find_influxdb
from daq.demo.servers import InfluxDb1, InfluxDb2, Mosquitto, Server, ServerError
from daq.demo.view import View
from daq.host.signals import stop_signals
from daq.road.mqtt import stay_connected

if TYPE_CHECKING:
    from collections.abc import Sequence

STATION = "demo"


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """The options of the command line."""

    seconds: float | None
    as_json: bool
    influx: str | None
    database: str
    org: str
    lab: Path | None
    keep: Path | None


@dataclass
class Program(Server):
    """One of daq's own commands; it has started when the file `appears` is there."""

    arguments: Sequence[str] = ()
    appears: Path | None = None
    grace: float = 30.0

    name = "daq"

    @classmethod
    def command_of_daq(cls, folder: Path, *arguments: str, appears: Path | None = None) -> Program:
        """Give `daq` with these arguments, in the interpreter that runs now."""
        return cls(Path(sys.executable), folder, arguments=["-m", "daq", *arguments], appears=appears)

    def command(self) -> Sequence[str]:
        """Give the arguments."""
        return self.arguments

    async def ready(self) -> bool:
        """Whether it has written its file."""
        return self.appears is None or self.appears.exists()


class Amqtt(Server):
    """The embedded broker; speaks MQTT 3.1.1."""

    name = "amqtt"

    @property
    def version(self) -> str:
        """Version of the package."""
        from importlib.metadata import version

        return version("amqtt")

    def command(self) -> Sequence[str]:
        """Give the arguments."""
        return ["-m", "daq.demo.broker", str(self.port)]


@dataclass
class Demo:
    """One demo in one folder."""

    options: DemoOptions
    folder: Path
    broker: Server = field(init=False)
    server: InfluxDb1 | InfluxDb2 | None = field(init=False, default=None)
    influx: InfluxTable | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.broker = self._choose_broker()
        self.server = None if self.options.influx else self._choose_database()

    def _choose_broker(self) -> Server:
        if (program := find("mosquitto")) is not None:
            return Mosquitto(program, self.folder / "broker")
        if importlib.util.find_spec("amqtt") is None:
            raise ServerError("no broker: install mosquitto, or the embedded one with `pip install daq[demo]`")
        return Amqtt(Path(sys.executable), self.folder / "broker")

    def _choose_database(self) -> InfluxDb1 | InfluxDb2 | None:
        if (program := find_influxdb(2)) is not None:
            return InfluxDb2(program, self.folder / "database")
        if (program := find_influxdb(1)) is not None:
            return InfluxDb1(program, self.folder / "database")
        return None

    def _write_configs(self) -> None:
        broker = f'[broker]\nhosts = ["127.0.0.1:{self.broker.port}"]\n'
        tables = (self.folder / "lab.toml").read_text()
        (self.folder / "station.toml").write_text(
            f'station = "{STATION}"\n{broker}\n{tables[tables.index("[instruments.") :]}'
        )
        store = f'[archive]\npath = "{self.archive}"\n'
        if self.server is not None:
            self.influx = InfluxTable(
                url=self.server.url,
                database=self.server.database,
                org=self.server.org,
                token_file=self._token_file(self.server.token),
            )
        elif self.options.influx:
            token = self._token_file(os.environ.get("DAQ_INFLUXDB_TOKEN"))
            self.influx = InfluxTable(
                url=self.options.influx,
                database=self.options.database,
                org=self.options.org,
                token_file=token,
            )
        if self.influx is not None:
            rows = self.influx.model_dump(include={"url", "database", "org", "token_file"}, exclude_none=True)
            store = "[influxdb]\n" + "".join(f"{key} = {json.dumps(str(value))}\n" for key, value in rows.items())
        (self.folder / "bridge.toml").write_text(broker + store)

    def _token_file(self, token: str | None) -> Path | None:
        if not token:
            return None
        path = self.folder / "token"
        path.touch(mode=0o600)
        path.write_text(token)
        return path

    @property
    def archive(self) -> Path:
        """The archive file, where there is no database."""
        return self.folder / "archive.sqlite"

    @property
    def database(self) -> dict[str, str]:
        """Name, version and address of the database or archive."""
        if self.server is not None:
            return {"name": self.server.name, "version": self.server.version, "url": self.server.url}
        if self.influx is not None:
            return {"name": "InfluxDB", "version": "", "url": self.influx.url}
        return {"name": "archive", "version": "", "url": str(self.archive)}

    async def run(self) -> dict[str, Any]:
        """Run until the time is over or Ctrl-C; gives how many readings were acquired and stored."""
        lab = self.options.lab or default_lab()
        simulators = Program.command_of_daq(
            self.folder / "simulators",
            *(
                "simulate",
                str(lab.absolute()),
                "--station",
                str(self.folder / "lab.toml"),
                "--ports",
                str(self.folder / "ports"),
            ),
            appears=self.folder / "lab.toml",
        )
        bridge = Program.command_of_daq(self.folder / "bridge", "bridge", str(self.folder / "bridge.toml"))
        station = Program.command_of_daq(self.folder / "station", "run", str(self.folder / "station.toml"))
        async with stop_signals() as stop, AsyncExitStack() as ends:
            for server in (self.broker, self.server, simulators):
                if server is not None:
                    await ends.enter_async_context(server)
            self._write_configs()
            await ends.enter_async_context(bridge)
            await ends.enter_async_context(station)
            await self._watch(stop, station)
            await station.stop()
            return await self._count()

    async def _watch(self, stop: asyncio.Event, station: Program) -> None:
        database = self.database
        places = [
            f"broker {self.broker.name} {self.broker.version} at 127.0.0.1:{self.broker.port}",
            f"database {database['name']} {database['version']} at {database['url']}".replace("  ", " "),
            f"files in {self.folder}",
        ]
        view = View(STATION, places)
        console = Console(stderr=self.options.as_json)
        for place in places:
            sys.stderr.write(f"daq: {place}\n")
        broker = Broker(hosts=[f"127.0.0.1:{self.broker.port}"])
        tasks = [
            asyncio.create_task(stay_connected(broker, "daq-demo-view", view.serve)),
            asyncio.create_task(view.show(console)),
            asyncio.create_task(station.ended()),
        ]
        try:
            async with asyncio.timeout(self.options.seconds):
                waiting = asyncio.create_task(stop.wait())
                await asyncio.wait({waiting, tasks[2]}, return_when=asyncio.FIRST_COMPLETED)
            if tasks[2].done():
                raise ServerError(f"the station ended:\n{(station.folder / 'log').read_text()[-2000:]}")
        except TimeoutError:
            pass
        finally:
            for task in (*tasks, waiting):
                task.cancel()
            await asyncio.wait({*tasks, waiting})

    async def _count(self) -> dict[str, Any]:
        """Compare the station's last counts with the number of readings in the database."""
        ledger = json.loads((self.folder / "station" / "spool.sqlite.ledger.json").read_text())
        stored = await self._stored()
        instruments = {
            name: {"acquired": one["readings"], "stored": stored.get(name, 0)}
            for name, one in ledger["instruments"].items()
        }
        acquired = sum(one["acquired"] for one in instruments.values())
        found = sum(stored.values())
        waiting, quarantined = ledger["waiting_readings"], ledger["quarantined"]
        return {
            "acquired": acquired,
            "stored": found,
            "spooled": waiting,
            "quarantined": quarantined,
            "lost": acquired - found - waiting - quarantined,
            "instruments": instruments,
            "broker": {"name": self.broker.name, "version": self.broker.version},
            "database": self.database,
            "seconds": self.options.seconds,
            "simulated": True,
        }

    async def _stored(self) -> dict[str, int]:
        if self.influx is None:
            counts: dict[str, int] = {}
            for point in points(self.archive, "reading"):
                counts[point.tags["instrument"]] = counts.get(point.tags["instrument"], 0) + 1
            return counts
        epoch = json.loads((self.folder / "station" / "spool.sqlite.ledger.json").read_text())["epoch"]
        sink = InfluxDb(self.influx)
        try:
            where = f"station = '{STATION}' AND epoch::field = '{epoch}'"
            series = await sink.query(f"SELECT count(status) FROM reading WHERE {where} GROUP BY instrument")  # noqa: S608  # no foreign text in it
        finally:
            await sink.close()
        return {one["tags"]["instrument"]: one["values"][0][1] for one in series}


def default_lab() -> Path:
    """Give the lab of the eight instruments: from the wheel, or from the source tree."""
    shipped = Path(__file__).parents[1] / "data" / "lab.simulated.toml"
    return shipped if shipped.exists() else Path(__file__).parents[2] / "configs" / "lab.simulated.toml"


def run_demo(options: DemoOptions) -> int:
    """Run the demo and show its result; gives the exit code: 0 only where every reading is stored."""
    with ExitStack() as ends:
        if options.keep is None:
            folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="daq-demo-")))
        else:
            folder = options.keep.absolute()
            folder.mkdir(parents=True, exist_ok=True)
        try:
            result = asyncio.run(Demo(options, folder).run())
        except (ServerError, SinkError, FileNotFoundError) as error:
            fail(str(error))
        except KeyboardInterrupt:
            return 130
    good = result["acquired"] == result["stored"] and all(one["stored"] for one in result["instruments"].values())
    if options.as_json:
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        text = (
            "acquired {acquired} readings, stored {stored}, spooled {spooled}, quarantined {quarantined}, lost {lost}"
        )
        sys.stdout.write(text.format(**result) + "\n")
    with suppress(BrokenPipeError):
        sys.stdout.flush()
    return 0 if good else 1
