"""R8 with a real full disk: another process fills the file system under a running station, and leaves again."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from daq.demo.whole_lab import Program
from tests.drills.report import count, note
from tests.drills.test_kills import fast_lab
from tests.system.conftest import needs
from tests.system.world import World, compare, log_of, world

if TYPE_CHECKING:
    from collections.abc import Sequence

ROUNDS = count(1, 10)
FULL_FOR = count(4, 20)
AGAIN_WITHIN = 5.0
CHUNK = 64 * 1024


class OnSmallDisk(World):
    """A lab whose station keeps its spool on a file system of its own, in a mount namespace of its own."""

    @property
    def disk(self) -> Path:
        """The small file system, as everybody outside can reach it."""
        return Path(f"/proc/{self.station.pid}/root{self.folder}/station")

    @property
    def control(self) -> Path:
        return self.disk / "spool.sqlite.socket"


def can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    mount = ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(mount, capture_output=True, check=False).returncode == 0


def on_small_disk(folder: Path) -> Program:
    """Give the station on a file system of 24 MiB."""
    script = 'mount -t tmpfs -o size=24m none "$0" && cd "$0" && exec "$@"'
    command: Sequence[str] = (
        *("--user", "--map-root-user", "--mount", "sh", "-c", script, str(folder / "station")),
        *(sys.executable, "-m", "daq", "run", str(folder / "station.toml")),
    )
    program = shutil.which("unshare")
    assert program is not None
    return Program(Path(program), folder / "station", arguments=command)


def fill(path: Path) -> None:
    """Take what is left of a file system, to the last page."""
    with path.open("wb", buffering=0) as file:
        for size in (CHUNK, 4096, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue


@pytest.mark.timeout(900)
async def test_another_process_fills_the_disk(tmp_path: Path) -> None:
    needs("influxdb1")
    if not can_mount():
        pytest.skip("no mount namespace for this user: a real full disk cannot be had here")
    lab = tmp_path / "fast.toml"
    lab.write_text(fast_lab(100))
    again: list[float] = []
    most = 0
    async with world(tmp_path, lab, "influxdb1", start=False) as plain:
        made = OnSmallDisk(**vars(plain))
        made.station = plain.station = on_small_disk(tmp_path)
        config = tmp_path / "station.toml"
        config.write_text(config.read_text() + '\n[spool]\nballast = "1 MiB"\n')
        await made.bridge.start()
        await made.station.start()
        for _ in range(ROUNDS):
            await asyncio.sleep(2.0)
            await made.until_drained()
            fill(made.disk / "filler")
            began = time.monotonic()
            while not (status := await made.status())["spool"]["trouble"]:
                assert time.monotonic() - began < 60, "the disk is full, and nobody says so"
                await asyncio.sleep(0.1)
            await asyncio.sleep(FULL_FOR)
            stands = await made.status()
            (made.disk / "filler").unlink()
            freed = time.monotonic()
            while (status := await made.status())["spool"]["trouble"] or status["acquired"] == stands["acquired"]:
                assert time.monotonic() - freed < 60, status
                await asyncio.sleep(0.05)
            again.append(time.monotonic() - freed)
            most = max(most, status["acquired"] - stands["acquired"])
        await made.until_drained()
        status = await made.status()
        await made.station.stop()
        stored = await made.stored()
        counts = compare(made.truth(), stored)
    assert status["acquired"] == status["stored"] + status["spooled"]
    assert (status["quarantined"], status["dropped"]) == (0, 0)
    assert sum(counts.values()) == len({one.seq for one in stored})
    assert max(again) < AGAIN_WITHIN
    assert "its ballast was given up" in log_of(made.station)
    assert "the disk of the spool has room for 2" in log_of(made.station), "the limit is larger than the disk"
    assert log_of(made.station).count("disk: the disk of the spool refused to write") >= ROUNDS
    note(
        "R8 full disk",
        claim="a disk that another process fills costs no reading; the station goes on as soon as there is room",
        aim="never ends; 0 lost; resumes ≤ 5 s after space returns",
        seen=f"a file system of 24 MiB filled to the last byte {ROUNDS} times for {FULL_FOR} s at 1,000 readings/s: "
        f"{len(stored)} readings, 0 lost, 0 doubled; up to {most} waited in memory; committed again after "
        f"{max(again):.1f} s at most; each time an event",
        test="pytest tests/drills/test_full_disk.py",
    )
