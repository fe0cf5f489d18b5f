"""A set of whole numbers kept as ranges: millions of sequence numbers in a few pairs."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Ranges:
    """Sorted ranges (first, last), both inclusive, that neither overlap nor touch."""

    def __init__(self, pairs: Iterable[tuple[int, int]] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        self._size = 0
        for first, last in pairs:
            self.add(first, last)

    def __len__(self) -> int:
        return self._size

    def __contains__(self, number: int) -> bool:
        place = bisect_right(self._firsts, number) - 1
        return place >= 0 and number <= self._lasts[place]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(zip(self._firsts, self._lasts, strict=True))

    def add(self, first: int, last: int) -> int:
        """Add all of first..last; gives how many were new."""
        if first > last:
            raise ValueError(f"{first}..{last} is no range")
        left = bisect_left(self._lasts, first - 1)
        right = bisect_right(self._firsts, last + 1)
        before = sum(b - a + 1 for a, b in zip(self._firsts[left:right], self._lasts[left:right], strict=True))
        if left < right:
            first, last = min(first, self._firsts[left]), max(last, self._lasts[right - 1])
        self._firsts[left:right] = [first]
        self._lasts[left:right] = [last]
        self._size += last - first + 1 - before
        return last - first + 1 - before

    def remove(self, first: int, last: int) -> int:
        """Remove all of first..last; gives how many were there."""
        if first > last:
            raise ValueError(f"{first}..{last} is no range")
        left = bisect_left(self._lasts, first)
        right = bisect_right(self._firsts, last)
        touched = list(zip(self._firsts[left:right], self._lasts[left:right], strict=True))
        kept = [(a, min(b, first - 1)) for a, b in touched if a < first]
        kept += [(max(a, last + 1), b) for a, b in touched if b > last]
        removed = sum(b - a + 1 for a, b in touched) - sum(b - a + 1 for a, b in kept)
        self._firsts[left:right] = [a for a, _ in kept]
        self._lasts[left:right] = [b for _, b in kept]
        self._size -= removed
        return removed

    def count(self, first: int, last: int) -> int:
        """Count the numbers of first..last that are in the set; 0 for an empty range."""
        left = bisect_left(self._lasts, first)
        right = bisect_right(self._firsts, last)
        pairs = zip(self._firsts[left:right], self._lasts[left:right], strict=True)
        return sum(max(0, min(b, last) - max(a, first) + 1) for a, b in pairs)

    @property
    def last(self) -> int:
        """The greatest number of the set; 0 where it is empty."""
        return self._lasts[-1] if self._lasts else 0

    def merged(self, first: int, last: int) -> tuple[int, int]:
        """Give the range that first..last would become part of; changes nothing."""
        left = bisect_left(self._lasts, first - 1)
        right = bisect_right(self._firsts, last + 1)
        if left < right:
            return min(first, self._firsts[left]), max(last, self._lasts[right - 1])
        return first, last

    def next_missing(self, number: int) -> int:
        """Give the smallest number from `number` on that is not in the set."""
        place = bisect_right(self._firsts, number) - 1
        return self._lasts[place] + 1 if place >= 0 and number <= self._lasts[place] else number

    def next_present(self, number: int) -> int | None:
        """Give the smallest number from `number` on that is in the set; None where there is none."""
        if number in self:
            return number
        place = bisect_right(self._firsts, number)
        return self._firsts[place] if place < len(self._firsts) else None
