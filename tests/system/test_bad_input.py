"""What goes wrong around the road gives a clear error, loses nothing and invents nothing; with real servers."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from daq.bridge.influxdb import InfluxDb
from daq.bridge.sink import Misconfigured, Unavailable, store
from daq.config import Broker, InfluxTable
from daq.demo.programs import find, find_influxdb
from daq.demo.servers import InfluxDb1, InfluxDb2, Mosquitto, VictoriaMetrics
from daq.road.batch import Batch
from daq.road.line_protocol import encode
from daq.road.mqtt import BrokerLost, BrokerRefused, connect, stay_connected
from tests.spools import reading
from tests.system.conftest import needs
from tests.system.test_containment import BAD
from tests.system.world import DAQ, compare, influxql, log_of, make_database, world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LAB = """
[instruments.balance]
simulator = "mt-sics"
serve = "pty"
serial = "SIM0000001"
period = "100 ms"
"""


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(LAB)
    return path


def lines(first: int, count: int) -> list[bytes]:
    return [encode(reading(number), number, "e" * 32) for number in range(first, first + count)]


async def started(kind: str, folder: Path) -> InfluxDb1 | InfluxDb2 | VictoriaMetrics:
    needs(kind)
    database = make_database(kind, folder)
    assert database is not None
    await database.start()
    return database


def sink_of(server: InfluxDb1 | InfluxDb2 | VictoriaMetrics, folder: Path, **other: object) -> InfluxDb:
    token = folder / "token"
    token.write_text(str(other.pop("token", None) or server.token or ""))
    table = {"url": server.url, "database": server.database, "org": server.org, "token_file": str(token)} | other
    return InfluxDb(InfluxTable.model_validate(table))


@pytest.mark.parametrize("kind", ["influxdb1", "influxdb2"])
async def test_bad_line_among_many_is_the_only_one_rejected(tmp_path: Path, kind: str) -> None:
    database = await started(kind, tmp_path / "database")
    sink = sink_of(database, tmp_path)
    try:
        many = lines(1, 500)
        many[123] = many[123].replace(b"value=124", b"value=twelve")
        many[321] = many[321].replace(b"status=0i", b'status="good"')
        await sink.write(many[:10])
        refused = await store(sink, many)
        assert set(refused) == {123, 321}
        assert "twelve" in refused[123] or "invalid" in refused[123]
        assert "conflict" in refused[321]
        (series,) = await influxql(database, "SELECT count(seq) FROM reading")
        assert series["values"][0][1] == 498
    finally:
        await sink.close()
        await database.stop()


async def test_wrong_token_and_missing_bucket_are_named(tmp_path: Path) -> None:
    database = await started("influxdb2", tmp_path / "database")
    try:
        for other, words in (({"token": "wrong"}, "refuses the token"), ({"database": "nowhere"}, "'nowhere'")):
            sink = sink_of(database, tmp_path, **other)
            with pytest.raises(Misconfigured, match=words):
                await sink.write(lines(1, 1))
            await sink.close()
    finally:
        await database.stop()


async def test_missing_database_of_influxdb_1_is_named_or_created(tmp_path: Path) -> None:
    database = await started("influxdb1", tmp_path / "database")
    try:
        sink = sink_of(database, tmp_path, database="nowhere")
        with pytest.raises(Misconfigured, match="'nowhere'"):
            await sink.write(lines(1, 1))
        await sink.close()
        sink = sink_of(database, tmp_path, database="made", create=True)
        await sink.write(lines(1, 1))
        await sink.close()
    finally:
        await database.stop()


async def test_killed_database_is_unavailable_and_then_stores_again(tmp_path: Path) -> None:
    database = await started("influxdb1", tmp_path / "database")
    sink = sink_of(database, tmp_path)
    try:
        await sink.write(lines(1, 10))
        await database.kill()
        with pytest.raises(Unavailable):
            await sink.write(lines(11, 10))
        await database.start()
        await sink.write(lines(11, 10))
        (series,) = await influxql(database, "SELECT count(seq) FROM reading")
        assert series["values"][0][1] == 20
    finally:
        await sink.close()
        await database.stop()


async def test_victoria_metrics_is_recognised(tmp_path: Path) -> None:
    database = await started("victoriametrics", tmp_path / "database")
    sink = sink_of(database, tmp_path)
    try:
        await sink.write(lines(1, 10))
        assert sink.generation is not None
        assert sink.generation.write_path == "/api/v2/write"
    finally:
        await sink.close()
        await database.stop()


async def test_nobody_at_the_url_is_unavailable(tmp_path: Path) -> None:
    sink = InfluxDb(InfluxTable(url="http://127.0.0.1:9"))
    with pytest.raises(Unavailable, match="does not answer"):
        await sink.write(lines(1, 1))
    with pytest.raises(Unavailable):
        await sink.query("SHOW DATABASES")
    await sink.close()


async def test_bridge_with_a_wrong_token_alarms_and_the_station_keeps_everything(tmp_path: Path, lab: Path) -> None:
    needs("influxdb2")
    async with world(tmp_path, lab, "influxdb2", start=False) as made:
        right = (tmp_path / "token").read_text()
        (tmp_path / "token").write_text("wrong")
        await made.bridge.start()
        await made.station.start()
        await asyncio.sleep(3.0)
        assert await made.stored() == []
        assert "refuses the token" in log_of(made.bridge)
        await made.bridge.stop()
        (tmp_path / "token").write_text(right)
        await made.bridge.start()
        await asyncio.sleep(2.0)
        await made.station.stop()
        counts = compare(made.truth(), await made.stored())
    assert counts["balance"] == made.ledger()["instruments"]["balance"]["readings"] > 30


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    """Give a broker that knows one user and lets him write one topic."""
    program = find("mosquitto")
    assert program is not None
    (tmp_path / "acl").write_text("user lab\ntopic write daq/1/lab/data\n")
    # mosquitto_passwd made this one of "right"; the file is for this test alone
    (tmp_path / "passwords").write_text("lab:right\n")
    for file in ("acl", "passwords"):
        (tmp_path / file).chmod(0o600)
    passwd = program.parent.parent / "debian" / "usr" / "bin" / "mosquitto_passwd"
    tool = passwd if passwd.exists() else Path("/usr/bin/mosquitto_passwd")
    if not tool.exists():
        pytest.skip("mosquitto_passwd is not installed")
    subprocess.run([tool, "-U", tmp_path / "passwords"], check=True, capture_output=True)
    settings = ["allow_anonymous false", f"password_file {tmp_path}/passwords", f"acl_file {tmp_path}/acl"]
    async with Mosquitto(program, tmp_path / "broker", settings=settings) as broker:
        yield broker


def broker_config(broker: Mosquitto, tmp_path: Path, password: str) -> Broker:
    (tmp_path / "secret").write_text(password)
    return Broker(hosts=[f"127.0.0.1:{broker.port}"], user="lab", password_file=tmp_path / "secret")


async def test_broker_that_refuses_the_password_is_named(guarded: Mosquitto, tmp_path: Path) -> None:
    config = broker_config(guarded, tmp_path, "wrong")
    with pytest.raises(BrokerRefused, match=r"refuses user 'lab': .*[Nn]ot authori"):
        async with connect(config, "test", config.addresses[0]):
            pass


async def test_publish_that_the_broker_refuses_ends_the_connection(guarded: Mosquitto, tmp_path: Path) -> None:
    config = broker_config(guarded, tmp_path, "right")
    said: list[str] = []

    async with connect(config, "test", config.addresses[0]) as connection:
        await connection.publish("daq/1/lab/data", b"good")
        await asyncio.sleep(0.2)
        assert not connection.refused.done()
        await connection.publish("daq/1/other/data", b"not mine")
        with pytest.raises(BrokerRefused, match="Not authorized"):
            async with asyncio.timeout(2.0):
                await connection.refused
        said.append("refused")
    assert said == ["refused"]


async def test_refused_connection_is_lost() -> None:
    config = Broker(hosts=["127.0.0.1:9"])
    with pytest.raises(BrokerLost, match=r"127\.0\.0\.1:9"):
        async with connect(config, "test", config.addresses[0]):
            pass


async def test_next_host_of_the_list_is_tried(tmp_path: Path) -> None:
    program = find("mosquitto")
    assert program is not None
    async with Mosquitto(program, tmp_path / "broker") as broker:
        config = Broker(hosts=["127.0.0.1:9", f"127.0.0.1:{broker.port}"])
        reached = asyncio.Event()

        async def serve(connection: object) -> None:
            reached.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(stay_connected(config, "test", serve))
        async with asyncio.timeout(5.0):
            await reached.wait()
        task.cancel()
        await asyncio.wait([task])


POISON = [
    b"",
    b"\x00\xff" * 100,
    b"{}",
    b"# daq/1 station=lab\n",
    Batch("other", "e" * 32, 1, lines(1, 2)).encode(),
    Batch("lab", "e" * 32, 5, lines(1, 2)).encode(),
    Batch("lab", "e" * 32, 900_001, [b"event,station=somebody-else text=1 1"]).encode(),
    Batch("lab", "e" * 32, 900_001, [b"garbage"]).encode(),
    b"x" * 2_000_000,
]


async def test_poison_at_the_bridge_stops_nobody(tmp_path: Path, lab: Path) -> None:
    async with world(tmp_path, lab) as made:
        config = Broker(hosts=[f"127.0.0.1:{made.broker.port}"])
        await made.until_stored(5)
        async with connect(config, "poisoner", config.addresses[0]) as connection:
            for payload in POISON:
                await connection.publish("daq/1/lab/data", payload)
                await asyncio.sleep(0.1)
        await asyncio.sleep(2.0)
        await made.station.stop()
        counts = compare(made.truth(), await made.stored())
    assert counts["balance"] == made.ledger()["instruments"]["balance"]["readings"]
    assert log_of(made.bridge).count("discarded") >= 5
    assert "Traceback" not in log_of(made.bridge)


def daq(*arguments: str | Path, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([DAQ, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=60)


async def test_commands_around_a_running_station(tmp_path: Path, lab: Path) -> None:
    async with world(tmp_path, lab) as made:
        await asyncio.sleep(5.0)  # the status that follows the first reading
        config = tmp_path / "station.toml"
        status = await asyncio.to_thread(daq, "status", "--config", config, "--json")
        assert status.returncode == 0, status.stderr
        said = json.loads(status.stdout)
        assert (said["state"], said["instruments"]["balance"]["serial"]) == ("online", "SIM0000001")
        assert said["acquired"] == said["stored"] + said["spooled"] + said["quarantined"]
        busy = await asyncio.to_thread(daq, "read", "balance", "--config", config)
        assert busy.returncode == 1
        assert "balance" in busy.stderr
        assert "use" in busy.stderr or "lock" in busy.stderr
        kept = await asyncio.to_thread(daq, "export", "--spool", made.folder / "station" / "spool.sqlite")
        assert kept.returncode == 1
        assert "the station runs; stop it first" in kept.stderr
        second = await asyncio.to_thread(daq, "run", config, folder=made.station.folder)
        assert second.returncode == 1
        assert "in use by another process; a spool has exactly one owner" in second.stderr
        await made.station.stop()
        one = await asyncio.to_thread(daq, "read", "balance", "--config", config, "--raw", "--json")
        assert one.returncode == 0, one.stderr
        assert json.loads(one.stdout)["serial"] == "SIM0000001"
        kept = await asyncio.to_thread(daq, "export", "--spool", made.folder / "station" / "spool.sqlite")
        assert len(kept.stdout.splitlines()) == 1 + made.ledger()["instruments"]["balance"]["readings"]
        offline = await asyncio.to_thread(daq, "status", "--config", config)
        assert offline.returncode == 1


def test_exit_codes_and_words(tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text('station = "lab"\n[instruments.b]\ndriver = "mt-siks"\n')
    for command in ("check", "run"):
        done = daq(command, tmp_path / "wrong.toml")
        assert done.returncode == 78
        assert "[instruments.b] address: missing" in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
    (tmp_path / "bridge.toml").write_text('[influxdb]\nurl = "127.0.0.1:8086"\n')
    assert daq("bridge", tmp_path / "bridge.toml").returncode == 78
    (tmp_path / "lab.toml").write_text('[instruments.b]\nsimulator = "mt-sics"\nserve = "pty"\nserial = "B1"\n')
    done = daq("simulate", tmp_path / "lab.toml")
    assert done.returncode == 78
    assert 'must begin with "SIM"' in done.stderr
    assert daq("drivers", "nonsense").returncode == 2
    assert daq("nonsense").returncode == 2
    assert daq("export").returncode == 2
    assert daq("export", "--archive", tmp_path / "none.sqlite").returncode == 1
    assert {one["name"] for one in json.loads(daq("drivers", "--json").stdout)} >= {"mt-sics", "vaisala-hmp"}
    for command in ("run", "bridge", "demo", "simulate", "check", "drivers", "read", "status", "schema", "export"):
        done = daq(command, "--help")
        assert done.returncode == 0
        assert "Example:" in done.stdout, command


def test_config_that_is_a_pipe_is_read_once(tmp_path: Path) -> None:
    good = f'station = "lab"\n{BAD.format("b", "tcp://127.0.0.1:9")}'
    for text, code, words in (
        (good, 0, "good"),
        (good.replace("mt-sics", "mt-siks"), 78, '"mt-siks" is not installed'),
    ):
        command = [str(DAQ), "check", "/dev/stdin"]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, words in done.stdout) == (code, True), done.stdout
    bridge = subprocess.run(command, input="share = false", capture_output=True, text=True, check=False, timeout=60)
    assert bridge.stdout == "/dev/stdin: good\n"
    (tmp_path / "a.toml").write_text(f'{good}[spool]\npath = "{tmp_path}/a.toml"\n')
    done = daq("run", tmp_path / "a.toml", folder=tmp_path)
    assert (done.returncode, "is the file of this config" in done.stderr) == (78, True), done.stderr
    assert (tmp_path / "a.toml").exists()


def test_influxd_generations_are_told_apart() -> None:
    needs("influxdb1")
    assert find_influxdb(1) != find_influxdb(2)
