"""Every line that a station writes passes, every kind of poison is refused with words that say what would be right."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from daq.road.batch import Batch
from daq.road.line_check import BOOLEAN, FLOAT, INTEGER, SCHEMA, STRING, fault, invalid_lines
from daq.road.line_protocol import encode, tag
from daq.road.point import parse
from daq.road.reading import Doubt, Event, EventKind, Health, Reading, Record, Series
from drivers.sample import Status
from tests.poison import EPOCH, POISON, good

INT64 = st.integers(-(2**63), 2**63 - 1)


@pytest.mark.parametrize("name", POISON)
def test_poison_is_refused_in_words(name: str) -> None:
    words = fault(POISON[name].line(41), b"lab", 41, EPOCH.encode())
    assert POISON[name].words in words
    assert len(words) < 200
    assert words.isprintable()
    assert words.isascii()


def test_only_the_bad_lines_of_a_batch_are_named() -> None:
    lines = [good(kind, 41 + number) for number, kind in enumerate(["reading", "event", "doubt", "station"] * 10)]
    assert invalid_lines(Batch("lab", EPOCH, 41, lines)) == {}
    lines[7] = POISON["value is a text"].line(48)
    lines[9], lines[10] = lines[10], lines[9]
    assert list(invalid_lines(Batch("lab", EPOCH, 41, lines))) == [7, 9, 10]
    assert len(invalid_lines(Batch("lab-2", EPOCH, 41, lines))) == 40
    assert len(invalid_lines(Batch("lab", "f" * 32, 41, lines))) == 40


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
    serial=names,
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
doubts = st.builds(
    Doubt,
    station=names,
    instrument=names,
    channel=names,
    kind=names,
    text=names,
    at=st.integers(-(2**63) + 2, 2**63 - 2),
    until=INT64,
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
@given(readings | events | doubts | healths, st.integers(1, 10**18 - 1))
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
