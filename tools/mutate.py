"""Mutation testing: changes the code of a room, one small change at a time, and tells which changes no test notices.

    make mutate                                                       the rooms that have a bound, completely
    make mutate ARGS="--room daq/station --sample 200 --seed 1"       a quick look: 200 changes drawn with a seed
    make mutate ARGS="--room daq/station/supervision.py --bound 90"   one file, with a bound of its own

Only the fast tests run (`ROOMS` says which ones for each room), in a copy of the tree: yours is only read. The tests
run twice without a change: once for their time, once to learn which test runs which lines. A test that fails then, or
takes longer than 10 s, is named and left out. For each change a process is forked that has pytest and the third-party
libraries in memory and nothing of ours; it runs only the tests that run the changed statement, the fastest first, until
one fails. A change that no test runs has survived; one whose tests take several times as long as without it was
noticed.

Prints each survivor as file, line and the lines of a diff, and a table for the files. The exit code is 1 where a room
is below its bound (percent noticed). What is changed and what is not: `tools/mutations.py`. Some survivors cannot be
noticed, because the changed program does the same: a bound of 100 % is no aim.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tools.mutant_runs import LONGEST, Broken, Outcome, Runs, copy_of_tree
from tools.mutations import Change, changes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Room:
    """Which tests watch a room, what in it is another room, and the percentage that they must notice."""

    tests: tuple[str, ...]
    without: tuple[str, ...] = ()
    bound: float = 0.0


ROOMS = {
    "drivers": Room(
        (
            "tests/unit/drivers",
            "tests/conformance/drivers",
            "tests/unit/station",
            "tests/unit/links",
            "tests/unit/test_config.py",
        ),
        without=("drivers/links",),
        bound=85.0,
    ),
    "drivers/links": Room(("tests/unit/links", "tests/unit/drivers")),
    "daq/station": Room(("tests/unit/station", "tests/unit/test_config.py"), bound=85.0),
    "daq/bridge": Room(("tests/unit/bridge",)),
    "daq/host": Room(("tests/unit/host", "tests/unit/station")),
    "daq/road": Room(("tests/unit/road", "tests/unit/bridge", "tests/unit/station")),
    "daq/spool": Room(("tests/unit/spool",)),
}
"""Other folders of `tests` need real servers or real time."""


@dataclass(slots=True)
class Tally:
    """How many changes of one file were noticed, and how."""

    killed: int = 0
    timed_out: int = 0
    survived: int = 0

    def add(self, outcome: Outcome) -> None:
        """Count one change."""
        self.killed += outcome is Outcome.KILLED
        self.timed_out += outcome is Outcome.TIMED_OUT
        self.survived += outcome in {Outcome.SURVIVED, Outcome.NOT_RUN}

    @property
    def noticed(self) -> float:
        """Percentage that the tests noticed."""
        return 100.0 * (self.killed + self.timed_out) / max(1, self.killed + self.timed_out + self.survived)

    def row(self, name: str) -> str:
        """Give a line of the table."""
        return f"{name:<40}{self.killed:>8}{self.timed_out:>10}{self.survived:>10}{self.noticed:>9.1f} %"


def room_of(path: str) -> str:
    """Name the room that a folder or file belongs to: the longest name that it begins with."""
    found = [name for name in ROOMS if path == name or path.startswith(f"{name}/")]
    if not found:
        raise argparse.ArgumentTypeError(f"{path} is in none of the rooms: {', '.join(ROOMS)}")
    return max(found, key=len)


def files(path: str, root: Path = ROOT) -> list[str]:
    """List the source files of a room, a folder in it, or one file."""
    within = ROOMS[room_of(path)].without
    found = [root / path] if path.endswith(".py") else sorted((root / path).rglob("*.py"))
    names = [one.relative_to(root).as_posix() for one in found]
    return [name for name in names if not any(name.startswith(f"{other}/") for other in within)]


def drawn(path: str, sample: int, seed: int, root: Path = ROOT) -> list[Change]:
    """List the changes of a room, or draw `sample` of them; the same seed draws the same ones from the same files."""
    every = [change for name in files(path, root) for change in changes(name, (root / name).read_bytes())]
    if not 0 < sample < len(every):
        return every
    order = {change: place for place, change in enumerate(every)}
    return sorted(random.Random(seed).sample(every, sample), key=order.__getitem__)  # noqa: S311  # a draw, no secret


def say(text: str) -> None:
    """Write progress, apart from the result."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def examine(path: str, chosen: Sequence[Change], workers: int) -> dict[Change, Outcome]:
    """Try every change with the tests of its room."""
    with tempfile.TemporaryDirectory(prefix="daq-mutate-") as folder:
        trees = [copy_of_tree(ROOT, Path(folder) / str(number)) for number in range(workers)]
        runs = Runs(trees, ROOMS[room_of(path)].tests, path)
        learnt = runs.learn()
        for test in learnt.failing:
            say(f"fails without any change, left out: {test}")
        for test in learnt.slow:
            say(f"takes more than {LONGEST:.0f} s, left out: {test}")
        say(f"{path}: {len(chosen)} changes, {len(learnt.seconds)} tests of {sum(learnt.seconds.values()):.1f} s")
        found: dict[Change, Outcome] = {}
        told = time.monotonic()
        for change, outcome in runs.outcomes(chosen):
            found[change] = outcome
            if time.monotonic() > told + 15.0:
                told = time.monotonic()
                say(f"{path}: {len(found)} of {len(chosen)}, {survivors(found)} survived")
    return {change: found[change] for change in chosen}


def survivors(found: dict[Change, Outcome]) -> int:
    """Count what no test noticed."""
    return sum(outcome in {Outcome.SURVIVED, Outcome.NOT_RUN} for outcome in found.values())


def report(path: str, found: dict[Change, Outcome]) -> Iterable[str]:
    """Give the survivors, then a table of the files."""
    tallies: dict[str, Tally] = {}
    total = Tally()
    for change, outcome in found.items():
        tallies.setdefault(change.path, Tally()).add(outcome)
        total.add(outcome)
        if outcome in {Outcome.SURVIVED, Outcome.NOT_RUN}:
            yield f"{change.path}:{change.line}: {outcome.value}"
            yield change.shown((ROOT / change.path).read_bytes())
    yield ""
    yield f"{'file':<40}{'killed':>8}{'timed out':>10}{'survived':>10}{'noticed':>11}"
    yield from (tallies[name].row(name) for name in sorted(tallies))
    yield total.row(path)


def noticed(found: dict[Change, Outcome]) -> float:
    """Give the percentage of the changes that a test noticed."""
    return 100.0 * (1 - survivors(found) / max(1, len(found)))


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make mutate", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--room", action="append", metavar="PATH", help=f"{', '.join(ROOMS)}; or a folder or file")
    parser.add_argument("--sample", type=int, default=0, metavar="COUNT", help="draw so many changes of each room")
    parser.add_argument("--seed", type=int, default=1, help="what the draw begins with; 1 where it is not given")
    parser.add_argument("--bound", type=float, metavar="PERCENT", help="exit code 1 below it; else that of the room")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="changes tried at the same time")
    options = parser.parse_args(given)
    options.room = [name.strip("/") for name in options.room or [name for name, room in ROOMS.items() if room.bound]]
    for path in options.room:
        try:
            room_of(path)
        except argparse.ArgumentTypeError as wrong:
            parser.error(str(wrong))
        if not (ROOT / path).exists():
            parser.error(f"there is no {path}")
    return options


def main() -> int:
    """Try the changes of each room; 1 where one is below its bound."""
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # what was started is ended, too
    below = []
    for path in options.room:
        began = time.monotonic()
        try:
            found = examine(path, drawn(path, options.sample, options.seed), max(1, options.workers))
        except Broken as wrong:
            say(str(wrong))
            return 2
        for line in report(path, found):
            sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
        bound = ROOMS[room_of(path)].bound if options.bound is None else options.bound
        say(f"{path}: {noticed(found):.1f} % noticed, {time.monotonic() - began:.0f} s; the bound is {bound:g} %")
        if noticed(found) < bound:
            below.append(path)
    return 1 if below else 0


if __name__ == "__main__":
    sys.exit(main())
