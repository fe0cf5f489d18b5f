"""A refused batch is taken apart until each bad line stands alone; archive and line protocol agree on every record."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from daq.bridge.archive import Archive, points
from daq.bridge.sink import Misconfigured, Refused, TooLarge, Unavailable, store
from daq.road.line_protocol import encode
from daq.road.point import parse, seq_of
from daq.road.reading import Event, EventKind, Health, Reading, Series
from drivers.sample import Status
from tests.spools import reading

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Picky:
    """A sink that refuses bad lines and long batches, as databases do."""

    name = "picky"

    def __init__(self, longest: int = 10_000) -> None:
        self.kept: set[bytes] = set()
        self.longest = longest

    async def write(self, lines: Sequence[bytes]) -> None:
        if len(lines) > self.longest:
            raise TooLarge("413")
        if any(b"bad" in line for line in lines):
            raise Refused("400 partial write: unable to parse")
        self.kept.update(lines)

    async def close(self) -> None:
        pass


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 70))
async def test_every_good_line_is_stored_and_every_bad_one_named(bad: list[bool], longest: int) -> None:
    lines = [(b"bad %d" if one else b"good %d") % number for number, one in enumerate(bad)]
    sink = Picky(longest)
    refused = await store(sink, lines) if lines else {}
    assert set(refused) == {number for number, one in enumerate(bad) if one}
    assert sink.kept == {line for line in lines if line.startswith(b"good")}


async def test_trouble_of_the_database_is_nobodys_fault() -> None:
    class Broken(Picky):
        def __init__(self, error: Exception) -> None:
            super().__init__()
            self.error = error

        async def write(self, lines: Sequence[bytes]) -> None:
            raise self.error

    for error in (Unavailable("503", 2.0), Misconfigured("401")):
        with pytest.raises(type(error)):
            await store(Broken(error), [b"a", b"b"])


# A backslash at the end of a tag once swallowed the comma behind it.
BACKSLASH = (Series("s", "i", "c", "\\", "u"), 0, Decimal(0), Status.GOOD, "0")

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@example(*BACKSLASH)
@given(
    st.builds(Series, names, names, names, names, names),
    st.integers(0, 2**62),
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9, places=6),
    st.sampled_from([Status.GOOD, Status.UNSTABLE]),
    names,
)
def test_what_is_encoded_is_read_back(series: Series, at: int, value: Decimal, status: Status, text: str) -> None:
    line = encode(Reading(series, at, value, status, text, 1.5, identified=False, simulated=True), 17, "e" * 32)
    assert b"\n" not in line
    assert seq_of(line) == 17
    point = parse(line)
    assert (point.measurement, point.time) == ("reading", at)
    assert point.fields["value"] == float(value)
    assert Decimal(point.text_of["value"]) == value
    assert (point.fields["status"], point.fields["identified"], point.fields["simulated"]) == (int(status), False, True)
    written = {"station", "instrument", "channel", "quantity", "unit"}
    assert point.tags == {
        name: " ".join(getattr(series, name).splitlines()).replace("\\", "/") or "-" for name in written
    }
    if not {"\n", "\r", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"} & set(text + series.station):
        assert point.fields["text"] == text


def test_a_text_cannot_pretend_to_be_a_field() -> None:
    text = 'x" ,seq=99i,epoch="'
    line = encode(
        Reading(Series("s", "i", "c", "q", "u"), 1, None, Status.INVALID, text, 1.0, True, False), 5, "e" * 32
    )
    assert seq_of(line) == 5
    assert parse(line).fields["text"] == text
    assert "value" not in parse(line).fields


def test_event_is_encoded() -> None:
    event = Event("s", EventKind.GAP, "no answer", 5, "balance", 9, 3, r"S\r\n")
    point = parse(encode(event, 7, "e" * 32))
    assert point.tags == {"station": "s", "instrument": "balance", "kind": "gap"}
    assert (point.fields["missed"], point.fields["until"], point.fields["seq"]) == (3, 9, 7)


def test_health_is_encoded() -> None:
    point = parse(encode(Health("s", 5, {"acquired": 3, "uptime_s": 1.5}), 7, "e" * 32))
    assert (point.measurement, point.tags) == ("station", {"station": "s"})
    assert point.fields == {"acquired": 3, "uptime_s": 1.5, "seq": 7, "epoch": "e" * 32}


async def test_archive_keeps_each_point_once(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "archive.sqlite")
    lines = [encode(reading(number), number + 1, "e" * 32) for number in range(100)]
    await archive.write(lines)
    await archive.write(lines[40:])
    with pytest.raises(Refused, match="no line protocol"):
        await archive.write([lines[0], b"garbage"])
    await archive.close()
    found = list(points(tmp_path / "archive.sqlite", "reading"))
    assert [point.fields["seq"] for point in found] == list(range(1, 101))
    assert len(list(points(tmp_path / "archive.sqlite", "reading", found[10].time, found[20].time))) == 10
