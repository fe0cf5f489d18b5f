"""The view of the demo shows doubts where there are any, and no line of them where there are none."""

from __future__ import annotations

import io
import time

from rich.console import Console

from daq.demo.view import View

COUNTS = {"acquired": 9, "stored": 9, "spooled": 0, "quarantined": 0}


def drawn(view: View) -> str:
    written = io.StringIO()
    Console(file=written, width=150).print(view.table())
    return written.getvalue()


def test_doubts_are_shown_where_there_are_any() -> None:
    view = View("demo", ["broker"])
    value = {"text": "1.0", "unit": "g", "status": "good", "at_ns": time.time_ns()}
    view.newest["balance", "mass"] = value
    view.status = {**COUNTS, "doubts": 0, "instruments": {"balance": {"serial": "SIM1", "readings": 9, "doubts": 0}}}
    assert "doubt" not in drawn(view) + view.counts()
    view.status["doubts"] = 2
    view.status["instruments"]["balance"] |= {"doubts": 2, "last_doubt": "SIM0SWAPPED answers"}
    assert "balance: 2 doubts, the newest: SIM0SWAPPED answers" in drawn(view)
    assert view.counts() == "acquired 9 = stored 9 + spooled 0 + quarantined 0; doubts: 2"
