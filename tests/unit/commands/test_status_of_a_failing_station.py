"""A station that runs and cannot make its status is not called offline."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from daq.commands import status

if TYPE_CHECKING:
    from typing import Any


@pytest.mark.parametrize(
    ("said", "offline", "words"),
    [
        ({"station": "lab", "state": "offline"}, True, "station lab is offline"),
        ({"station": "lab", "state": "failing"}, False, "station lab runs, and cannot say in which state"),
    ],
)
def test_what_is_shown(monkeypatch: pytest.MonkeyPatch, said: dict[str, Any], offline: bool, words: str) -> None:
    out = io.StringIO()
    monkeypatch.setattr(status, "Console", lambda: Console(file=out, width=200))
    part = {"state": "failing", "failures": 3, "last_error": "KeyError: 'x'"}
    status._show(said | {"parts": {"status": part}}, 1.0, offline=offline)
    assert words in out.getvalue()
    assert "status: failing, failed 3 times; the last error: KeyError: 'x'" in out.getvalue()
