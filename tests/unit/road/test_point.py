"""What the road wrote is read back; what it did not write is refused."""

from __future__ import annotations

import pytest

from daq.road.line_protocol import encode
from daq.road.point import NoLine, parse, renumbered, seq_of
from tests.spools import reading

EPOCH = "e" * 32


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"reading",
        b"reading value=1",
        b"reading value= 1",
        b"\xff value=1 1",
        b'reading text="a 1',
        b"reading value=1 9" + b"9" * 30,
    ],
)
def test_what_is_no_line_is_refused(line: bytes) -> None:
    with pytest.raises(NoLine):
        parse(line)


def test_a_line_reads_back_with_its_digits() -> None:
    point = parse(encode(reading(7), 41, EPOCH))
    assert (point.measurement, point.tags["instrument"], point.time) == ("reading", "balance", reading(7).at)
    assert (point.fields["value"], point.text_of["value"], point.fields["seq"]) == (7.0, "7", 41)


def test_number_and_epoch_change_and_nothing_else() -> None:
    line = encode(reading(7), 41, EPOCH)
    other = renumbered(line, 5, "f" * 32)
    assert (seq_of(line), seq_of(other)) == (41, 5)
    assert other == encode(reading(7), 5, "f" * 32)


def test_a_line_without_a_number_has_none() -> None:
    with pytest.raises(NoLine, match="without a sequence number"):
        seq_of(b"reading value=1 1")
