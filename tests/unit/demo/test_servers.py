"""Servers of this machine are found, started, killed and started again, each for real and with its own files."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest

from daq.demo.programs import cache_folder, find, find_influxdb, version_of
from daq.demo.servers import InfluxDb1, InfluxDb2, Mosquitto, Server, ServerError, VictoriaMetrics

if TYPE_CHECKING:
    from collections.abc import Callable

KINDS = ["mosquitto", "influxdb1", "influxdb2", "victoriametrics"]
LINE = b"kept number=42 1700000000000000000"
ACCEPTED, NOT_AUTHORISED = 0, 5  # MQTT 3.1.1, table 3.1


def made(kind: str, folder: Path) -> Server:
    """Give a server that has not been started; where its program is missing the test is skipped, or fails in CI."""
    program = {
        "mosquitto": lambda: find("mosquitto"),
        "influxdb1": lambda: find_influxdb(1),
        "influxdb2": lambda: find_influxdb(2),
        "victoriametrics": lambda: find("victoria-metrics"),
    }[kind]()
    if program is None:
        if kind == "influxdb2" and os.environ.get("DAQ_REQUIRE_INFLUXDB2"):
            pytest.fail("InfluxDB 2 is required here and missing: make influxdb2")
        pytest.skip(f"{kind} is not on this machine: make {'influxdb2' if kind == 'influxdb2' else 'servers'}")
    kinds: dict[str, Callable[[Path, Path], Server]] = {
        "mosquitto": Mosquitto,
        "influxdb1": InfluxDb1,
        "influxdb2": InfluxDb2,
        "victoriametrics": VictoriaMetrics,
    }
    return kinds[kind](program, folder)


async def connect_code(port: int, user: str = "", password: str = "") -> int:
    """Say CONNECT in MQTT 3.1.1 by hand and give the return code of the CONNACK."""
    texts = ["daq-test", *([user, password] if user else [])]
    payload = b"".join(len(text).to_bytes(2, "big") + text.encode() for text in texts)
    body = b"\x00\x04MQTT\x04" + bytes([0xC2 if user else 0x02]) + b"\x00\x0a" + payload
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(bytes([0x10, len(body)]) + body)
        reply = await asyncio.wait_for(reader.readexactly(4), 5)
    finally:
        writer.close()
        await writer.wait_closed()
    return reply[3]


async def write_line(server: InfluxDb1 | InfluxDb2) -> None:
    """Store one point at the path of that generation."""
    if isinstance(server, InfluxDb1):
        url = f"{server.url}/write?db={server.database}"
    else:
        url = f"{server.url}/api/v2/write?org={server.org}&bucket={server.database}"
    async with aiohttp.ClientSession(headers=headers_of(server)) as session, session.post(url, data=LINE) as answer:
        assert answer.status == 204, await answer.text()


async def read_number(server: InfluxDb1 | InfluxDb2) -> float:
    """Ask for the point in InfluxQL, which both generations answer."""
    asked = {"db": server.database, "q": "SELECT number FROM kept"}
    async with (
        aiohttp.ClientSession(headers=headers_of(server)) as session,
        session.get(f"{server.url}/query", params=asked) as answer,
    ):
        said = await answer.json()
    return float(said["results"][0]["series"][0]["values"][0][1])


def headers_of(server: InfluxDb1 | InfluxDb2) -> dict[str, str]:
    """Give the token, where there is one."""
    return {"Authorization": f"Token {server.token}"} if server.token else {}


@pytest.mark.parametrize("kind", KINDS)
async def test_killed_and_started_again_it_answers_on_the_same_port(kind: str, tmp_path: Path) -> None:
    server = made(kind, tmp_path)
    async with server:
        port, first = server.port, server.pid
        assert await server.ready()
        await server.kill()
        assert not await server.ready()
        await server.start()
        assert await server.ready()
        assert server.port == port
        assert server.pid != first
    assert not await server.ready()


@pytest.mark.parametrize("kind", ["influxdb1", "influxdb2"])
async def test_a_database_keeps_its_points_over_a_kill(kind: str, tmp_path: Path) -> None:
    server = made(kind, tmp_path)
    assert isinstance(server, InfluxDb1 | InfluxDb2)
    async with server:
        await write_line(server)
        await server.kill()
        await server.start()
        assert await read_number(server) == 42


@pytest.mark.parametrize("kind", ["mosquitto", "influxdb1", "influxdb2"])  # Debian builds VictoriaMetrics without one
def test_a_server_gives_its_version(kind: str, tmp_path: Path) -> None:
    server = made(kind, tmp_path)
    assert server.version[:1].isdigit(), f"{server.program} gave {server.version!r}"


async def test_two_servers_of_a_kind_stand_side_by_side(tmp_path: Path) -> None:
    async with made("mosquitto", tmp_path / "one") as one, made("mosquitto", tmp_path / "two") as two:
        assert one.port != two.port
        assert await connect_code(one.port) == await connect_code(two.port) == ACCEPTED


async def test_settings_of_the_broker_count(tmp_path: Path) -> None:
    server = made("mosquitto", tmp_path)
    assert isinstance(server, Mosquitto)
    server.settings = ("allow_anonymous false",)
    async with server:
        assert await connect_code(server.port) == NOT_AUTHORISED
        assert await connect_code(server.port, "balance", "wrong") == NOT_AUTHORISED


async def test_a_server_that_does_not_start_is_reported_with_its_own_words(tmp_path: Path) -> None:
    server = made("mosquitto", tmp_path)
    assert isinstance(server, Mosquitto)
    server.settings = ("this_is_no_setting true",)
    with pytest.raises(ServerError, match="this_is_no_setting"):
        await server.start()


async def test_a_relative_folder_means_the_folder_of_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with made("mosquitto", Path("broker")) as server:
        assert await server.ready()
    assert (tmp_path / "broker" / "mosquitto.conf").exists()


async def test_a_server_that_runs_is_not_started_twice(tmp_path: Path) -> None:
    async with made("mosquitto", tmp_path) as server:
        first = server.pid
        with pytest.raises(ServerError, match="runs already"):
            await server.start()
        assert server.pid == first
        assert await server.ready()


async def test_a_start_that_is_cancelled_leaves_no_process(tmp_path: Path) -> None:
    program = fake(tmp_path, "never-ready", "waiting")
    program.write_text("#!/bin/sh\necho $$ >pid\nexec sleep 60\n")
    server = VictoriaMetrics(program, tmp_path)
    starting = asyncio.create_task(server.start())
    async with asyncio.timeout(5):
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
            await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


async def test_a_server_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    program = made("mosquitto", tmp_path).program
    starts_and_waits = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom daq.demo.servers import Mosquitto\n"
        "async def main():\n"
        "    server = Mosquitto(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "    await server.start()\n    print(server.port, flush=True)\n    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", starts_and_waits, program, tmp_path], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        port = int(owner.stdout.readline())
        probe = Mosquitto(program, tmp_path, port)
        assert await probe.ready()
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    async with asyncio.timeout(5):
        while await probe.ready():
            await asyncio.sleep(0)


def fake(folder: Path, name: str, says: str) -> Path:
    """Write a program that prints one line."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(("on_path", "in_cache"), [("1.8.10", "2.9.1"), ("2.7.12", "1.6.7~rc0")])
def test_influxd_on_path_may_be_of_either_generation(
    on_path: str, in_cache: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}:/bin:/usr/bin")
    monkeypatch.setenv("DAQ_CACHE", str(tmp_path / "cache"))
    first = fake(tmp_path / "path", "influxd", f"InfluxDB v{on_path} (git: none)")
    name = "influxd" if in_cache.startswith("2") else "influxd1"
    second = fake(tmp_path / "cache" / "bin", name, f"InfluxDB v{in_cache} (git: none)")
    assert find_influxdb(int(on_path[0])) == first
    assert find_influxdb(int(in_cache[0])) == second


def test_a_program_on_path_comes_before_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("DAQ_CACHE", str(tmp_path / "cache"))
    in_cache = fake(tmp_path / "cache" / "bin", "no-such-server", "1.0")
    assert find("no-such-server") == in_cache
    assert find("no-such-server") != (on_path := fake(tmp_path / "path", "no-such-server", "1.0"))
    assert find("no-such-server") == on_path
    assert find("absent") is None


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAQ_CACHE", "/chosen")
    assert cache_folder() == Path("/chosen")
    monkeypatch.delenv("DAQ_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_folder() == Path("/caches/daq")


def test_a_program_without_a_version_has_none(tmp_path: Path) -> None:
    assert version_of(fake(tmp_path, "mute", "hello")) == ""
