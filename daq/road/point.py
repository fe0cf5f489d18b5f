"""A line of the road parsed: its series, its fields with their types and digits, its stamp, its number.

`line_protocol` writes lines; all that read them do it by this module: the archive, `verify`, `export`, the spool.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

_LINE = re.compile(r"((?:\\.|[^\\ ])+) (.+) (-?\d{1,19})", re.ASCII)
_FIELD = re.compile(
    r'([A-Za-z_]+)=(?:"((?:[^"\\]|\\.)*)"|(true|false)|(-?\d+)i|(-?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?))(?:,|$)',
    re.ASCII,
)
_SEQ = re.compile(rb'[ ,]seq=(\d+)i,epoch="')
_NUMBER = re.compile(rb'([ ,])seq=\d+i,epoch="[0-9a-f]*"')

Value: TypeAlias = str | bool | int | float


class NoLine(ValueError):
    """The bytes are no line of this road; the message shows them."""


@dataclass(frozen=True, slots=True)
class Point:
    """One point with its stamp in UTC nanoseconds; `text_of` gives the digits of a number as sent."""

    measurement: str
    tags: dict[str, str]
    fields: dict[str, Value]
    text_of: dict[str, str]
    time: int


def split(line: bytes) -> tuple[str, str, int]:
    """Split a line into series (measurement and tags), fields and stamp, each checked; NoLine where it is none."""
    try:
        match = _LINE.fullmatch(line.decode())
    except UnicodeDecodeError as error:
        raise NoLine(f"a line that is no UTF-8: {error}") from error
    if match is None:
        raise NoLine(f"no line protocol: {line[:80]!r}")
    series, fields, stamp = match.groups()
    if sum(len(found[0]) for found in _FIELD.finditer(fields)) != len(fields) or not -(2**63) <= int(stamp) < 2**63:
        raise NoLine(f"no fields or stamp of line protocol: {line[:80]!r}")
    return series, fields, int(stamp)


def joined(series: str, fields: str, stamp: int) -> Point:
    """Make a point from the result of `split`."""
    measurement, tags = _tags(series)
    values: dict[str, Value] = {}
    digits: dict[str, str] = {}
    for name, string, truth, whole, number in _FIELD.findall(fields):
        if truth:
            values[name] = truth == "true"
        elif whole:
            values[name] = int(whole)
        elif number:
            values[name] = float(number)
            digits[name] = number
        else:
            values[name] = re.sub(r"\\([\"\\])", r"\1", string)
    return Point(measurement, tags, values, digits, stamp)


def parse(line: bytes) -> Point:
    """Read one line; NoLine where it is none of this road."""
    return joined(*split(line))


def seq_of(line: bytes) -> int:
    """Find the sequence number of a line that `encode` wrote; NoLine for any other line."""
    found = _SEQ.findall(line)
    if not found:
        raise NoLine("a line without a sequence number")
    return int(found[-1])


def renumbered(line: bytes, seq: int, epoch: str) -> bytes:
    """Give a line another number and epoch."""
    return _NUMBER.sub(rb'\1seq=%di,epoch="%s"' % (seq, epoch.encode()), line, count=1)


@cache
def _tags(series: str) -> tuple[str, dict[str, str]]:
    measurement, *pairs = re.split(r"(?<!\\),", series)
    parts = (re.split(r"(?<!\\)=", pair, maxsplit=1) for pair in pairs)
    return measurement, {name: re.sub(r"\\(.)", r"\1", value) for name, value in parts}
