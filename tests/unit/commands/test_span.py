"""The span of time that a command is asked for."""

from __future__ import annotations

import pytest

from daq.commands.quarantine import _range
from daq.commands.span import ALL_TIME, span_of


@pytest.mark.parametrize("texts", [(None, "9999-01-01"), ("1000-01-01", None), ("0001-01-01", "9999-12-31")])
def test_no_instant_lies_outside_what_a_stamp_can_be(texts: tuple[str | None, str | None]) -> None:
    start, end = span_of(texts, ALL_TIME)
    assert ALL_TIME[0] <= start < end <= ALL_TIME[1]


@pytest.mark.parametrize("text", ["9" * 20, "1-" + "9" * 20, "9" * 5000, "\N{ARABIC-INDIC DIGIT ONE}", "2-1", ""])
def test_what_is_no_number_of_a_record_is_refused(text: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        _range(text)
    assert _range("4711-4720") == (4711, 4720)
