"""Runs mosquitto and the databases as children, for the demo and for the tests.

Each server listens on a free port of 127.0.0.1, keeps its files in a folder that the caller gives, and is killed
when the process that started it ends.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import secrets
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp

from daq.demo.programs import version_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

READY_WITHIN = 30.0


class ServerError(Exception):
    """A server did not start; the message ends with the last lines that it wrote."""


def free_port() -> int:
    """Give a port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def die_with_parent() -> None:
    """Run in the child before it becomes the server: a killed test run must leave no server behind."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass
class Server:
    """One server process; `folder` holds its files and its log."""

    program: Path
    folder: Path
    port: int = field(default_factory=free_port)
    environment: Mapping[str, str] = field(default_factory=dict)
    grace: float = 10.0
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    name = "server"

    def __post_init__(self) -> None:
        self.folder = self.folder.absolute()  # the child works in this folder: a relative path would be applied twice

    @property
    def url(self) -> str:
        """Its HTTP address, where it has one."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def version(self) -> str:
        """Version as the program gives it."""
        return version_of(self.program, "version")

    @property
    def pid(self) -> int:
        """Process id while it runs."""
        if self._process is None:
            raise ServerError(f"{self.name} does not run")
        return self._process.pid

    def command(self) -> Sequence[str]:
        """Give the arguments after the program."""
        raise TypeError("a subclass must give its command")

    async def ready(self) -> bool:
        """Whether it answers."""
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True

    async def start(self) -> None:
        """Start it and wait until it answers; on the same port and with the same files as before."""
        if self._process is not None and self._process.poll() is None:
            raise ServerError(f"{self.name} runs already, at port {self.port}")
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603, ASYNC220  # found by us; forking takes a millisecond
                [self.program, *self.command()],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | dict(self.environment),
                start_new_session=True,  # Ctrl-C is for the parent, which then ends its children in order
                preexec_fn=die_with_parent,  # noqa: PLW1509  # one system call, no Python lock is taken
            )
        answers = False
        try:
            answers = await self._answers_in_time(self._process)
        finally:
            if not answers:  # also where the wait was cancelled: `async with` ends only what it has entered
                await self.kill()
        if not answers:
            tail = (self.folder / "log").read_text(errors="replace")[-2000:]
            raise ServerError(f"{self.name} ({self.program}) did not start:\n{tail}")

    async def _answers_in_time(self, process: subprocess.Popen[bytes]) -> bool:
        deadline = time.monotonic() + READY_WITHIN
        while not await self.ready():
            if process.poll() is not None or time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.02)
        return True

    async def kill(self) -> None:
        """Kill it without warning, like a power cut."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """Ask it to end; kill it where it does not within `grace` seconds."""
        await self._end(signal.SIGTERM)

    async def ended(self) -> None:
        """Return when the process has ended by itself."""
        while self._process is not None and self._process.poll() is None:  # noqa: ASYNC110  # a child has no event
            await asyncio.sleep(0.1)

    async def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        deadline = time.monotonic() + self.grace
        while process.poll() is None:
            if time.monotonic() > deadline:
                process.kill()
            await asyncio.sleep(0.01)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


@dataclass
class Mosquitto(Server):
    """A broker; `settings` are further lines of its configuration file."""

    settings: Sequence[str] = ("allow_anonymous true",)

    name = "mosquitto"

    @property
    def version(self) -> str:
        """Version as `mosquitto -h` gives it."""
        return version_of(self.program, "-h")

    def command(self) -> Sequence[str]:
        """Write the configuration file and name it."""
        path = self.folder / "mosquitto.conf"
        lines = [f"listener {self.port} 127.0.0.1", "persistence false", "log_dest stderr"]
        if os.geteuid() == 0:
            lines.append("user root")  # else it drops its privileges and cannot read this folder
        path.write_text("\n".join([*lines, *self.settings]) + "\n")
        return ["-c", str(path)]


@dataclass
class InfluxDb1(Server):
    """InfluxDB 1.x, as Debian ships it."""

    name = "InfluxDB"
    database = "daq"
    org = ""
    token: str | None = None

    def command(self) -> Sequence[str]:
        """Write a configuration that keeps everything in the folder and listens at one HTTP address only."""
        path = self.folder / "influxdb.conf"
        path.write_text(
            "reporting-disabled = true\n"
            f'bind-address = "127.0.0.1:{free_port()}"\n'
            f'[meta]\ndir = "{self.folder}/meta"\n'
            f'[data]\ndir = "{self.folder}/data"\nwal-dir = "{self.folder}/wal"\nquery-log-enabled = false\n'
            f'[http]\nbind-address = "127.0.0.1:{self.port}"\nlog-enabled = false\n'
            "[monitor]\nstore-enabled = false\n"
        )
        return ["run", "-config", str(path)]

    async def ready(self) -> bool:
        """Whether `/ping` answers."""
        return await _answers(f"{self.url}/ping", 204)

    async def start(self) -> None:
        """Start it and create the database."""
        await super().start()
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.url}/query", data={"q": f'CREATE DATABASE "{self.database}"'}) as answer,
        ):
            answer.raise_for_status()


@dataclass
class InfluxDb2(Server):
    """InfluxDB 2.x; set up with an organisation, a bucket and a token at the first start."""

    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    name = "InfluxDB"
    database = "daq"
    org = "lab"

    def command(self) -> Sequence[str]:
        """Keep every file in the folder."""
        return [
            "run",
            f"--http-bind-address=127.0.0.1:{self.port}",
            f"--bolt-path={self.folder}/influxd.bolt",
            f"--sqlite-path={self.folder}/influxd.sqlite",
            f"--engine-path={self.folder}/engine",
            "--reporting-disabled",
            "--log-level=warn",
        ]

    async def ready(self) -> bool:
        """Whether `/health` answers 200."""
        return await _answers(f"{self.url}/health", 200)

    async def start(self) -> None:
        """Start it; the first time, set it up."""
        await super().start()
        setup: dict[str, Any] = {
            "username": "admin",
            "password": secrets.token_urlsafe(16),
            "org": self.org,
            "bucket": self.database,
            "token": self.token,
        }
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.url}/api/v2/setup", json=setup) as answer,
        ):
            if answer.status not in {201, 422}:  # 422: it was set up before
                raise ServerError(f"InfluxDB could not be set up: {answer.status} {await answer.text()}")


@dataclass
class VictoriaMetrics(Server):
    """VictoriaMetrics: takes line protocol, keeps floats only, answers no InfluxQL."""

    name = "VictoriaMetrics"
    database = "daq"
    org = ""
    token: str | None = None

    @property
    def version(self) -> str:
        """Version as the program gives it."""
        return version_of(self.program, "-version")

    def command(self) -> Sequence[str]:
        """Keep every file in the folder."""
        return [
            f"-httpListenAddr=127.0.0.1:{self.port}",
            f"-storageDataPath={self.folder}/data",
            "-retentionPeriod=100y",
        ]

    async def ready(self) -> bool:
        """Whether `/health` answers 200."""
        return await _answers(f"{self.url}/health", 200)


async def _answers(url: str, status: int) -> bool:
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(url, timeout=aiohttp.ClientTimeout(2.0)) as answer,
        ):
            return answer.status == status
    except (aiohttp.ClientError, TimeoutError):
        return False
