"""Every line that a station writes passes, every kind of poison is refused with words that say what would be right."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from daq.archive import parse
from daq.batch import Batch
from daq.line_check import BOOLEAN, FLOAT, INTEGER, SCHEMA, STRING, fault, strange_lines
from daq.line_protocol import encode, tag
from daq.reading import Event, EventKind, Health, Reading, Record, Series
from drivers.sample import Status
from tests.unit.test_spool import reading

EPOCH = "e" * 32
LAST = rb" (?=\d+$)"
"""The place behind the last field."""
INT64 = st.integers(-(2**63), 2**63 - 1)


@dataclass(frozen=True)
class Poison:
    """A change to a good line of a kind ("reading", "event", "station"): what `old` matches becomes `new`."""

    old: bytes
    new: bytes
    words: str
    kind: str = "reading"

    def line(self, seq: int, epoch: str = EPOCH) -> bytes:
        """Give the bad line that stands where record `seq` should."""
        line, changes = re.subn(self.old, lambda _: self.new, good(self.kind, seq, epoch), count=1, flags=re.DOTALL)
        assert changes == 1, f"{self} changes nothing"
        return line


POISON = {
    "value is a text": Poison(rb"value=\d+", b'value="abc"', "value is '\"abc\"': it must be a finite float"),
    "value is an integer": Poison(rb"value=\d+", b"value=1i", "value is '1i': it must be a finite float"),
    "value is a boolean": Poison(rb"value=\d+", b"value=true", "value is 'true': it must be a finite float"),
    "value is NaN": Poison(rb"value=\d+", b"value=NaN", "value is 'NaN': it must be a finite float"),
    "value is infinite": Poison(rb"value=\d+", b"value=-Inf", "value is '-Inf': it must be a finite float"),
    "value is too large": Poison(rb"value=\d+", b"value=1E+999", "value is '1E+999': it must be a finite float"),
    "value is hexadecimal": Poison(rb"value=\d+", b"value=0x1F", "value is '0x1F': it must be a finite float"),
    "value is empty": Poison(rb"value=\d+", b"value=", "value is '': it must be a finite float"),
    "value has its unit": Poison(rb"value=\d+", b"value=1.5g", "value is '1.5g': it must be a finite float"),
    "value has a decimal comma": Poison(rb"value=\d+", b"value=1,5", "is no field: name=value is needed"),
    "value is a bare word": Poison(rb"value=\d+", b"value=abc", "value is 'abc': it must be a finite float"),
    "raw is a text": Poison(rb"raw=\d+", b'raw="5.00"', "raw is '\"5.00\"': it must be a finite float"),
    "rtt_ms is an integer": Poison(rb"rtt_ms=[\d.]+", b"rtt_ms=12i", "rtt_ms is '12i': it must be a finite float"),
    "text is a number": Poison(rb'text="[^"]*"', b"text=1.5", "text is '1.5': it must be a text"),
    "text without quotes": Poison(rb'text="[^"]*"', b"text=good", "text is 'good': it must be a text"),
    "quote is not closed": Poison(rb'00 g"', b"00 g", 'a text in "quotes" is needed'),
    "quote in a text": Poison(rb"S S", b'S"S', 'a text in "quotes" is needed'),
    "backslash in a text": Poison(rb"S S", b"S\\S", 'a text in "quotes" is needed'),
    "backslash ends a text": Poison(rb'00 g"', b'00 g\\"', 'a text in "quotes" is needed'),
    "status is a float": Poison(rb"status=0i", b"status=0", "status is '0': it must be a 64-bit integer such as 3i"),
    "status is a text": Poison(rb"status=0i", b'status="good"', "status is '\"good\"': it must be a 64-bit integer"),
    "status is unsigned": Poison(rb"status=0i", b"status=0u", "status is '0u': it must be a 64-bit integer"),
    "status is too large": Poison(rb"status=0i", b"status=9223372036854775808i", "it must be a 64-bit integer"),
    "seq is a float": Poison(rb"i,epoch", b".0,epoch", "it must be a 64-bit integer such as 3i"),
    "seq is too large": Poison(rb"seq=\d+i", b"seq=99999999999999999999i", "it must be a 64-bit integer"),
    "seq is missing": Poison(rb"seq=\d+i,", b"", "field seq is missing"),
    "seq is another": Poison(rb"seq=\d+i", b"seq=7i", "record 7 in the place of record"),
    "seq twice": Poison(rb"seq=", b"seq=1i,seq=", "field 'seq' twice: once is needed"),
    "epoch is another": Poison(rb'epoch="[^"]*"', b'epoch="%b"' % (b"d" * 32), "in a batch of epoch"),
    "epoch is a number": Poison(rb'epoch="[^"]*"', b"epoch=5f0c", "it must be a text"),
    "epoch is missing": Poison(rb'epoch="[^"]*",', b"", "field epoch is missing"),
    "identified is a text": Poison(LAST, b',identified="false" ', "identified is '\"false\"': it must be true or"),
    "simulated is an integer": Poison(LAST, b",simulated=1i ", "simulated is '1i': it must be true or false"),
    "clock is a boolean": Poison(LAST, b",clock=true ", "clock is 'true': it must be a text"),
    "clock_at is a float": Poison(LAST, b",clock_at=1.5 ", "clock_at is '1.5': it must be a 64-bit integer"),
    "unknown field": Poison(rb"rtt", b'operator="me",rtt', "field 'operator' is unknown: reading has one of value,raw"),
    "field without a value": Poison(rb",rtt", b",,rtt", "is no field: name=value is needed"),
    "no fields": Poison(rb"value=.*\d ", b"", "is no field: name=value is needed"),
    "two blanks": Poison(rb" value", b"  value", "is no field: name=value is needed"),
    "no stamp": Poison(rb" \d+$", b"", "stamp '': a blank and nanoseconds"),
    "stamp is a float": Poison(rb"\d+$", b"1.7e18", "stamp ' 1.7e18': a blank and nanoseconds"),
    "stamp is a date": Poison(rb"\d+$", b"2026-01-01T00:00:00Z", "stamp ' 2026-01-01T00:00:00Z': a blank and"),
    "stamp is too large": Poison(rb"\d+$", b"9223372036854775807", "nanoseconds since 1970 in 64 bits are needed"),
    "stamp is too small": Poison(rb"\d+$", b"-9223372036854775808", "nanoseconds since 1970 in 64 bits are needed"),
    "carriage return": Poison(rb"$", b"\r", "stamp "),
    "two lines in one": Poison(rb"$", b"\rreading value=1i 1", "stamp "),
    "text is no UTF-8": Poison(rb"S S", b"S \xb5", "no UTF-8: '\\xb5' at byte"),
    "tag is no UTF-8": Poison(rb"=balance", b"=bal\xe9", "no UTF-8: '\\xe9' at byte"),
    "foreign station": Poison(rb"=lab", b"=lab-2", "station 'lab-2' in a batch of station 'lab'"),
    "foreign measurement": Poison(rb"reading", b"cpu", "measurement 'cpu': it must be one of reading, event, station"),
    "no station": Poison(rb",station=lab", b"", "they must be station,instrument,channel,quantity,unit"),
    "no tags": Poison(rb",station=\S*", b"", "the tags are '': they must be station,instrument,channel"),
    "tag twice": Poison(
        rb",unit=g", b",unit=g,unit=kg", "tag 'unit' twice: the tags must be station,instrument,channel"
    ),
    "unknown tag": Poison(rb",unit=g", b",unit=g,user=me", "they must be station,instrument,channel,quantity,unit"),
    "tag without a value": Poison(rb"=balance", b"=", "no tags and fields in ',station=lab,instrument=,channel="),
    "backslash in a tag": Poison(rb"=balance", b"=balance\\", "no tags and fields in"),
    "tag is missing": Poison(rb",unit=g", b"", "they must be station,instrument,channel,quantity,unit"),
    "tags in another order": Poison(
        rb",quantity=mass,unit=g", b",unit=g,quantity=mass", "they must be station,instrument,channel,quantity,unit"
    ),
    "tags are too long": Poison(rb"=balance", b"=" + b"b" * 65_500, "at most 65000 are allowed"),
    "line is too long": Poison(rb"S S", b"S" * 300_000, "bytes: at most 262144 are allowed"),
    "blank before it": Poison(rb"^", b" ", "measurement '': it must be one of"),
    "comment": Poison(rb"^", b"# ", "measurement '#': it must be one of"),
    "empty line": Poison(rb"^.*$", b"", "measurement '': it must be one of"),
    "JSON": Poison(rb"^.*$", b'{"value": 1}', "measurement '{\"value\":': it must be one of"),
    "binary": Poison(rb"^.*$", bytes(range(11, 256)), "no UTF-8"),
    "zeros": Poison(rb"^.*$", bytes(200), "it must be one of"),
    "until is a float": Poison(rb"until=\d+i", b"until=5", "until is '5': it must be a 64-bit integer", "event"),
    "missed is a text": Poison(rb"missed=3i", b'missed="3"', "missed is '\"3\"': it must be a 64-bit integer", "event"),
    "event without a kind": Poison(rb",kind=gap", b"", "they must be station,kind or station,instrument,kind", "event"),
    "event's text is a number": Poison(rb'text="no answer"', b"text=5i", "text is '5i': it must be a text", "event"),
    "event with a value": Poison(rb" text", b" value=1i,text", "field 'value' is unknown: event has one of", "event"),
    "uptime is an integer": Poison(
        rb"uptime_s=1.5", b"uptime_s=1i", "uptime_s is '1i': it must be a finite float", "station"
    ),
    "counter is a float": Poison(rb"=3i", b"=3", "acquired is '3': it must be a 64-bit integer such as 3i", "station"),
    "number is a text": Poison(rb"uptime_s=1.5", b'up="1.5"', "integer such as 3i or a finite float", "station"),
    "head is a number": Poison(rb'head="[^"]*"', b"head=5i", "head is '5i': it must be a text", "station"),
    "field in capitals": Poison(rb"uptime_s", b"Uptime", "field 'Uptime' is unknown: station has a lower", "station"),
    "field named time": Poison(rb"uptime_s", b"time", "field 'time' is unknown: station has a lower-case", "station"),
}
"""Classes of poison by name; the drill sends each of them to real databases."""


def good(kind: str, seq: int, epoch: str = EPOCH) -> bytes:
    """Give a good line of a kind, with every field that the kind may have."""
    at = reading(seq).at
    records: dict[str, Record] = {
        "reading": reading(seq),
        "event": Event("lab", EventKind.GAP, "no answer", at, "balance", at + 5, 3, "S"),
        "station": Health("lab", at, {"acquired": 3, "uptime_s": 1.5, "load": 0.5}, "ab" * 32),
    }
    return encode(records[kind], seq, epoch)


@pytest.mark.parametrize("name", POISON)
def test_poison_is_refused_in_words(name: str) -> None:
    words = fault(POISON[name].line(41), b"lab", 41, EPOCH.encode())
    assert POISON[name].words in words
    assert len(words) < 200
    assert words.isprintable()
    assert words.isascii()


def test_only_the_bad_lines_of_a_batch_are_named() -> None:
    lines = [good(kind, 41 + number) for number, kind in enumerate(["reading", "event", "station"] * 10)]
    assert strange_lines(Batch("lab", EPOCH, 41, lines)) == {}
    lines[7] = POISON["value is a text"].line(48)
    lines[9], lines[10] = lines[10], lines[9]
    assert list(strange_lines(Batch("lab", EPOCH, 41, lines))) == [7, 9, 10]
    assert len(strange_lines(Batch("lab-2", EPOCH, 41, lines))) == 30
    assert len(strange_lines(Batch("lab", "f" * 32, 41, lines))) == 30


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
new_names = st.from_regex(r"[a-z][a-z_]{0,15}", fullmatch=True).filter(
    lambda name: name not in SCHEMA["station"].fields and name not in {"time", "station", "instrument"}
)
series = st.builds(Series, names, names, names, names, names)
decimals = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**300), max_value=10**300)
readings = st.builds(
    Reading,
    series=series,
    at=st.integers(-(2**63) + 2, 2**63 - 2),
    value=st.none() | decimals,
    status=st.sampled_from(Status),
    text=names,
    rtt_ms=st.floats(allow_nan=False, allow_infinity=False),
    identified=st.booleans(),
    simulated=st.booleans(),
    clock=names,
    clock_at=st.none() | INT64,
)
events = st.builds(
    Event,
    station=names,
    kind=st.sampled_from(EventKind),
    text=names,
    at=st.integers(-(2**63) + 2, 2**63 - 2),
    instrument=names,
    until=st.none() | INT64,
    missed=INT64,
    raw=names,
)
healths = st.builds(
    Health,
    station=names,
    at=st.integers(-(2**63) + 2, 2**63 - 2),
    numbers=st.dictionaries(new_names, INT64 | st.floats(allow_nan=False, allow_infinity=False)),
    head=st.sampled_from(["", "ab" * 32]),
)


def measured(value: str) -> Reading:
    return Reading(Series("s", "i", "c", "q", "µ\\"), 1, Decimal(value), Status.GOOD, "\\", 1.0, False, True)


@example(measured("1E-7"), 1)
@example(measured("-0"), 1)
@example(measured("0E-10"), 1)
@example(measured("1.5E+300"), 1)
@example(measured("1E-400"), 1)
@given(readings | events | healths, st.integers(1, 10**18 - 1))
def test_what_is_encoded_passes(record: Record, seq: int) -> None:
    station = record.series.station if isinstance(record, Reading) else record.station
    line = encode(record, seq, EPOCH)
    assert fault(line, tag(station).encode(), seq, EPOCH.encode()) == ""
    assert fault(line, tag(station).encode() + b"x", seq, EPOCH.encode()).startswith("station ")
    assert fault(line, tag(station).encode(), seq + 1, EPOCH.encode()).startswith("record ")
    assert fault(line, tag(station).encode(), seq, b"f" * 32).startswith("epoch ")


TYPE = {float: FLOAT, int: INTEGER, str: STRING, bool: BOOLEAN}


@given(
    st.sampled_from(["reading", "event", "station"]),
    st.integers(0, 400),
    st.integers(0, 3),
    st.binary(max_size=3) | st.sampled_from([b'"', b"\\", b",", b"=", b" ", b"i", b"1", b"=1i", b'="', b",x=1"]),
)
def test_what_passes_is_of_the_right_types(kind: str, place: int, removed: int, put: bytes) -> None:
    """The archive has a parser of its own: whatever a change leaves acceptable must be of the schema there, too."""
    line = good(kind, 41)
    line = line[:place] + put + line[place + removed :]
    assume(b"\n" not in line)
    if fault(line, b"lab", 41, EPOCH.encode()):
        return
    point = parse(line)
    assert point.tags["station"] == "lab"
    assert (point.fields["seq"], point.fields["epoch"]) == (41, EPOCH)
    known = SCHEMA[point.measurement]
    assert point.measurement == kind
    for name, value in point.fields.items():
        assert TYPE[type(value)] in {known.fields.get(name)} | (known.more if name not in known.fields else set())
