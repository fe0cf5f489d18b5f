"""The services in a real systemd: ready, fed, killed, stopped, misconfigured, hung; and their exposure."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.drills.report import count, note
from tests.system.conftest import needs
from tests.system.world import ROOT, compare, influxql, world

if TYPE_CHECKING:
    from daq.demo.servers import Mosquitto
    from tests.system.world import Database

LAB = """
seed = 5
[instruments.balance]
simulator = "mt-sics"
serve = "tcp"
serial = "SIM0000001"
period = "50 ms"
[instruments.meter]
simulator = "scpi-dmm"
serve = "hislip"
serial = "SIM0000003"
period = "200 ms"
[instruments.room]
simulator = "vaisala-hmp"
serve = "modbus-tcp"
unit = 240
period = "100 ms"
"""

SANDBOX = ROOT / "tools" / "systemd-sandbox.sh"
HIGHEST_EXPOSURE = 2.5
WATCHDOG = count(3, 30)
"""Seconds; as the unit has it in the long form."""


def can_boot() -> str:
    """Say why systemd cannot be booted here; empty where it can."""
    if os.geteuid() != 0:
        return "booting systemd in namespaces needs root"
    if not Path("/lib/systemd/systemd").exists() or shutil.which("nsenter") is None:
        return "systemd is not installed"
    done = subprocess.run([SANDBOX, "/bin/true"], capture_output=True, text=True, check=False, timeout=60)
    return "" if done.returncode == 0 else f"systemd does not boot here: {done.stderr.splitlines()[-1:]}"


@pytest.mark.parametrize("unit", ["daq.service", "daq-bridge.service"])
def test_exposure(unit: str) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    said = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", ROOT / "systemd" / unit],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    level = re.search(r"Overall exposure level for .*: (\d+\.\d)", said.stdout)
    assert level is not None, said.stderr
    assert float(level[1]) <= HIGHEST_EXPOSURE


async def demand_password(broker: Mosquitto, folder: Path, password: str) -> None:
    """Let the broker start again, for a user with a password only."""
    tool = broker.program.parent.parent / "debian" / "usr" / "bin" / "mosquitto_passwd"
    passwords = folder / "passwords"
    passwords.write_text(f"lab:{password}\n")
    passwords.chmod(0o600)
    subprocess.run(
        [tool if tool.exists() else "mosquitto_passwd", "-U", passwords], check=True, capture_output=True, timeout=20
    )
    await broker.stop()
    broker.settings = ["allow_anonymous false", f"password_file {passwords}"]
    await broker.start()
    for config in (folder / "station.toml", folder / "bridge.toml"):
        config.write_text(config.read_text().replace("[broker]\n", '[broker]\nuser = "lab"\n'))


async def numbers_in(database: Database) -> list[int]:
    """Give the sequence number of every record in the database, whatever its measurement; in order."""
    series = await influxql(database, 'SELECT "seq", "epoch" FROM "reading", "event", "station"')
    rows = [row for one in series for row in one["values"]]
    assert len({epoch for _, _, epoch in rows}) == 1, "one spool file, one epoch"
    return sorted(seq for _, seq, _ in rows)


async def test_story_of_the_services(tmp_path: Path) -> None:
    needs("influxdb1")
    if reason := can_boot():
        pytest.skip(reason)
    lab = tmp_path / "lab-of-the-test.toml"
    lab.write_text(LAB)
    async with world(tmp_path, lab, "influxdb1", start=False) as made:
        password = secrets.token_urlsafe(16)
        await demand_password(made.broker, tmp_path, password)
        story = await asyncio.create_subprocess_exec(
            *(SANDBOX, ROOT / "tests" / "system" / "service_story.sh"),
            *(ROOT, tmp_path, sys.executable, sys.base_prefix, password, str(WATCHDOG)),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        said = (await story.communicate())[0].decode()
        assert story.returncode == 0, said
        assert made.database is not None
        gaps = await influxql(
            made.database, "SELECT until, text FROM event WHERE kind = 'gap' AND text =~ /did not run/"
        )
        numbers, stored, truth = await numbers_in(made.database), await made.stored(), made.truth()
    parts = dict(part.split("\n", 1) for part in said.split("== ")[1:])
    assert parts["ready"].count("ActiveState=active\nSubState=running") == 2
    assert re.search(r"daq\.service:\nmqtt-password\s", parts["credentials"])
    assert "influxdb-token" not in parts["credentials"]
    assert re.search(r"StatusText=\d+ acquired, \d+ stored, \d+ waiting", parts["status"])
    assert {"NRestarts=1", "ActiveState=active"} <= set(parts["killed"].split())
    assert {"NRestarts=1", "ActiveState=active"} <= set(parts["bridge killed"].split())
    assert "ActiveState=inactive" in parts["stopped"]
    assert "Result=success" in parts["stopped"]
    assert {"ActiveState=failed", "ExecMainStatus=78", "NRestarts=0"} <= set(parts["wrong config"].split())
    assert '"mt-siks" is not installed; did you mean "mt-sics"?' in parts["wrong config"]
    assert {"NRestarts=1", "ActiveState=active"} <= set(parts["hung"].split())
    assert {"NRestarts=1", "ActiveState=active"} <= set(parts["reloaded"].split()), "reloaded, not restarted"
    assert "reload: meter changed" in parts["reloaded"]
    assert "reload: refused, nothing was changed:" in parts["reloaded"]
    since, until = (int(word) for word in re.findall(r"hung (\d+) (\d+)", parts["hung"])[0])
    hung = (until - since) / 1e9
    assert hung <= WATCHDOG + 5.0
    gap = [
        (at, end, text) for one in gaps for at, end, text in one["values"] if at <= since + 1e8 and end >= since + 1e9
    ]
    assert len(gap) == 1, gaps
    note(
        "R14",
        claim="a station that hangs is started again by the watchdog, and says from when to when it did not read",
        aim="restart ≤ WatchdogSec + 5 s; gap event present",
        seen=f"every thread stopped (SIGSTOP) under a booted systemd, WatchdogSec={WATCHDOG}: active again after "
        f"{hung:.1f} s; gap event of {(gap[0][1] - gap[0][0]) / 1e9:.1f} s: “{gap[0][2]}”",
        test="pytest tests/system/test_systemd.py -k story",
    )
    # By default systemd has given up long before.
    restarts = re.search(r"NRestarts=(\d+)", parts["crashing"])
    assert restarts is not None
    assert int(restarts[1]) > 10
    assert "ActiveState=failed" not in parts["crashing"]
    # Every record that the spool ever committed is in the database, once.
    ledger = json.loads(parts["ledger"])
    assert (ledger["spooled"], ledger["quarantined"], ledger["dropped"]) == (0, 0, 0)
    assert numbers == list(range(1, ledger["acquired"] + 1))
    # Killed twice, stopped twice: a kill may cost what was read in the last moments and not yet committed.
    counts = compare(truth, stored, stops=24)
    assert set(counts) == {"balance", "meter", "room"}
    assert counts["balance"] > 100
