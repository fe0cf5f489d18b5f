"""Runs the tests of a room on changed copies of the tree, each change in a process that is forked for it."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import shutil
import signal
import sys
import time
import traceback
import warnings
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tools.mutant_plugins import Chosen, Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tools.mutations import Change

NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "node_modules", "dist")
START = 10.0
"""Seconds that a process has beside those of its tests."""
TIMES = 4.0
"""How many times as long as without a change the tests may take, in processor time; in all, twice that."""
MEMORY = 4 << 30
"""Bytes of address space: a change may make a loop that fills the memory."""
LONGEST = 10.0
"""Seconds that a test may take to be one of the fast ones."""
FEW = "mutate"
"""Profile of hypothesis: the first failure is enough, so none is made smaller, and none is kept."""


class Broken(Exception):
    """The tests do not run even without a change; the text says what pytest said."""


class Outcome(Enum):
    """What became of one change."""

    KILLED = "a test failed"
    TIMED_OUT = "the tests did not end in time"
    SURVIVED = "no test failed"
    NOT_RUN = "no test runs this line"


@dataclass(frozen=True, slots=True)
class Learnt:
    """From the runs without a change: the seconds of each good test, the tests of each line, and what is left out.

    The tests of a line that runs while modules are imported are all of them: it stands in `imported`.
    """

    seconds: dict[str, float]
    lines: dict[str, dict[int, set[str]]]
    imported: dict[str, set[int]]
    failing: list[str]
    slow: list[str]

    def tests(self, change: Change) -> list[str]:
        """List the tests that run the changed statement, the fastest first."""
        if not self.imported.get(change.path, set()).isdisjoint(change.lines):
            found = set(self.seconds)
        else:
            of_file = self.lines.get(change.path, {})
            found = set().union(*(of_file.get(line, ()) for line in change.lines)) & self.seconds.keys()
        return sorted(found, key=lambda name: (self.seconds[name], name))


def copy_of_tree(root: Path, to: Path) -> Path:
    """Copy the tree as it is, with the times of its files, so that compiled modules stay valid."""
    shutil.copytree(root, to, ignore=NOT_COPIED, symlinks=True)
    return to


class Runs:
    """Runs tests in copies of the tree, as many at a time as there are copies."""

    def __init__(self, trees: Sequence[Path], tests: Sequence[str], watched: str) -> None:
        self._trees = list(trees)
        self._tests = [one for one in tests if (trees[0] / one).exists()]
        self._watched = watched
        self._learnt = Learnt({}, {}, {}, [], [])

    def learn(self) -> Learnt:
        """Run the tests of the room without a change, once timed and once traced."""
        timed = self._told(None, self._tests, compiled=True)
        for tree in self._trees[1:]:
            _copy_compiled(self._trees[0], tree)
        _preload(timed["modules"])
        slow = sorted(name for name, spent in timed["seconds"].items() if spent > LONGEST)
        without = [f"--deselect={name}" for name in slow]
        traced = self._told(str(self._trees[0] / self._watched), [*self._tests, *without])
        prefix = f"{self._trees[0]}/"
        lines: dict[str, dict[int, set[str]]] = {}
        for name, found in traced["lines"].items():
            lines[name.removeprefix(prefix)] = {int(line): set(tests) for line, tests in found.items()}
        if not lines:
            raise Broken(f"no test of {', '.join(self._tests)} runs a line of {self._watched}")
        imported = {name: {line for line, tests in found.items() if "" in tests} for name, found in lines.items()}
        failing = sorted({*timed["failing"], *traced["failing"]})
        seconds = {name: spent for name, spent in timed["seconds"].items() if name not in {*failing, *slow}}
        self._learnt = Learnt(seconds, lines, imported, failing, slow)
        return self._learnt

    def _told(self, folder: str | None, arguments: list[str], *, compiled: bool = False) -> dict[str, Any]:
        """Run tests in the first copy and read what the plugin has written about them."""
        tree = self._trees[0]
        told, output = tree / ".told.json", tree / ".output"
        before = set(sys.modules)

        def run() -> int:
            sys.dont_write_bytecode = not compiled
            watch = Watch(folder)
            watch.start()
            code = _pytest(tree, arguments, watch)
            sys.settrace(None)
            modules = [name for name in sys.modules if name not in before and _foreign(name, tree)]
            told.write_text(json.dumps({**watch.told(), "modules": modules, "code": code}))
            return code

        child = _fork(tree, run, output)
        try:
            os.waitpid(child, 0)
        finally:
            _end_group(child)
        found: dict[str, Any] = json.loads(told.read_text()) if told.exists() else {"code": -1}
        if found["code"] not in {0, 1}:
            raise Broken(f"the tests do not run:\n{output.read_text()[-3000:]}")
        return found

    def outcomes(self, chosen: Sequence[Change]) -> Iterator[tuple[Change, Outcome]]:
        """Try these changes; gives them in the order in which they end."""
        waiting, free = list(reversed(chosen)), list(self._trees)
        running: dict[int, _Running] = {}
        try:
            while waiting or running:
                while waiting and free:
                    change = waiting.pop()
                    if tests := self._learnt.tests(change):
                        one = self._begin(free.pop(), change, tests)
                        running[one.process] = one
                    else:
                        yield change, Outcome.NOT_RUN
                for one in [one for one in running.values() if one.ended()]:
                    one.restore()
                    free.append(one.tree)
                    del running[one.process]
                    yield one.change, one.outcome
                time.sleep(0.01)
        finally:
            for one in running.values():
                one.kill()

    def _begin(self, tree: Path, change: Change, tests: list[str]) -> _Running:
        path = tree / change.path
        source, times = path.read_bytes(), (path.stat().st_atime_ns, path.stat().st_mtime_ns)
        path.write_bytes(change.applied(source))
        os.utime(path, ns=(times[0], times[1] + 2_000_000_000))  # else a source of this second passes for compiled
        spent = START + TIMES * sum(self._learnt.seconds[name] for name in tests)
        known = {*self._learnt.seconds, *self._learnt.failing, *self._learnt.slow}
        needed = sorted({name.partition("::")[0] for name in tests})

        def run() -> int:
            sys.dont_write_bytecode = True
            resource.setrlimit(resource.RLIMIT_CPU, (round(spent), round(spent) + 1))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            return _pytest(tree, ["-x", "--no-header", "--tb=no", *needed], Chosen(tests, known))

        process = _fork(tree, run, Path(os.devnull))
        return _Running(process, tree, change, source, times, time.monotonic() + 2 * spent)


@dataclass(slots=True)
class _Running:
    """One change that is tried in a process of its own."""

    process: int
    tree: Path
    change: Change
    source: bytes
    times: tuple[int, int]
    until: float
    outcome: Outcome = Outcome.KILLED

    def ended(self) -> bool:
        process, status = os.waitpid(self.process, os.WNOHANG)
        if process:
            # 0: all passed; 5: pytest found none of the tests. What a signal has ended used too much processor time.
            code = os.waitstatus_to_exitcode(status)
            self.outcome = Outcome.SURVIVED if code in {0, 5} else Outcome.TIMED_OUT if code < 0 else Outcome.KILLED
            _end_group(self.process)
            return True
        if time.monotonic() > self.until:
            self.kill()
            self.outcome = Outcome.TIMED_OUT
            return True
        return False

    def kill(self) -> None:
        _end_group(self.process)
        os.waitpid(self.process, 0)

    def restore(self) -> None:
        path = self.tree / self.change.path
        path.write_bytes(self.source)
        os.utime(path, ns=self.times)


def _end_group(process: int) -> None:
    """End what a run has started, and the run itself."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)


def _fork(tree: Path, run: Callable[[], int], output: Path) -> int:
    """Fork a process that runs in its copy of the tree and in a group of its own; give its number."""
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process == 0:
        _in_child(tree, run, output)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.setpgid(process, process)  # here too: whichever of the two is first
    return process


def _in_child(tree: Path, run: Callable[[], int], output: Path) -> NoReturn:
    code = 70
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(file, number)
        os.chdir(tree)
        for name in [
            name for name in sys.modules if name.partition(".")[0] in {"daq", "drivers", "simulators", "tests"}
        ]:
            del sys.modules[name]
        sys.path.insert(0, str(tree))
        code = run()
    except BaseException:
        os.write(2, traceback.format_exc().encode())
        raise
    finally:
        os._exit(code)


def _pytest(tree: Path, arguments: list[str], plugin: object) -> int:
    import hypothesis
    import pytest

    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile(FEW, derandomize=True, deadline=None, database=None, phases=phases)
    os.environ["HYPOTHESIS_PROFILE"] = FEW
    fixed = ["--assert=plain", f"--rootdir={tree}", f"--basetemp={tree / '.basetemp'}"]
    return int(pytest.main([*fixed, *arguments], plugins=[plugin]))


def _foreign(name: str, tree: Path) -> bool:
    """Say whether it is a module of a library."""
    file = getattr(sys.modules[name], "__file__", None)
    return file is not None and not file.startswith(f"{tree}/") and not name.startswith(("__", "tests."))


def _preload(modules: Sequence[str]) -> None:
    """Import the libraries once, for all processes that are forked later; without one of them it only takes longer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in modules:
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def _copy_compiled(root: Path, to: Path) -> None:
    """Copy the compiled modules and the rewritten tests; they are valid there too, as the times are the same."""
    for cache in root.rglob("__pycache__"):
        shutil.copytree(cache, to / cache.relative_to(root), dirs_exist_ok=True)
