"""What a line of the road must be; any other line is rejected with a reason before the database gets it.

A database takes the type of a field from the first line that has it. After one wrong line into an empty database it
would refuse every good line, so the schema is checked here and not there.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from daq.road.line_protocol import tag

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daq.road.batch import Batch

LIMIT_BYTES = 2**18
"""Bytes of a line at most: VictoriaMetrics takes no longer one."""
LIMIT_KEY = 65_000
"""Bytes of measurement and tags at most: InfluxDB takes 65,535 together with the name of a field."""
EARLIEST, LATEST = -(2**63) + 2, 2**63 - 2
"""The stamps that InfluxDB takes."""

_TAG = rb"(?:[^,= \\\r\n]++|\\[,= ])++"
_STRING = rb'"[^"\\\r\n]*+(?:\\["\\][^"\\\r\n]*+)*+"'
_FLOAT = rb"-?\d{1,200}(?:\.\d{1,200})?(?:[eE][+-]?\d{1,2})?"
_WHOLE = rb"(?:0|-?[1-9]\d{0,17}|[1-8]\d{18})"
_READING = re.compile(
    rb"reading,station=(%(tag)b),instrument=%(tag)b,channel=%(tag)b,quantity=%(tag)b,unit=%(tag)b "
    rb"(?:value=%(float)b,raw=%(float)b,)?text=%(string)b,status=%(whole)bi,seq=(%(whole)b)i,"
    rb'epoch="([^"]*)",rtt_ms=%(float)b(?:,serial=%(string)b)?(?:,identified=false)?(?:,simulated=true)?'
    rb"(?:,clock=%(string)b)?(?:,clock_at=%(whole)bi)? %(whole)b"
    % {b"tag": _TAG, b"float": _FLOAT, b"string": _STRING, b"whole": _WHOLE}
)
"""A reading as `encode` writes it, with numbers that are surely in range: nearly every line of the road."""

_KEY = re.compile(rb"([^,= \\\r\n]*)((?:,[a-z_]++=%b)*+) " % _TAG)
_PAIR = re.compile(rb",([a-z_]++)=(%b)" % _TAG)
_FIELD = re.compile(rb'([^,= "]*+)=(%b(?=[, ]|\Z)|[^, "]*+)' % _STRING)

FLOAT, INTEGER = "a finite float such as 1.5", "a 64-bit integer such as 3i"
STRING, BOOLEAN = 'a text in "quotes"', "true or false"
_FORM = {
    FLOAT: re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"),
    INTEGER: re.compile(rb"(?:0|-?[1-9]\d{0,18})i"),
    STRING: re.compile(_STRING),
    BOOLEAN: re.compile(rb"true|false"),
}
_IDENTITY = {"seq": INTEGER, "epoch": STRING}


@dataclass(frozen=True, slots=True)
class Measurement:
    """The form of a measurement: the orders of tags that are allowed, and its fields with their types.

    `more` are the types of fields that are not named here: none where the set is closed.
    """

    tags: tuple[str, ...]
    fields: Mapping[str, str]
    needed: frozenset[str] = frozenset(_IDENTITY)
    more: frozenset[str] = frozenset()


SCHEMA = {
    "reading": Measurement(
        ("station,instrument,channel,quantity,unit",),
        dict.fromkeys(("value", "raw", "rtt_ms"), FLOAT)
        | dict.fromkeys(("text", "clock", "serial"), STRING)
        | dict.fromkeys(("status", "clock_at"), INTEGER)
        | dict.fromkeys(("identified", "simulated"), BOOLEAN)
        | _IDENTITY,
        frozenset({"text", "status", "rtt_ms", *_IDENTITY}),
    ),
    "event": Measurement(
        ("station,kind", "station,instrument,kind"),
        {"text": STRING, "raw_text": STRING, "until": INTEGER, "missed": INTEGER} | _IDENTITY,
        frozenset({"text", *_IDENTITY}),
    ),
    "doubt": Measurement(
        ("station,instrument,channel",),
        {"kind": STRING, "text": STRING, "until": INTEGER} | _IDENTITY,
        frozenset({"kind", "text", "until", *_IDENTITY}),
    ),
    # A number that is not named here may be float or integer; the database keeps the type of the first.
    "station": Measurement(
        ("station",),
        dict.fromkeys(("acquired", "stored", "spooled", "quarantined", "dropped", "spool_bytes", "doubts"), INTEGER)
        | dict.fromkeys(("waiting_bytes", "resent_batches", "errors", "missed", "restarts", "head_seq"), INTEGER)
        | {"clock_synchronised": INTEGER, "uptime_s": FLOAT, "full_in_s": FLOAT, "head": STRING}
        | _IDENTITY,
        more=frozenset({FLOAT, INTEGER}),
    ),
}


class _Invalid(Exception):
    """The line is not a line of the road; the message says why."""


def invalid_lines(batch: Batch) -> dict[int, str]:
    """Give the places of the lines that may not be stored, each with what is wrong and what would be right."""
    station = tag(batch.station).encode()
    invalid = {}
    for place, line in enumerate(batch.lines):
        if reason := fault(line, station, batch.first + place, batch.epoch.encode()):
            invalid[place] = reason
    return invalid


def fault(line: bytes, station: bytes, seq: int, epoch: bytes) -> str:
    """Give in less than 200 printable characters why this is not record `seq` of the station; empty where it is."""
    match = _READING.fullmatch(line)
    if (
        match is not None
        and match.group(1, 2, 3) == (station, b"%d" % seq, epoch)
        and (line.isascii() or _is_utf8(line))
        and len(line) <= LIMIT_KEY
    ):
        return ""
    try:
        _parse(line, station, seq, epoch)
    except _Invalid as invalid:
        return str(invalid)[:199]
    return ""


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _parse(line: bytes, station: bytes, seq: int, epoch: bytes) -> None:
    """Parse the line and check each part against the schema; slow, but names what is wrong."""
    if len(line) > LIMIT_BYTES:
        raise _Invalid(f"a line of {len(line)} bytes: at most {LIMIT_BYTES} are allowed")
    try:
        line.decode()
    except UnicodeDecodeError as error:
        raise _Invalid(f"no UTF-8: {_shown(line[error.start : error.end])} at byte {error.start}") from error
    measurement, end = _check_key(line, station)
    fields, end = _fields(line, end)
    _check_fields(fields, measurement)
    if fields["seq"] != b"%di" % seq:
        raise _Invalid(f"record {fields['seq'][:-1].decode()} in the place of record {seq}")
    if fields["epoch"] != b'"%b"' % epoch:
        raise _Invalid(f"epoch {_shown(fields['epoch'])} in a batch of epoch {_shown(epoch)}")
    _check_stamp(line[end:])


def _check_key(line: bytes, station: bytes) -> tuple[str, int]:
    """Check measurement and tags; gives the measurement, and the position of the fields."""
    name = re.split(rb"[, ]", line, maxsplit=1)[0]
    known = SCHEMA.get(name.decode())
    if known is None:
        raise _Invalid(f"measurement {_shown(name)}: it must be one of {', '.join(SCHEMA)}")
    right = " or ".join(known.tags)
    match = _KEY.match(line)
    if match is None:
        raise _Invalid(f"no tags and fields in {_shown(line[len(name) :])}: the tags {right} are needed, then a blank")
    if match.end() > LIMIT_KEY:
        raise _Invalid(f"tags of {match.end()} bytes: at most {LIMIT_KEY} are allowed")
    pairs = _PAIR.findall(match[2])
    names = [one for one, _ in pairs]
    if len(set(names)) < len(names):
        raise _Invalid(f"tag {_shown(Counter(names).most_common(1)[0][0])} twice: the tags must be {right}")
    if b",".join(names).decode() not in known.tags:
        raise _Invalid(f"the tags are {_shown(b','.join(names))}: they must be {right}")
    if pairs[0][1] != station:
        raise _Invalid(f"station {_shown(pairs[0][1])} in a batch of station {_shown(station)}")
    return name.decode(), match.end()


def _fields(line: bytes, at: int) -> tuple[dict[str, bytes], int]:
    """Split the fields; gives them, and the position after them."""
    fields: dict[str, bytes] = {}
    while True:
        match = _FIELD.match(line, at)
        if match is None:
            raise _Invalid(f'{_shown(line[at:])} is no field: name=value is needed, a text as name="text"')
        name, at = match[1].decode(), match.end()
        if line[at : at + 1] not in {b",", b" ", b""}:
            needed = f'{STRING} is needed, with \\" and \\\\ in it'
            raise _Invalid(f"field {_shown(match[1])} is {_shown(line[match.start(2) :])}: {needed}")
        if name in fields:
            raise _Invalid(f"field {_shown(match[1])} twice: once is needed")
        fields[name] = match[2]
        if line[at : at + 1] != b",":
            return fields, at
        at += 1


def _check_fields(fields: dict[str, bytes], measurement: str) -> None:
    known = SCHEMA[measurement]
    for name, value in fields.items():
        right = known.fields.get(name)
        if right is not None:
            allowed = {right}
        elif known.more and re.fullmatch(r"[a-z][a-z_]*", name) and name not in {"time", "station", "instrument"}:
            allowed = set(known.more)
        else:
            names = "a lower-case word" if known.more else f"one of {','.join(known.fields)}"
            raise _Invalid(f"field {_shown(name.encode())} is unknown: {measurement} has {names}")
        if not any(_fits(value, one) for one in allowed):
            raise _Invalid(f"field {name[:40]} is {_shown(value)}: it must be {' or '.join(sorted(allowed))}")
    if missing := known.needed - fields.keys():
        raise _Invalid(f"field {min(missing)} is missing: it must be {known.fields[min(missing)]}")


def _fits(value: bytes, form: str) -> bool:
    if _FORM[form].fullmatch(value) is None:
        return False
    if form == FLOAT:
        return math.isfinite(float(value))
    return form != INTEGER or -(2**63) <= int(value[:-1]) < 2**63


def _check_stamp(rest: bytes) -> None:
    match = re.fullmatch(rb" (0|-?[1-9]\d{0,18})", rest)
    if match is None or not EARLIEST <= int(match[1]) <= LATEST:
        raise _Invalid(
            f"stamp {_shown(rest)}: a blank and nanoseconds since 1970 in 64 bits are needed, and nothing after them"
        )


def _shown(piece: bytes) -> str:
    """Show a piece of a line, escaped and shortened so that it is safe in a log and on a terminal."""
    shown = repr(piece[:41])[1:]
    return shown if len(shown) <= 42 and len(piece) <= 40 else f"{shown[:40]}...'"
