"""Where an answer ends, however it is cut; no byte is searched again and again."""

from __future__ import annotations

import re
import time
from itertools import pairwise
from typing import Any, ClassVar

from hypothesis import given
from hypothesis import strategies as st

from drivers.links.connection import LARGEST_ANSWER
from drivers.links.ends import End, measure_of

ENDS: list[End] = [b"\r\n", b"\r", b"abcabd", re.compile(rb"OK[^\r]*\r\n")]


@given(st.sampled_from(ENDS), st.text("abcdOK\r\n", max_size=60), st.lists(st.integers(0, 60)))
def test_the_end_is_found_however_the_answer_is_cut(end: End, text: str, cuts: list[int]) -> None:
    whole = text.encode()
    places = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    measure, buffer = measure_of(end, b""), bytearray()
    for start, stop in pairwise(places):
        buffer += whole[start:stop]
        expected = re.search(end if isinstance(end, re.Pattern) else re.escape(end), bytes(buffer))
        found = measure(buffer)
        assert found == (expected.end() if expected else 0)
        if found:
            return


class Watched(bytearray):
    """Notes where each search begins."""

    begins: ClassVar[list[int]] = []

    def find(self, *args: Any) -> int:
        self.begins.append(args[1])
        return super().find(*args)


def test_no_byte_is_searched_twice_for_a_plain_end() -> None:
    measure, buffer = measure_of(b"\r\n", b""), Watched(b"O" * 60_000)
    assert measure(buffer) == 0
    for byte in b"OO\r\n":
        buffer.append(byte)
        length = measure(buffer)
    assert length == len(buffer)
    assert Watched.begins == [0, 59_999, 60_000, 60_001, 60_002]


def test_a_byte_behind_64_kilobytes_costs_a_pattern_little() -> None:
    measure = measure_of(re.compile(rb"O{1,60}K"), b"")  # goes back 60 times at each place
    buffer = bytearray(b"O" * (LARGEST_ANSWER - 2000))
    measure(buffer)
    before = time.thread_time()
    for _ in range(300):
        buffer += b"O"
        assert measure(buffer) == 0
    assert time.thread_time() - before < 0.4
    buffer += b"K"
    assert measure(buffer) == len(buffer)


def test_the_echo_comes_first() -> None:
    measure = measure_of(b"\r\n", b"SI\r\n")
    buffer = bytearray()
    for byte in b"SI\r\n1.0 g\r\n":
        assert measure(buffer) == 0
        buffer.append(byte)
    assert measure(buffer) == len(buffer)
