"""The marks of the kernel for changed bytes, cut anywhere."""

from __future__ import annotations

import os
import pty
import termios
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.links.parity import Marks, mark_changed_bytes


@pytest.mark.parametrize(
    ("marked", "clean", "changed"),
    [
        (b"1.23\r\n", b"1.23\r\n", []),
        (b"1\xff\x00\xb2.3", b"1\xb2.3", [1]),
        (b"\xff\x00\x00\xff\x00\x00", b"\0\0", [0, 1]),
        (b"\xff\xff", b"\xff", []),
        (b"\xff\xff\xff\x00\x41", b"\xffA", [1]),
        (b"\xff\x00\xff", b"\xff", [0]),
    ],
)
def test_marks(marked: bytes, clean: bytes, changed: list[int]) -> None:
    assert Marks().take_out(marked) == (clean, changed)


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=1), st.booleans())), st.lists(st.integers(0, 60)))
def test_marks_that_are_cut_by_reads(wire: list[tuple[bytes, bool]], cuts: list[int]) -> None:
    marked = b"".join(b"\xff\x00" + one if wrong else one.replace(b"\xff", b"\xff\xff") for one, wrong in wire)
    places = [0, *sorted(min(cut, len(marked)) for cut in cuts), len(marked)]
    marks, clean, changed = Marks(), b"", []
    for start, end in pairwise(places):
        some, wrong = marks.take_out(marked[start:end])
        changed += [len(clean) + place for place in wrong]
        clean += some
    assert clean == b"".join(one for one, _ in wire)
    assert changed == [place for place, (_, wrong) in enumerate(wire) if wrong]


def test_the_kernel_is_told_to_mark() -> None:
    master, slave = pty.openpty()
    mark_changed_bytes(slave)
    flags = termios.tcgetattr(slave)[0]
    assert flags & termios.INPCK
    assert flags & termios.PARMRK
    assert not flags & (termios.IGNPAR | termios.ISTRIP | termios.IGNBRK | termios.BRKINT)
    os.close(slave)
    os.close(master)
