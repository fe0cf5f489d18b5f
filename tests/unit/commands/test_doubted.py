"""Whichever doubts there are, a reading shows exactly those whose span covers it."""

from __future__ import annotations

import random

from daq.commands.doubted import Doubted
from daq.road.line_protocol import encode
from daq.road.point import Point, parse
from tests.unit.commands.doubtful import doubt, reading


def test_as_a_simple_search_finds_them() -> None:
    generator = random.Random(5)
    for _ in range(200):
        spans = [sorted(generator.choices(range(30), k=2)) for _ in range(generator.randrange(12))]
        points = [point(doubt(first, last, text=f"{n}")) for n, (first, last) in enumerate(spans)]
        doubted = Doubted(generator.sample(points, len(points)))
        assert doubted.count == len(points)
        for second in range(30):
            covering = {f"identity: {n}" for n, (first, last) in enumerate(spans) if first <= second <= last}
            found = doubted.words(point(reading(second)))
            assert set(found) == covering
            assert len(found) == len(covering)


def test_span_of_all() -> None:
    points = [point(doubt(*span)) for span in ((3, 4), (1, 9), (5, 5))] + [point(doubt(2, 3, channel="other"))]
    assert Doubted(points).span == (point(doubt(1, 9)).time, point(reading(9)).time)
    first, last = Doubted([]).span
    assert last < first


def point(record: object) -> Point:
    return parse(encode(record, 1, "e" * 32))  # type: ignore[arg-type]  # a reading or a doubt
