"""What a person does with what a station keeps: verify it, look into the quarantine, send again; and a new config."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import re
import signal
import sqlite3
import subprocess
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from daq.spool import chain
from tests.system.conftest import needs
from tests.system.test_road import KILLED_LAB
from tests.system.world import DAQ, compare, influxql, log_of, world

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.world import World


def daq(made: World, *arguments: str | os.PathLike[str]) -> subprocess.CompletedProcess[str]:
    """Run a command where the station runs."""
    where = made.folder / "station"
    return subprocess.run([DAQ, *arguments], cwd=where, capture_output=True, text=True, check=False, timeout=60)


async def asked(made: World, *arguments: str | os.PathLike[str]) -> subprocess.CompletedProcess[str]:
    config = ("--config", made.folder / "station.toml")
    return await asyncio.to_thread(daq, made, *arguments, *config)


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    path = tmp_path / "lab.simulated.toml"
    path.write_text(KILLED_LAB)
    return path


async def test_verify_finds_what_was_changed_in_file_and_database(tmp_path: Path, lab: Path) -> None:
    needs("influxdb1")
    async with world(tmp_path, lab, "influxdb1") as made:
        assert made.database is not None
        bridge = ("--bridge", made.folder / "bridge.toml")
        await asyncio.sleep(4.0)
        while_running = await asked(made, "verify", *bridge)
        assert while_running.returncode == 0, while_running.stdout
        assert "the chain is whole" in while_running.stdout
        await made.station.stop()
        whole = await asked(made, "verify", *bridge, "--json")
        said = json.loads(whole.stdout)
        assert whole.returncode == 0, whole.stdout
        assert said["equal"] == said["records"] == made.ledger()["acquired"]
        assert said["heads_compared"] >= 1

        stored = [one for one in await made.stored() if one.instrument == "balance"]
        await influxql(made.database, f"DELETE FROM reading WHERE time = {stored[9].at}")  # noqa: S608
        missing = await asked(made, "verify", *bridge)
        assert missing.returncode == 1
        assert re.search(rf"record {stored[9].seq}: reading balance .*missing in the database", missing.stdout)

        changed = stored[4].seq
        with sqlite3.connect(made.folder / "station" / "spool.sqlite") as connection:
            at, line = connection.execute("SELECT at, line FROM record WHERE seq = ?", (changed,)).fetchone()
            line = line.replace(b"value=", b"value=9", 1)
            crc = chain.checksum(changed, at, line)
            connection.execute("UPDATE record SET line = ?, crc = ? WHERE seq = ?", (line, crc, changed))
        connection.close()
        found = await asked(made, "verify")
        assert found.returncode == 1
        assert f"record {changed}: changed: it does not follow from record {changed - 1}" in found.stdout
        nothing = await asked(made, "verify", "--from", "2030-01-01", "--to", "2020-01-01")
        assert nothing.returncode == 2
        assert "is not before" in nothing.stderr


async def test_verify_lets_a_damaged_file_lie(tmp_path: Path, lab: Path) -> None:
    async with world(tmp_path, lab) as made:
        await asyncio.sleep(2.0)
        await made.station.stop()
        path = made.folder / "station" / "spool.sqlite"
        path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 20_000)
        before = sorted(one.name for one in path.parent.iterdir())
        done = await asked(made, "verify")
        assert done.returncode == 1
        assert "cannot be used as a spool" in done.stderr
        assert sorted(one.name for one in path.parent.iterdir()) == before


async def test_quarantine_lists_shows_and_sends_again(tmp_path: Path, lab: Path) -> None:
    """The database has the text of one instrument as a number from before: it rejects its readings, and no others."""
    needs("influxdb1")
    async with world(tmp_path, lab, "influxdb1", start=False) as made:
        assert made.database is not None
        await influxql(made.database, "DROP MEASUREMENT reading")
        await write(made, "reading,instrument=balance,channel=weight,quantity=mass,unit=g,station=lab text=1.5")
        await made.bridge.start()
        await made.station.start()
        await asyncio.sleep(4.0)
        listed = await asked(made, "quarantine", "--json")
        rows = json.loads(listed.stdout)["quarantine"]
        assert rows, log_of(made.bridge)
        assert all("text" in one["reason"] for one in rows)
        status = await made.status()
        assert status["quarantined"] >= len(rows)
        seen = await asked(made, "quarantine")
        assert "send them again with" in seen.stdout
        one = await asked(made, "quarantine", "--show", str(rows[0]["seq"]))
        assert "reason  " in one.stdout
        assert f"seq={rows[0]['seq']}i" in one.stdout
        assert (await asked(made, "quarantine", "--show", "99999999")).returncode == 1
        await influxql(made.database, "DROP MEASUREMENT reading")  # somebody has mended the database
        await asyncio.sleep(1.0)
        sent = await asked(made, "quarantine", "--send", "all")
        assert sent.returncode == 0, sent.stderr
        replayed = await asked(made, "replay")
        assert replayed.returncode == 0, replayed.stderr
        await asyncio.sleep(1.0)
        await made.station.stop()
        assert made.ledger()["quarantined"] == 0
        assert made.verify()["whole"]
        compare(made.truth(), await made.stored())
        assert (await asked(made, "quarantine")).stdout == "nothing is in quarantine\n"
        assert (await asked(made, "quarantine", "--send", "some")).returncode == 2


async def write(made: World, line: str) -> None:
    """Write one line into the database through its own HTTP interface."""
    import aiohttp

    assert made.database is not None
    where = {"db": made.database.database}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{made.database.url}/write", params=where, data=line) as answer,
    ):
        assert answer.status == 204, await answer.text()


def series(status: dict[str, Any], name: str) -> int:
    return int(status["instruments"][name]["readings"])


async def test_new_config_restarts_only_what_has_changed(tmp_path: Path, lab: Path) -> None:
    async with world(tmp_path, lab) as made:
        config = tmp_path / "station.toml"
        await asyncio.sleep(3.0)
        text = config.read_text()
        (bath,) = re.findall(r"\[instruments\.bath\]\n(?:.+\n)+", text)
        config.write_text(text.replace('period = "100 ms"', 'period = "200 ms"').replace(bath, ""))
        done = await asked(made, "reload")
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == ["bath removed", "meter changed"]
        await asyncio.sleep(2.0)
        status = await made.status()
        assert set(status["instruments"]) == {"balance", "room", "meter"}

        config.write_text(config.read_text().replace('driver = "mt-sics"', 'driver = "mt-siks"'))
        wrong = await asked(made, "reload")
        assert wrong.returncode == 78
        assert 'did you mean "mt-sics"?' in wrong.stderr
        config.write_text(text)
        os.kill(made.station.pid, signal.SIGHUP)
        await asyncio.sleep(3.0)
        status = await made.status()
        assert series(status, "bath") >= 2
        await made.station.stop()
        stored = await made.stored()
        counts = compare(made.truth(), stored)
        ledger = made.ledger()
    assert ledger["stored"] == ledger["acquired"]
    room = sorted({one.at for one in stored if one.instrument == "room"})
    assert max(later - earlier for earlier, later in pairwise(room)) < 1_000_000_000, "what did not change reads on"
    assert counts["room"] > 200
    assert log_of(made.station).count("meter: connect:") == 3
    assert log_of(made.station).count("room: connect:") == 1
    assert "reload: bath removed, meter changed" in log_of(made.station)


async def test_status_as_metrics(tmp_path: Path, lab: Path) -> None:
    async with world(tmp_path, lab) as made:
        await asyncio.sleep(4.0)
        done = await asked(made, "status", "--metrics")
        assert done.returncode == 0, done.stderr
        assert 'daq_unaccounted_records{station="lab"} 0\n' in done.stdout
        assert re.search(r'daq_instrument_readings\{station="lab",instrument="room"\} [1-9]\d*\n', done.stdout)
        assert done.stdout.endswith("# EOF\n")
        await made.station.stop()
        done = await asked(made, "status", "--metrics")
        assert done.returncode == 1
        assert 'daq_up{station="lab"} 0\n' in done.stdout


EXCHANGED_LAB = """
[instruments.balance]
simulator = "mt-sics"
serve = "tcp"
serial = "SIM0000001"
period = "250 ms"
faults = { swap = [[4.0, 1000.0]] }
[instruments.room]
simulator = "vaisala-hmp"
serve = "modbus-tcp"
unit = 240
period = "250 ms"
"""


async def test_exchanged_balance_is_in_doubt_in_every_view(tmp_path: Path) -> None:
    """Another balance answers after 4 s, which the next proof shows: the same readings are in doubt everywhere."""
    path = tmp_path / "lab.simulated.toml"
    path.write_text(EXCHANGED_LAB)
    async with world(tmp_path, path) as made:
        for _ in range(40):
            await asyncio.sleep(0.5)
            if (await made.status())["doubts"]:
                break
        await asyncio.sleep(1.0)
        status = await asked(made, "status")
        said = json.loads((await asked(made, "status", "--json")).stdout)
        metrics = await asked(made, "status", "--metrics")
        verified = json.loads((await asked(made, "verify", "--bridge", made.folder / "bridge.toml", "--json")).stdout)
        await made.station.stop()
        assert made.verify()["whole"]
        exported = {
            kind: list(csv.DictReader(daq(made, "export", f"--{kind}", file).stdout.splitlines()))
            for kind, file in (("archive", made.archive), ("spool", made.folder / "station" / "spool.sqlite"))
        }
    balance, room = said["instruments"]["balance"], said["instruments"]["room"]
    assert (balance["serial"], balance["identified"], balance["proven"]) == ("SIM0SWAPPED", False, "proven every 5 s")
    assert (balance["doubts"], room["doubts"], said["doubts"]) == (1, 0, 1)
    assert (room["serial"], room["identified"], room["proven"]) == (None, False, "not identified")
    assert f"balance: 1 doubt, the newest: {balance['last_doubt']}" in status.stdout
    assert "SIM0SWAPPED" in balance["last_doubt"]
    assert 'daq_instrument_doubts{station="lab",instrument="balance"} 1\n' in metrics.stdout
    assert 'daq_doubts{station="lab"} 1\n' in metrics.stdout
    for rows in exported.values():
        doubted = [row for row in rows if row["doubt"]]
        assert doubted == [row for row in rows if row["instrument"] == "balance"][-len(doubted) :], "up to the last"
        assert {row["doubt"] for row in doubted} == {f"identity: {balance['last_doubt']}"}
        assert len(doubted) == verified["readings_in_doubt"] > 1
        assert verified["doubts"] == 1
        assert {(row["instrument"], row["serial"], row["identified"]) for row in rows} == {
            ("balance", "SIM0000001", "True"),
            ("room", "", "False"),
        }
    key = "time_ns"
    archived, kept = (sorted(rows, key=lambda row: (row[key], row["channel"])) for rows in exported.values())
    assert archived == kept
