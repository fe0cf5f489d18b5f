"""A span of time as a person writes it: `--from 2026-11-24T08:00 --to 2026-11-25`, UTC where no zone is named."""

from __future__ import annotations

from datetime import UTC, datetime

from daq.commands.failing import fail

ALL_TIME = (-(2**63), 2**63 - 1)
"""Every stamp that a record can have (UTC ns), except the very last."""


def span_of(texts: tuple[str | None, str | None], all_time: tuple[int, int]) -> tuple[int, int]:
    """Give start and end in UTC nanoseconds, `all_time` where one is left out; exit 2 where it is not a span."""
    chosen = (default if text is None else _instant(text) for text, default in zip(texts, all_time, strict=True))
    start, end = (max(ALL_TIME[0], min(one, ALL_TIME[1])) for one in chosen)  # no record lies outside
    if start >= end:
        fail(f"--from {texts[0]} is not before --to {texts[1]}", 2)
    return start, end


def _instant(text: str) -> int:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        fail(f"{text!r} is no time; write it as in 2026-11-24T08:00 (UTC)", 2)
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    return round(instant.timestamp() * 1e9)
