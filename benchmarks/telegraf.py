"""Compares daq and Telegraf: the same simulated Modbus units, broker and database, in one run; prints the ratios.

100 Modbus TCP units of four float registers each, asked every 20 ms; then the broker is stopped for five seconds.
`make bench-telegraf` runs it.
"""

from __future__ import annotations

import asyncio
import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measure import cpu_seconds, machine, resident_megabytes
from daq.demo.programs import find, find_influxdb
from daq.demo.servers import InfluxDb2, Mosquitto, Server, ServerError
from daq.demo.whole_lab import Program
from tests.system.world import influxql

UNITS = 100
PERIOD_MS = 20
SETTLE = 4.0
SECONDS = 10.0
BROKER_DEAD = 5.0
VALUES = 4


class Units:
    """Modbus TCP units that answer every question with four singles, at little processor time; counts the questions."""

    def __init__(self) -> None:
        self.ports: list[int] = []
        self.asked = 0
        self._servers: list[asyncio.Server] = []

    async def start(self) -> None:
        """Open a port for each unit."""
        loop = asyncio.get_running_loop()
        for _ in range(UNITS):
            server = await loop.create_server(lambda: _Unit(self), "127.0.0.1", 0)
            self._servers.append(server)
            self.ports.append(server.sockets[0].getsockname()[1])

    def stop(self) -> None:
        """Close all ports."""
        for server in self._servers:
            server.close()


class _Unit(asyncio.Protocol):
    def __init__(self, units: Units) -> None:
        self._units = units
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # what create_server gives
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data) - 11, 12):
            self._units.asked += 1
            # The number of the answer, so that a lost reading would be seen in the database, and three constants.
            body = struct.pack(">ffff", self._units.asked % 1_000_000, 0.97, 22.5, 45.0)
            if self._transport is not None:
                self._transport.write(
                    data[start : start + 4] + b"\x00\x13" + data[start + 6 : start + 8] + b"\x10" + body
                )


@dataclass
class Telegraf(Server):
    """One Telegraf with a config file."""

    config: str = ""

    name = "telegraf"

    def command(self) -> list[str]:
        """Write the config file and give the arguments."""
        path = self.folder / "telegraf.conf"
        path.write_text(self.config)
        return ["--config", str(path), "--quiet"]

    async def ready(self) -> bool:
        """Give True: a running process is ready."""
        return True


@dataclass
class Seen:
    """The results of one of the two programs."""

    name: str
    values: float
    reading_cpu: float
    whole_cpu: float
    memory: float
    acquired: int = 0
    stored: int = 0
    extra: dict[str, str] = field(default_factory=dict)


def telegraf_configs(units: Units, broker: Mosquitto, database: InfluxDb2) -> tuple[str, str]:
    """Give the config that reads and the one that stores; with default values where the task permits."""
    agent = f'[agent]\ninterval = "{PERIOD_MS}ms"\nflush_interval = "200ms"\nprecision = "1ns"\nomit_hostname = true\n'
    fields = ",".join(f'{{ address={2 * one}, name="v{one}", type="FLOAT32" }}' for one in range(VALUES))
    inputs = "".join(
        f'[[inputs.modbus]]\nname = "unit{number}"\ncontroller = "tcp://127.0.0.1:{port}"\n'
        f'configuration_type = "request"\n[[inputs.modbus.request]]\nslave_id = 1\n'
        f'register = "holding"\nbyte_order = "ABCD"\n'
        f'measurement = "telegraf"\nfields = [{fields}]\n[inputs.modbus.request.tags]\nunit = "{number}"\n'
        for number, port in enumerate(units.ports)
    )
    place = f"tcp://127.0.0.1:{broker.port}"
    out = f'[[outputs.mqtt]]\nservers = ["{place}"]\ntopic = "telegraf"\nqos = 1\nlayout = "batch"\n'
    out += 'data_format = "influx"\n'
    bridge = (
        f'[[inputs.mqtt_consumer]]\nservers = ["{place}"]\ntopics = ["telegraf"]\nqos = 1\npersistent_session = true\n'
        'client_id = "telegraf-bridge"\ndata_format = "influx"\n'
        f'[[outputs.influxdb_v2]]\nurls = ["{database.url}"]\ntoken = "{database.token}"\n'
        f'organization = "{database.org}"\nbucket = "{database.database}"\n'
    )
    return agent + inputs + out, agent + bridge


def station_config(units: Units, broker: Mosquitto) -> str:
    """Give the config of a station that reads the same registers."""
    instruments = "".join(
        f'[instruments.unit-{number}]\ndriver = "modbus-singles"\naddress = "tcp://127.0.0.1:{port}"\nunit = 1\n'
        f'identified = false\nsimulated = true\nperiod = "{PERIOD_MS} ms"\noptions = {{ count = {VALUES} }}\n'
        for number, port in enumerate(units.ports)
    )
    return f'station = "bench"\n[broker]\nhosts = ["127.0.0.1:{broker.port}"]\n{instruments}'


async def measured(name: str, reader: Server, bridge: Server, units: Units, values_each: int) -> Seen:
    """Let both processes run; give values per second and per second of processor time, and memory."""
    await asyncio.sleep(SETTLE)
    asked = units.asked
    before = cpu_seconds(reader.pid), cpu_seconds(bridge.pid)
    await asyncio.sleep(SECONDS)
    used = cpu_seconds(reader.pid) - before[0], cpu_seconds(bridge.pid) - before[1]
    values = (units.asked - asked) * values_each
    return Seen(name, values / SECONDS, values / used[0], values / sum(used), resident_megabytes(reader.pid))


async def stop_broker_for_a_while(broker: Mosquitto) -> None:
    """Kill the broker, and start it again after BROKER_DEAD seconds."""
    await broker.kill()
    await asyncio.sleep(BROKER_DEAD)
    await broker.start()
    await asyncio.sleep(8.0)


async def run_daq(folder: Path, broker: Mosquitto, database: InfluxDb2, units: Units) -> Seen:
    """Read with daq, stop the broker, and count what is stored."""
    (folder / "station.toml").write_text(station_config(units, broker))
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(database.token)
    (folder / "bridge.toml").write_text(
        f'[broker]\nhosts = ["127.0.0.1:{broker.port}"]\n[influxdb]\nurl = "{database.url}"\n'
        f'database = "{database.database}"\norg = "{database.org}"\ntoken_file = "{token}"\n'
    )
    bridge = Program.command_of_daq(folder / "bridge", "bridge", str(folder / "bridge.toml"))
    station = Program.command_of_daq(folder / "station", "run", str(folder / "station.toml"))
    async with bridge:
        async with station:
            seen = await measured("daq", station, bridge, units, VALUES)
            await stop_broker_for_a_while(broker)
            await station.stop()
        ledger = json.loads((folder / "station" / "spool.sqlite.ledger.json").read_text())
        seen.acquired = sum(one["readings"] for one in ledger["instruments"].values()) // VALUES
        seen.stored = await counted(database, "SELECT count(status) FROM reading WHERE channel = 'v1'")
    return seen


async def run_telegraf(folder: Path, broker: Mosquitto, database: InfluxDb2, units: Units) -> Seen:
    """Read with Telegraf, stop the broker, and count what is stored."""
    program = find("telegraf")
    if program is None:
        raise ServerError("telegraf is missing: make bench-telegraf builds it")
    reading, storing = telegraf_configs(units, broker, database)
    async with Telegraf(program, folder / "telegraf-bridge", config=storing) as bridge:
        first = units.asked
        async with Telegraf(program, folder / "telegraf-reader", config=reading) as reader:
            seen = await measured("Telegraf", reader, bridge, units, VALUES)
            await stop_broker_for_a_while(broker)
            await reader.stop()
        await asyncio.sleep(3.0)
        seen.acquired = units.asked - first
        seen.stored = await counted(database, "SELECT count(v0) FROM telegraf")
    return seen


async def counted(database: InfluxDb2, query: str) -> int:
    """Count the values in the database."""
    series = await influxql(database, query)
    return int(series[0]["values"][0][1]) if series else 0


async def compare() -> list[Seen]:
    """Run both, one after the other, against the same units."""
    mosquitto, influxd = find("mosquitto"), find_influxdb(2)
    if mosquitto is None or influxd is None:
        raise ServerError("the comparison needs mosquitto and InfluxDB 2: make servers, make influxdb2")
    units = Units()
    await units.start()
    with TemporaryDirectory(prefix="daq-telegraf-") as name:
        folder = Path(name)
        async with (
            Mosquitto(mosquitto, folder / "broker") as broker,
            InfluxDb2(influxd, folder / "database") as database,
        ):
            found = [
                await run_telegraf(folder, broker, database, units),
                await run_daq(folder, broker, database, units),
            ]
    units.stop()
    return found


def main() -> None:
    """Run the comparison and print the table."""
    found = asyncio.run(compare())
    print(f"{machine()}\n\n| | values/s | values/CPU s, reading | reading and bridge | RSS | answers | stored |")
    print("|---|---|---|---|---|---|---|")
    for one in found:
        lost = one.acquired - one.stored
        print(
            f"| {one.name} | {one.values:.0f} | {one.reading_cpu:.0f} | {one.whole_cpu:.0f} | {one.memory:.0f} MB "
            f"| {one.acquired} | {one.stored} ({lost} not) |"
        )
    telegraf, daq = found
    print(
        f"\ndaq : Telegraf = {daq.reading_cpu / telegraf.reading_cpu:.2f} reading, "
        f"{daq.whole_cpu / telegraf.whole_cpu:.2f} reading and bridge (values per CPU second)"
    )


if __name__ == "__main__":
    main()
