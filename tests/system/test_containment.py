"""What goes wrong in one part of a station is its own, with real processes: the other instruments are read on."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from daq.config import Broker
from daq.demo.programs import find
from daq.demo.servers import Mosquitto
from daq.road.mqtt import stay_connected
from daq.station.control import ask, socket_of
from tests.system.world import DAQ, log_of, world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.system.world import World

LAB = """
[instruments.balance]
simulator = "mt-sics"
serve = "tcp"
serial = "SIM0000001"
period = "100 ms"
"""
BAD = '[instruments.{0}]\ndriver = "mt-sics"\naddress = "{1}"\nserial = "SIM9"\nperiod = "1 s"\n'


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(LAB)
    return path


async def reads(made: World, seconds: float = 2.0) -> int:
    """Give how many readings the balance gives in this time."""
    before = (await made.status())["instruments"]["balance"]["readings"]
    await asyncio.sleep(seconds)
    now = (await made.status())["instruments"]["balance"]["readings"]
    return int(now - before)


async def daq(made: World, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(
        subprocess.run,
        [DAQ, *arguments],
        cwd=made.folder / "station",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


async def test_reload_with_a_mistake_changes_nothing(tmp_path: Path, lab: Path) -> None:
    async with world(tmp_path, lab) as made:
        config = tmp_path / "station.toml"
        good = config.read_text()
        await made.status()
        config.write_text(good + BAD.format("other", "tcp://balance..lab:8001"))
        done = await daq(made, "reload", "--config", config)
        assert done.returncode == 78
        assert "balance..lab" in done.stderr
        os.kill(made.station.pid, signal.SIGHUP)
        assert await reads(made) >= 15
        assert "refused, nothing was changed" in log_of(made.station)
        assert set((await made.status())["instruments"]) == {"balance"}
        started = await daq(made, "run", config)
        assert started.returncode == 78, "before anything is started"


async def test_password_file_that_vanishes_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    program = find("mosquitto")
    assert program is not None
    secret = tmp_path / "secret"
    secret.write_text("any")
    async with Mosquitto(program, tmp_path / "broker") as broker:
        config = Broker(hosts=[f"127.0.0.1:{broker.port}"], user="lab", password_file=secret)
        reached = asyncio.Event()

        async def serve(_: object) -> None:
            reached.set()
            await asyncio.Event().wait()

        secret.unlink()
        task = asyncio.create_task(stay_connected(config, "test", serve))
        await asyncio.sleep(1.0)
        assert not task.done()
        assert len([one for one in caplog.records if "cannot read the secret" in one.getMessage()]) == 1
        secret.write_text("any")
        async with asyncio.timeout(10.0):
            await reached.wait()
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.parametrize("kind", ["stale", "unread"])
async def test_notify_socket_that_is_no_use(
    tmp_path: Path, lab: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        if kind == "unread":
            systemd.bind(str(tmp_path / "notify"))
            with suppress(BlockingIOError):
                while True:  # each of these sockets may have some messages under way
                    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as filler:
                        filler.sendto(b"WATCHDOG=1", str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        async with world(tmp_path, lab, start=False) as made:
            await made.station.start()
            assert await reads(made, 5.0) >= 40
            assert log_of(made.station).count("systemd cannot be told the state of this service") == 1


async def test_more_instruments_than_descriptors(tmp_path: Path) -> None:
    """The hard limit is 128, 150 peers take connections: what finds none fails by itself, the others are read."""
    async with many(tmp_path, 150, limit=128, hard=128) as (status, log):
        states = [one["state"] for one in status["instruments"].values()]
        assert 60 <= states.count("reading") <= 125
        failing = [one for one in status["instruments"].values() if one["state"] == "failing"]
        assert any("open no more files" in one["last_error"] for one in failing), failing[:1]
        assert status["acquired"] > 0
        assert "Traceback" not in re.sub(r"control socket failed.*?Too many open files", "", log, flags=re.DOTALL)


async def test_soft_limit_is_no_limit(tmp_path: Path) -> None:
    async with many(tmp_path, 150, limit=128, hard=4_096) as (status, _):
        assert {one["state"] for one in status["instruments"].values()} == {"reading"}


class Balance(asyncio.Protocol):
    """A balance whose serial number is its port."""

    connected: ClassVar[set[asyncio.BaseTransport]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.connected.add(transport)
        self.serial = serial(transport.get_extra_info("sockname")[1])

    def data_received(self, data: bytes) -> None:
        self.transport.write(f'I4 A "{self.serial}"\r\n'.encode() if data == b"I4\r\n" else b"S S     100.00 g\r\n")


def serial(port: int) -> str:
    return f"SIM{port}"


@asynccontextmanager
async def many(folder: Path, count: int, limit: int, hard: int) -> AsyncIterator[tuple[dict[str, Any], str]]:
    """Run a station with so many balances under limits of open files; gives its status and log after a while."""
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(Balance, "127.0.0.1", 0) for _ in range(count)]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    tables = [BAD.format(f"b{port}", f"tcp://127.0.0.1:{port}").replace("SIM9", serial(port)) for port in ports]
    (folder / "station.toml").write_text("\n".join(['station = "lab"', '[broker]\nhosts = ["127.0.0.1:9"]', *tables]))
    with (folder / "log").open("w") as log:
        station = subprocess.Popen(
            ["bash", "-c", f"ulimit -Sn {limit}; ulimit -Hn {hard}; exec {DAQ} run station.toml"],
            cwd=folder,
            stderr=log,
        )
    try:
        await asyncio.sleep(8.0)
        said = (folder / "log").read_text()
        assert station.poll() is None, said[-3000:]
        yield (await asyncio.to_thread(ask, socket_of(folder / "spool.sqlite"), "status"))["status"], said
    finally:
        station.terminate()
        code = await asyncio.to_thread(station.wait, 40)
        for server in servers:
            server.close()
        for transport in Balance.connected:
            transport.close()
        Balance.connected.clear()
        await asyncio.sleep(0.1)
    assert code == 0
