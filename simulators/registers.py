"""Numbers in 16-bit registers; written for this package alone, so that it shares no code with the drivers."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_REGISTERS = 125
"""In one question (Modbus application protocol V1.1b3, 6.3)."""


def single_high_first(value: float) -> tuple[int, int]:
    """Give a single as two registers, the high word first."""
    high, low = struct.unpack(">HH", struct.pack(">f", value))
    return high, low


def single_low_first(value: float) -> tuple[int, int]:
    """Give a single as two registers, the low word first."""
    high, low = single_high_first(value)
    return low, high


def digits_of(value: float) -> str | None:
    """Give the shortest digits of a single; None for infinity and not-a-number."""
    (held,) = struct.unpack(">f", struct.pack(">f", value))
    if held != held or held in {float("inf"), float("-inf")}:  # noqa: PLR0124  # not-a-number differs from itself
        return None
    return next(
        text
        for text in (f"{held:.{n}g}" for n in range(6, 18))
        if struct.pack(">f", float(text)) == struct.pack(">f", held)
    )


def states_of(values: Mapping[str, float]) -> dict[str, str]:
    """Give the state of each channel that has no value: infinite is over or under the range, not-a-number is none."""
    return {
        name: "none" if math.isnan(value) else "over" if value > 0 else "under"
        for name, value in values.items()
        if not math.isfinite(value)
    }
