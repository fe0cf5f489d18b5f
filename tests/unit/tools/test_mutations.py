"""What the mutation testing changes, what it leaves alone, and what it says about each change."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools import mutate
from tools.mutations import changes

ROOT = Path(__file__).parents[3]


def changed(source: str) -> set[str]:
    """Give the changed texts of a source."""
    return {change.applied(source.encode()).decode() for change in changes("one.py", source.encode())}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a < b", {"(a <= b)", "(a >= b)", "pass"}),
        ("a is not b", {"(a is b)", "pass"}),
        ("a in {'x'}", {"(a not in {'x'})", 'a in {""}', "pass"}),
        ("x = a + b", {"x = (a - b)"}),
        ("x = 3", {"x = 4", "x = 2"}),
        ("x = 0", {"x = 1", "x = (-1)"}),
        ("x = 2.0", {"x = 4.0", "x = 1.0"}),
        ("x = 8000", {"x = 16000", "x = 4000"}),
        ("x = True", {"x = False"}),
        ("x = not a", {"x = (a)"}),
        ("x = a and b", {"x = (a or b)"}),
        ("x = min(a, b)", {"x = max(a, b)"}),
        ("x = b'S'", {'x = b""'}),
        ("x = a if b else c", {"x = a if (not b) else c"}),
        ("x = [a for a in b if c]", {"x = [a for a in b if (not c)]"}),
        ("x += y", {"x -= y", "pass"}),
        ("x.y = z", {"pass"}),
        ("if a: b.c()", {"if (not a): b.c()", "if a: pass"}),
        ("raise Wrong('2', 3)", {"pass"}),
        ("def f(*, a=1): ...", {"def f(*, a=2): ...", "def f(*, a=0): ..."}),
        ("def f():\n    return a", {"def f():\n    return None"}),
        (
            "match a:\n    case 'S' if b: pass",
            {'match a:\n    case "" if b: pass', "match a:\n    case 'S' if (not b): pass"},
        ),
        ("match a:\n    case b.C: pass", {"match a:\n    case b.C if False: pass"}),
        ("x = 'é', 1  # behind two bytes", {"x = 'é', 2  # behind two bytes", "x = 'é', 0  # behind two bytes"}),
    ],
)
def test_changes_of(source: str, expected: set[str]) -> None:
    assert changed(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        '"""About 3 > 2."""',
        "log.info('%d', 3)",
        "__all__ = ['a']",
        "x: Literal[3]",
        "def f(a: Literal[3]) -> Literal[4]: ...",
        "if TYPE_CHECKING:\n    x = 3",
        "Q = TypeVar('Q', bound=3)",
        "x: TypeAlias = Literal[3]",
        "@dataclass(frozen=True)\nclass A: ...",
        "x = field(init=False)",
        "x = f'{a:.3f}'",
        "return_nothing = lambda: None",
    ],
)
def test_left_alone(source: str) -> None:
    assert not changed(source)


def test_change_is_shown_as_lines_of_a_diff() -> None:
    source = b"if a:\n    x = (b +\n         c)  # why\n"
    (change,) = (one for one in changes("one.py", source) if "-" in one.new)
    assert change.line == 2
    assert change.lines == range(2, 4)
    assert change.shown(source) == "-    x = (b +\n-         c)  # why\n+    x = ((b - c))  # why"


def test_a_seed_draws_the_same_changes() -> None:
    first = mutate.drawn("daq/station/health.py", 20, 1)
    assert len(first) == 20
    assert first == mutate.drawn("daq/station/health.py", 20, 1)
    assert first != mutate.drawn("daq/station/health.py", 20, 2)


def test_rooms_are_there_and_their_files_belong_to_one() -> None:
    for name, room in mutate.ROOMS.items():
        assert mutate.files(name)
        assert all((ROOT / folder).exists() for folder in room.tests)
    assert mutate.room_of("drivers/links/wire.py") == "drivers/links"
    assert not any("links" in name for name in mutate.files("drivers"))


SMALL = """
BORDER = 7

def larger(a, b):
    return a > b

def count(end):
    number = 0
    while number < end:
        number += 1
    return number

def never():
    return 1
"""
SMALL_TESTS = """
def test_larger():
    from small.sums import larger
    assert larger(2, 1)

def test_count():
    from small.sums import count
    assert count(3) == 3

def test_border():
    from small.sums import BORDER
    assert BORDER == 7

def test_fails_always():
    assert False
"""
TRIAL = """
import sys
from pathlib import Path
from tools import mutant_runs, mutations

mutant_runs.START = 2.0
runs = mutant_runs.Runs([Path(sys.argv[1])], ["checks"], "small")
print("left out:", *runs.learn().failing)
name = "small/sums.py"
for change, outcome in runs.outcomes(mutations.changes(name, Path(sys.argv[1], name).read_bytes())):
    print(change.line, change.new, outcome.name)
"""


def test_changes_are_tried_and_judged(tmp_path: Path) -> None:
    for folder, name, text in (("small", "sums.py", SMALL), ("checks", "test_sums.py", SMALL_TESTS)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").touch()
        (tmp_path / folder / name).write_text(text)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-c", TRIAL, str(tmp_path)]
    said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert "left out: checks/test_sums.py::test_fails_always" in said
    for line in (
        "2 8 KILLED",
        "5 (a >= b) SURVIVED",
        "5 (a <= b) KILLED",
        "5 None KILLED",
        "10 pass TIMED_OUT",
        "14 None NOT_RUN",
    ):
        assert line in said.splitlines()
    assert (tmp_path / "small" / "sums.py").read_text() == SMALL
