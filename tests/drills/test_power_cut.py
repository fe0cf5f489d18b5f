"""R7: the power goes at any operation of the disk; what was committed is there, whole, and nothing else is."""

from __future__ import annotations

import random
import shutil
import sqlite3
import tempfile
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from daq.road.batch import Rejection
from daq.road.line_protocol import encode
from daq.road.ranges import Ranges
from daq.spool.file import Changes, SpoolFile
from daq.spool.queue import SpoolError
from tests.disk import faulty_disk
from tests.drills.report import SEED, count, note
from tests.power_cut import cut
from tests.spools import GIB, reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.disk import Operation

CUTS = count(300, 10_000)
COMMITS = 400
REOPENED = 90
"""Commits between two times that the station stops and starts again."""
NAME = "spool.sqlite"

Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class State:
    """What a spool holds after a commit: the last number, what is stored, what is in quarantine."""

    last: int = 0
    stored: Pairs = ()
    quarantined: Pairs = ()


@dataclass
class Life:
    """What a spool was told, and what that was for the disk; `states[k]` is how it stood when mark k was set."""

    log: list[Operation] = field(default_factory=list)
    epoch: str = ""
    states: list[State] = field(default_factory=lambda: [State()])
    lines: dict[int, bytes] = field(default_factory=dict)

    def add(self, changes: Changes) -> None:
        """Reckon what the spool holds after one more commit, without asking it."""
        before = self.states[-1]
        self.lines.update({seq: line for seq, _, line in changes.rows})
        stored = Ranges([*before.stored, *changes.stored])
        quarantined = Ranges([*before.quarantined, *((one.seq, one.seq) for one in changes.rejected)])
        self.states.append(State(before.last + len(changes.rows), tuple(stored), tuple(quarantined)))


@dataclass
class Seen:
    """The count of all cuts."""

    lost: int = 0
    faults: list[str] = field(default_factory=list)


@contextmanager
def quick_folder(tmp_path: Path) -> Iterator[Path]:
    """Give a folder in memory where there is one: ten thousand spools are written."""
    memory = Path("/dev/shm")  # noqa: S108  # a folder of our own in it
    try:
        made = tempfile.mkdtemp(prefix="daq-power-cut-", dir=memory)
    except OSError:
        made = tempfile.mkdtemp(dir=tmp_path)
    try:
        yield Path(made)
    finally:
        shutil.rmtree(made)


def lived(path: Path, dice: random.Random, monkeypatch: pytest.MonkeyPatch) -> Life:
    """Write a spool with many small checkpoints, which are what a power cut could tear, and log all of it."""
    connect = sqlite3.connect

    def connect_with_checkpoints(*args: Any, **more: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **more)
        connection.execute("PRAGMA wal_autocheckpoint = 60")
        return connection

    path.parent.mkdir()
    life = Life()
    with monkeypatch.context() as patched, faulty_disk(path.parent) as disk:
        patched.setattr(sqlite3, "connect", connect_with_checkpoints)
        spool = SpoolFile(path, GIB)
        life.epoch = spool.epoch
        disk.mark(0)
        for number in range(1, COMMITS + 1):
            changes = invented(life, dice)
            spool.commit(changes)
            disk.mark(number)
            life.add(changes)
            assert state_of(spool) == life.states[-1]
            if number % REOPENED == 0:
                spool.close()
                spool = SpoolFile(path, GIB)
        spool.close()
    life.log = disk.log
    return life


def invented(life: Life, dice: random.Random) -> Changes:
    """Think of a commit: readings, mostly, and acknowledgements of what was committed earlier, at times alone."""
    last = life.states[-1].last
    changes = Changes()
    if last and dice.random() < 0.4:
        first = dice.randrange(max(1, last - 200), last + 1)
        changes.stored.append((first, min(last, first + dice.randrange(60))))
    taken = {seq for low, high in changes.stored for seq in range(low, high + 1)}
    refused = dice.randint(1, last) if last and dice.random() < 0.1 else 0
    if refused and refused not in taken:
        changes.rejected.append(Rejection(refused, "field type conflict: input field value is type float"))
    if not changes or dice.random() < 0.8:
        for seq in range(last + 1, last + 1 + dice.randint(1, 20)):
            record = reading(seq)
            changes.rows.append((seq, record.at, encode(record, seq, life.epoch)))
    return changes


def state_of(spool: SpoolFile) -> State:
    return State(spool.last, tuple(spool.stored), tuple(spool.quarantined))


def judge(folder: Path, life: Life, position: int, seen: Seen) -> None:
    """Open what a cut at `position` left, and count what was lost and what is wrong."""
    marks = [one.number for one in life.log[:position] if one.kind == "mark"]
    committed = marks[-1] if marks else 0
    allowed = life.states[committed : committed + 2] if marks else life.states[:1]
    try:
        spool = SpoolFile(folder / NAME, GIB)
    except SpoolError as error:
        seen.lost += life.states[committed].last
        seen.faults.append(f"cannot be opened: {error}")
        return
    with closing(spool):
        found = dict(spool.read(1, spool.last)) if spool.last else {}
        state = state_of(spool)
        seen.lost += sum(found.get(seq) != life.lines[seq] for seq in range(1, allowed[0].last + 1))
        wrong = {
            f"damage reported: {spool.damage}": spool.damage != "",
            "another epoch": bool(marks) and spool.epoch != life.epoch,
            "something dropped": len(spool.dropped) > 0,
            f"{state} is neither before nor after the commit that was cut off": state not in allowed,
            "gaps in the numbers": list(found) != list(range(1, spool.last + 1)),
            "rows that nobody wrote": any(life.lines.get(seq) != line for seq, line in found.items()),
        }
        following = spool.last + 1
        line = encode(reading(following), following, spool.epoch)
        spool.commit(Changes([(following, reading(following).at, line)]))
        wrong["does not go on"] = spool.read(following, following) != [(following, line)]
    with closing(sqlite3.connect(folder / NAME)) as connection:
        (said,) = connection.execute("PRAGMA integrity_check").fetchone()
    wrong[f"integrity check: {said}"] = said != "ok"
    seen.faults += [text for text, is_so in wrong.items() if is_so]


@pytest.mark.timeout(CUTS * 0.1 + 120)
def test_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dice = random.Random(SEED)
    seen = Seen()
    with quick_folder(tmp_path) as folder:
        life = lived(folder / "lived" / NAME, dice, monkeypatch)
        created = next(place for place, one in enumerate(life.log) if one.kind == "mark")
        checkpoints = sum(one.kind == "sync" and one.name == NAME for one in life.log)
        assert checkpoints > 20
        started = time.monotonic()
        for number in range(CUTS):
            # One cut in ten falls into the creation, which is short and has the most different operations.
            position = dice.randrange(created if number % 10 == 0 else len(life.log)) + 1
            left = folder / "left"
            left.mkdir()
            for name, data in cut(life.log, position, dice).items():
                (left / name).write_bytes(data)
            before = len(seen.faults)
            judge(left, life, position, seen)
            seen.faults[before:] = [f"cut {number} at {position}: {text}" for text in seen.faults[before:]]
            shutil.rmtree(left)
        rate = CUTS / (time.monotonic() - started)
    note(
        "R7",
        claim="a power cut at any operation of the disk takes nothing that was committed and tears no commit",
        aim="10,000 cuts: 0 committed rows lost, 0 integrity failures",
        seen=f"{CUTS:,} cuts in {len(life.log):,} operations ({COMMITS} commits, {len(life.lines):,} rows, "
        f"{checkpoints} checkpoints): {seen.lost} committed rows lost, {len(seen.faults)} integrity failures; "
        f"{rate:.0f} cuts/s",
        test="pytest tests/drills/test_power_cut.py",
        seed=SEED,
    )
    assert (seen.lost, seen.faults[:5]) == (0, [])
