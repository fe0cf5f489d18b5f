"""Ranges behave as a plain set of numbers does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from daq.road.ranges import Ranges

pairs = st.lists(
    st.tuples(st.integers(1, 60), st.integers(0, 9)).map(lambda pair: (pair[0], pair[0] + pair[1])),
    max_size=30,
)


@given(pairs)
def test_equals_a_set(added: list[tuple[int, int]]) -> None:
    ranges, oracle = Ranges(), set[int]()
    for first, last in added:
        new = set(range(first, last + 1))
        assert ranges.merged(first, last) == _around(oracle | new, first)
        assert ranges.add(first, last) == len(new - oracle)
        oracle |= new
    assert {number for first, last in ranges for number in range(first, last + 1)} == oracle
    assert len(ranges) == len(oracle)
    assert ranges.last == max(oracle, default=0)
    firsts = [first for first, _ in ranges]
    lasts = [last for _, last in ranges]
    assert all(last + 1 < first for last, first in zip(lasts, firsts[1:], strict=False)), "ranges touch"
    for number in range(1, 75):
        assert (number in ranges) == (number in oracle)
        assert ranges.next_missing(number) == next(n for n in range(number, 99) if n not in oracle)
        assert ranges.next_present(number) == next((n for n in range(number, 99) if n in oracle), None)


@given(pairs, pairs)
def test_removes_and_counts_as_a_set_does(added: list[tuple[int, int]], removed: list[tuple[int, int]]) -> None:
    ranges, oracle = Ranges(added), {number for first, last in added for number in range(first, last + 1)}
    for first, last in removed:
        gone = set(range(first, last + 1)) & oracle
        assert ranges.count(first, last) == len(gone)
        assert ranges.remove(first, last) == len(gone)
        oracle -= gone
        assert {number for a, b in ranges for number in range(a, b + 1)} == oracle
        assert len(ranges) == len(oracle)


def _around(numbers: set[int], number: int) -> tuple[int, int]:
    first = last = number
    while first - 1 in numbers:
        first -= 1
    while last + 1 in numbers:
        last += 1
    return first, last
