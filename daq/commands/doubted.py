"""Which doubts cover a reading: whether it may be wrong, and why, as the station found out only afterwards."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from daq.road.point import Point

Channel = tuple[str, str, str]
"""Names of station, instrument and channel."""


@dataclass(slots=True)
class _Spans:
    """The doubts of one channel in order of their begin; all stamps are UTC ns and inside."""

    begins: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    latest_ends: list[int] = field(default_factory=list)
    """The latest end of this doubt and of all before it: none before can reach further."""


class Doubted:
    """The doubts of any number of channels, asked by reading."""

    def __init__(self, doubts: Iterable[Point]) -> None:
        """`doubts` are points of the measurement `doubt`, in any order."""
        self.count = 0
        self._spans: dict[Channel, _Spans] = {}
        for point in sorted(doubts, key=lambda one: one.time):
            self.count += 1
            spans = self._spans.setdefault(_channel(point), _Spans())
            end = int(point.fields["until"])
            spans.begins.append(point.time)
            spans.ends.append(end)
            spans.words.append(f"{point.fields['kind']}: {point.fields['text']}")
            spans.latest_ends.append(max([end, *spans.latest_ends[-1:]]))

    @property
    def span(self) -> tuple[int, int]:
        """First and last stamp (UTC ns) that any doubt covers; the last before the first where there is none."""
        begins = [one.begins[0] for one in self._spans.values()]
        return min(begins, default=0), max((one.latest_ends[-1] for one in self._spans.values()), default=-1)

    def words(self, reading: Point) -> list[str]:
        """Give kind and text of every doubt whose span covers the reading, the earliest first; empty: none does."""
        spans = self._spans.get(_channel(reading))
        if spans is None:
            return []
        place = bisect_right(spans.begins, reading.time)
        covering = []
        while place and spans.latest_ends[place - 1] >= reading.time:
            place -= 1
            if spans.ends[place] >= reading.time:
                covering.append(spans.words[place])
        return list(dict.fromkeys(reversed(covering)))


def _channel(point: Point) -> Channel:
    tags = point.tags
    return tags.get("station", ""), tags.get("instrument", ""), tags.get("channel", "")
