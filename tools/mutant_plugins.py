"""What `tools/mutate.py` adds to pytest: which test runs which lines, and a choice of tests in an order."""

from __future__ import annotations

import inspect
import sys
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    import pytest


@dataclass(slots=True)
class Watch:
    """A plugin of pytest that learns which test runs which lines below `folder`, or only the time of each test."""

    folder: str | None
    seconds: dict[str, float] = field(default_factory=dict)
    lines: dict[str, dict[int, set[str]]] = field(default_factory=dict)
    failing: list[str] = field(default_factory=list)
    _test: str = ""  # while modules are imported, none
    _seen: set[tuple[str, int]] = field(default_factory=set)  # in this test

    def start(self) -> None:
        """Begin to trace, where lines are wanted."""
        if self.folder is not None:
            threading.settrace(self._enter)
            sys.settrace(self._enter)

    def _enter(self, frame: FrameType, _event: str, _value: object) -> Callable[..., Any] | None:
        return self._step if frame.f_code.co_filename.startswith(self.folder or "/") else None

    def _step(self, frame: FrameType, event: str, _value: object) -> Callable[..., Any]:
        place = (frame.f_code.co_filename, frame.f_lineno)
        if event == "line" and place not in self._seen:
            self._seen.add(place)
            # The body of a module or a class runs once, in whichever test comes first; what it sets is for all of them.
            test = self._test if frame.f_code.co_flags & inspect.CO_OPTIMIZED else ""
            self.lines.setdefault(place[0], {}).setdefault(place[1], set()).add(test)
        return self._step

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Note which test begins."""
        self._test = nodeid
        self._seen.clear()
        self.seconds[nodeid] = 0.0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the time and the end of a part of a test."""
        self.seconds[report.nodeid] += report.duration
        if report.failed:
            self.failing.append(report.nodeid)

    def told(self) -> dict[str, Any]:
        """Give what was learnt, as JSON can hold it."""
        lines = {name: {line: sorted(tests) for line, tests in found.items()} for name, found in self.lines.items()}
        return {"seconds": self.seconds, "lines": lines, "failing": self.failing}


@dataclass(slots=True)
class Chosen:
    """A plugin of pytest that runs these tests in their order, then those that only the changed code has."""

    tests: list[str]
    known: set[str]

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave these tests and put them in order."""
        place = {name: number for number, name in enumerate(self.tests)}
        items[:] = [one for one in items if one.nodeid in place or one.nodeid not in self.known]
        items.sort(key=lambda one: place.get(one.nodeid, len(place)))
