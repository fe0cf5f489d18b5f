"""A real `daq run` reads on and ends in order whatever its log, its files, its signals and its clients do."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from daq.station.control import ControlError, ask, socket_of
from tests.system.test_containment import BAD, Balance, serial

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ENDS_WITHIN = 30.0
"""Seconds: a station without a broker waits 10 s for the database to take what is left."""


class Station:
    """One `daq run` in a folder, and what the test asks of it."""

    def __init__(self, folder: Path, before: str, stderr: int) -> None:
        command = f"{before} exec {sys.executable} -m daq run station.toml"
        self.folder = folder
        self.process = subprocess.Popen(["bash", "-c", command], cwd=folder, stdout=stderr, stderr=stderr)

    @property
    def socket(self) -> Path:
        return socket_of(self.folder / "spool.sqlite")

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    async def readings(self) -> int:
        """Ask how many readings there are, as soon as the station is up."""
        for _ in range(300):
            assert self.process.poll() is None, self.process.returncode
            with suppress(ControlError):
                status: dict[str, Any] = (await asyncio.to_thread(ask, self.socket, "status"))["status"]
                return int(status["instruments"]["balance"]["readings"])
            await asyncio.sleep(0.05)
        raise AssertionError("the station does not answer")

    async def reads(self) -> None:
        """Wait until there are 5 more readings."""
        before = await self.readings()
        async with asyncio.timeout(20.0):
            while await self.readings() < before + 5:
                await asyncio.sleep(0.1)

    async def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self.process.wait, ENDS_WITHIN)


@asynccontextmanager
async def running(
    folder: Path, *, before: str = "", stderr: int | None = None, broker: str = 'hosts = ["127.0.0.1:9"]'
) -> AsyncIterator[Station]:
    """Run a station that reads one balance; `before` is what the shell does first."""
    server = await asyncio.get_running_loop().create_server(Balance, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    table = BAD.format("balance", f"tcp://127.0.0.1:{port}").replace("SIM9", serial(port)).replace("1 s", "100 ms")
    (folder / "station.toml").write_text(f'station = "lab"\n[broker]\n{broker}\n{table}')
    with (folder / "log").open("w") as log:
        station = Station(folder, before, log.fileno() if stderr is None else stderr)
    try:
        yield station
    finally:
        station.process.kill()
        station.process.wait()
        server.close()
        for transport in Balance.connected:
            transport.close()
        Balance.connected.clear()
        await asyncio.sleep(0.1)


async def test_standard_error_that_nobody_reads(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    try:
        os.set_blocking(writer, False)
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4_096)
        with suppress(BlockingIOError):
            while True:
                os.write(writer, b".")
        os.set_blocking(writer, True)
        async with running(tmp_path, stderr=writer) as station:
            await station.reads()
            assert await station.end() == 0
    finally:
        os.close(writer)
        os.close(reader)


async def test_password_file_that_hangs(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("any")
    async with running(
        tmp_path, broker=f'hosts = ["127.0.0.1:9"]\nuser = "lab"\npassword_file = "{secret}"'
    ) as station:
        await station.reads()
        secret.unlink()
        os.mkfifo(secret)
        await asyncio.sleep(6.0)  # longer than any pause before the next connection
        await station.reads()
        assert await station.end() == 0


async def test_config_that_hangs_at_a_reload(tmp_path: Path) -> None:
    async with running(tmp_path) as station:
        await station.reads()
        (tmp_path / "station.toml").unlink()
        os.mkfifo(tmp_path / "station.toml")
        station.process.send_signal(signal.SIGHUP)
        await asyncio.sleep(1.0)
        await station.reads()
        assert await station.end() == 0


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
async def test_signals_through_the_whole_stop(tmp_path: Path, number: signal.Signals, loop: str) -> None:
    (tmp_path / "none").mkdir()
    if loop == "asyncio":  # a folder in which uvloop cannot be imported
        (tmp_path / "none" / "uvloop.py").write_text("raise ImportError")
    async with running(tmp_path, before=f'PYTHONPATH="{tmp_path}/none:$PYTHONPATH"') as station:
        await station.reads()
        station.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + ENDS_WITHIN
        while station.process.poll() is None:
            assert time.monotonic() < deadline
            station.process.send_signal(number)
            await asyncio.sleep(0.002)
        assert station.process.returncode == 0


async def test_reload_signal_while_the_station_starts(tmp_path: Path) -> None:
    async with running(tmp_path) as station:
        await asyncio.sleep(0.3)  # the interpreter itself is up
        async with asyncio.timeout(20.0):
            while not station.socket.exists():
                station.process.send_signal(signal.SIGHUP)
                await asyncio.sleep(0.02)
        await station.reads()
        assert await station.end() == 0


async def test_standard_descriptors_that_are_closed(tmp_path: Path) -> None:
    async with running(tmp_path, before="exec 0<&- 1>&- 2>&-;") as station:
        await station.reads()
        for number in range(3):
            assert str(Path(f"/proc/{station.process.pid}/fd/{number}").readlink()) == os.devnull
        assert await station.end() == 0


async def test_clients_that_ask_nothing_leave_descriptors_for_the_instruments(tmp_path: Path) -> None:
    async with running(tmp_path, before="ulimit -n 64;") as station:
        await station.reads()
        with ExitStack() as clients:
            for _ in range(70):
                client = clients.enter_context(socket.socket(socket.AF_UNIX))
                client.connect(str(station.socket))
            await asyncio.sleep(1.0)
            assert len(list(Path(f"/proc/{station.process.pid}/fd").iterdir())) < 50
            for transport in list(Balance.connected):
                transport.close()  # the next reading needs a descriptor
            async with asyncio.timeout(10.0):
                while all(transport.is_closing() for transport in Balance.connected):
                    await asyncio.sleep(0.1)
        await station.reads()
        assert "Too many open files" not in station.log
        assert await station.end() == 0
