"""What a person sees of a status: who is proven how far, how many polls were missed, and what is in doubt."""

from __future__ import annotations

import io
import re
import time
from typing import Any

import pytest
from rich.console import Console

from daq.commands import status
from daq.commands.metrics import openmetrics
from daq.commands.status import doubts_in_words, serial_in_words

BIG = 1_234_567_890


def instrument(**more: Any) -> dict[str, Any]:
    return {
        "state": "reading",
        "serial": "SIM001",
        "expected_serial": "SIM001",
        "identified": True,
        "proven": "proven every 5 s",
        "prove_every_s": 5.0,
        "readings": BIG,
        "errors": 0,
        "missed": BIG + 1,
        "restarts": 0,
        "doubts": 0,
        "last_doubt": "",
        "last_at_ns": time.time_ns(),
        "last_error": "",
    } | more


def document(**instruments: Any) -> dict[str, Any]:
    return {
        "station": "lab", "state": "online", "host": "pc", "version": "1", "uptime_s": 1.0,
        "acquired": 5, "stored": 5, "spooled": 0, "quarantined": 0, "dropped": 0, "missed": 77, "doubts": 3,
        "clock": {"synchronised": None}, "backfill": None,
        "spool": dict.fromkeys(("used_bytes", "waiting_bytes", "limit_bytes", "capacity_bytes", "records_per_s"), 0)
        | {"full_in_s": None, "trouble": "", "full": False},
        "instruments": instruments,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (instrument(), "SIM001, proven every 5 s"),
        (instrument(proven="proven at connection only"), "SIM001, proven at connection only"),
        (instrument(serial=None, expected_serial=None, proven="not identified"), "not identified"),
        (instrument(expected_serial=None, proven="not identified"), "SIM001, not identified"),
        (instrument(serial="SIM0SWAPPED"), "SIM0SWAPPED, not SIM001"),
        ({"serial": "B1"}, "B1"),
    ],
)
def test_serial_number_and_how_far_it_is_proven(one: dict[str, Any], words: str) -> None:
    assert serial_in_words(one) == words


def test_doubts_are_told_with_the_newest_and_only_where_there_are_any() -> None:
    said = doubts_in_words({"a": instrument(), "b": instrument(doubts=2, last_doubt="B2 answers"), "c": {}})
    assert said == ["b: 2 doubts, the newest: B2 answers"]
    assert doubts_in_words({"b": instrument(doubts=1, last_doubt="x")}) == ["b: 1 doubt, the newest: x"]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_nothing_is_cut_however_narrow_the_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    written = io.StringIO()
    monkeypatch.setattr(status, "Console", lambda: Console(file=written, width=width))
    text = "not proven when the next proof failed: serial number 'B2' answers where 'SIM001' is expected"
    shown = document(balance=instrument(doubts=BIG + 2, last_doubt=text, last_error="no answer within 2 s " * 9))
    status._show(shown, 0.0, offline=False)
    said = written.getvalue()
    assert "…" not in said
    assert f"balance: {BIG + 2} doubts, the newest: {text}" in said
    assert "no answer within 2 s " * 9 in said
    assert "missed 77 polls, recorded 3 doubts, since the start" in " ".join(said.split())
    (row,) = re.findall(r"^ *balance .*$", said, re.MULTILINE)
    for number in (BIG, BIG + 1, BIG + 2):
        assert str(number) in row


def test_status_of_a_station_before_doubts_is_still_shown() -> None:
    old = document(balance={key: one for key, one in instrument().items() if key in OLD})
    del old["missed"], old["doubts"]
    status._show(old, 0.0, offline=False)
    assert "daq_instrument_readings" in openmetrics(old, online=True)


OLD = {"state", "serial", "readings", "errors", "missed", "restarts", "last_at_ns", "last_error"}


def test_metrics_count_doubts_and_polls_and_say_who_is_proven() -> None:
    shown = document(a=instrument(doubts=2), b=instrument(serial=None, identified=False, prove_every_s=None))
    said = openmetrics(shown, online=True).splitlines()
    for line in (
        'daq_missed_polls{station="lab"} 77',
        'daq_doubts{station="lab"} 3',
        'daq_instrument_doubts{station="lab",instrument="a"} 2',
        'daq_instrument_identified{station="lab",instrument="a"} 1',
        'daq_instrument_identified{station="lab",instrument="b"} 0',
        'daq_instrument_prove_every_s{station="lab",instrument="a"} 5.0',
        f'daq_instrument_missed{{station="lab",instrument="a"}} {BIG + 1}',
    ):
        assert line in said
    assert not [one for one in said if one.startswith("daq_instrument_prove_every_s{") and '"b"' in one]
