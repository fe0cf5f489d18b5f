"""Total functions from bytes to the parts of a Sample: each gives a value or raises Unreadable, nothing else."""

from __future__ import annotations

import math
import re
import struct
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, TypeAlias

from drivers.errors import Unreadable, WrongSetting
from drivers.sample import Sample, Status

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

Words: TypeAlias = Literal["high first", "low first"]
"""Which of two registers contains the high word of a single: not standardised; the manual of a device says it."""

_NUMBER = re.compile(r"[+-]?\d{1,20}(\.\d{0,20})?([Ee][+-]?\d{1,3})?", re.ASCII)
_PLAIN = re.compile(r"-?(?:0|[1-9]\d{0,19})(?:\.(\d{1,20}))?", re.ASCII)

NO_MEASUREMENT = Decimal("1E37")
"""No quantity is so large: the overload of SCPI is 9.9E37, and its rounded or scaled forms lie above this, too."""
NOT_A_NUMBER = (Decimal("9.91E37"), Decimal("3.40282347E38"))
"""What stands for "no value": 9.91E37 of SCPI-1999 (volume 1, 7.2.1.5), and FLT_MAX, the largest IEEE 754 single."""
SMALLEST_NORMAL = Decimal("1.17549435E-38")
"""The smallest normal single. What lies between it and zero comes from words or bytes in a wrong order."""
ROUNDING = Decimal("1E-6")
"""Relative; instruments write these numbers with six to nine digits."""


def line(raw: bytes, end: bytes = b"\r\n") -> str:
    """Give the text before `end`: one line, printable ASCII only."""
    if not raw.endswith(end):
        raise Unreadable(f"the answer is cut: it does not end with {end!r}", raw)
    text = raw[: len(raw) - len(end)]
    if not all(0x20 <= byte < 0x7F for byte in text):
        raise Unreadable("the answer holds bytes that are no text", raw)
    return text.decode("ascii")


def number(text: str) -> Decimal:
    """Read a text that is exactly one decimal number; the digits are kept as sent ("100.00" stays 100.00)."""
    if _NUMBER.fullmatch(text) is None:
        raise Unreadable(f"{text!r} is no number")
    value = Decimal(text)
    stored = float(value)  # databases keep doubles: 1E999 would become infinity there, 1E-999 a plain zero
    if not math.isfinite(stored) or (value and not stored):
        raise Unreadable(f"{text!r} is beyond what a double can hold")
    return value


def plain(text: str, decimals: int | None = None) -> Decimal:
    """Read a number without exponent, plus sign or zeros before it; `decimals`: the digits after its point, if fixed.

    A number that has lost a digit often begins with a zero or is too short, so both are refused.
    """
    match = _PLAIN.fullmatch(text)
    if match is None:
        raise Unreadable(f"{text!r} is no number in the form that the manual gives")
    if decimals is not None and (found := len(match[1] or "")) != decimals:
        raise Unreadable(f"{text!r} has {found} digits after the point where {decimals} are expected")
    return Decimal(text)


def sample(
    value: Decimal, unit: str | None, status: Status = Status.GOOD, no_value: Collection[Decimal] = ()
) -> Sample:
    """Give the sample of a number, or the status of one that stands for none.

    `no_value` are codes of the device's own. 9.91E37, the largest single and subnormal singles are INVALID;
    all else from 1E37 on is over or under the range.
    """
    size = abs(value)
    none = any(abs(size - one) <= one * ROUNDING for one in NOT_A_NUMBER)
    if value in no_value or none or 0 < size < SMALLEST_NORMAL:
        return Sample.missing(Status.INVALID)
    if size >= NO_MEASUREMENT:
        return Sample.missing(Status.OVERRANGE if value > 0 else Status.UNDERRANGE)
    return Sample(value, unit, status)


def unit(shown: str, known: Mapping[str, str]) -> str:
    """Translate the unit that an instrument shows to its UCUM code; WrongSetting where it is none of the known."""
    try:
        return known[shown]
    except KeyError:
        raise WrongSetting(f"the instrument shows the unit {shown!r}; known are {', '.join(known)}") from None


def single(raw: bytes, unit: str, *, words: Words, no_value: Collection[Decimal] = ()) -> Sample:
    """Read an IEEE 754 single from two registers: infinity is out of range, not-a-number no value; see `sample`.

    The digits are the shortest that give the same single again: 0x41F47AE1 is 30.56, not 30.559999465942383.
    """
    value = _single(raw, words)
    if math.isinf(value):
        return Sample.missing(Status.OVERRANGE if value > 0 else Status.UNDERRANGE)
    if math.isnan(value):
        return Sample.missing(Status.INVALID)
    return sample(_shortest(value, raw), unit, no_value=no_value)


def singles(
    raw: bytes, *, units: Sequence[str], words: Words, no_value: Collection[Decimal] = ()
) -> tuple[Sample, ...]:
    """Read one single for each unit from contiguous registers; see `single`."""
    length(raw, 4 * len(units))
    return tuple(
        single(raw[4 * place : 4 * place + 4], unit, words=words, no_value=no_value) for place, unit in enumerate(units)
    )


def nearest_single(number: float) -> Decimal:
    """Give a number in the digits that `single` gives for it; ValueError where no single holds it."""
    try:
        packed = struct.pack(">f", number)
    except OverflowError:
        raise ValueError(f"{number} is larger than any single") from None
    (nearest,) = struct.unpack(">f", packed)
    if number and not nearest:
        raise ValueError(f"{number} is smaller than any single: it would stand for 0")
    return _shortest(nearest, packed)


def _single(raw: bytes, words: Words) -> float:
    if len(raw) != 4:
        raise Unreadable(f"{len(raw)} bytes where a single has 4", raw)
    ordered = raw if words == "high first" else raw[2:] + raw[:2]
    value: float = struct.unpack(">f", ordered)[0]
    return value


def _shortest(value: float, raw: bytes) -> Decimal:
    packed = struct.pack(">f", value)
    for digits in range(6, 10):
        text = f"{value:.{digits}g}"
        if struct.pack(">f", float(text)) == packed:
            return Decimal(text)
    raise Unreadable("a single without nine digits cannot exist", raw)


def length(raw: bytes, expected: int) -> None:
    """Raise Unreadable where the answer does not have the length that follows from the question."""
    if len(raw) != expected:
        raise Unreadable(f"{len(raw)} bytes where {expected} were asked for", raw)
