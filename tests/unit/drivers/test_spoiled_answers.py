"""Answers that decoders once took, or took seconds to refuse; all but one were found by tests/drills/test_fuzz.py."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from drivers import catalogue
from drivers.driver import Sample, Status, Text
from drivers.links.connection import LARGEST_ANSWER
from drivers.links.stream import _measure
from drivers.serial_number import identifies

if TYPE_CHECKING:
    from drivers.driver import Driver


def driver(name: str) -> Driver[Any]:
    return catalogue.factory(name)()


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("mt-sics", b'I4 A ""\r\n'),
        ("milli-k", b"Isothermal Technology,milliK,,4.0.0\r"),
        ("milli-k", b"Isothermal Technology,milliK, ,4.0.0\r"),
        ("scpi-dmm", b"Keysight Technologies,34465A, ,A.02.16-02.40\n"),
    ],
)
def test_a_blank_serial_number_identifies_nothing(name: str, raw: bytes) -> None:
    identity = driver(name).identity
    assert identity is not None
    assert identity.decode(raw) == ""
    assert not identifies("")


def test_blanks_are_no_part_of_a_serial_number() -> None:
    identity = driver("milli-k").identity
    assert identity is not None
    assert identity.decode(b"Isothermal Technology,milliK,21-P246 ,4.0.0\r") == "21-P246"


@pytest.mark.parametrize("raw", [b'+9.91000000E+37;"FRES"\n', b'-9.91E37;"FRES"\n'])
def test_the_not_a_number_of_scpi_is_no_resistance(raw: bytes) -> None:
    """SCPI-1999, volume 1, 7.2.1: 9.91E37 stands for a result that there is not."""
    assert driver("scpi-dmm").polls[0].decode(raw) == (Sample.missing(Status.INVALID),)


@pytest.mark.parametrize(
    ("name", "command", "word"),
    [
        ("vaisala-ptu", b"FORM", b"OK"),
        ("vaisala-ptu", b"echo", b"OFF"),
        ("vaisala-ptu", b"?", b"Module 2"),
        ("milli-k", b"mill", b",milliK,"),
    ],
)
def test_the_end_of_a_long_wrong_answer_is_soon_found_missing(name: str, command: bytes, word: bytes) -> None:
    """The search was quadratic and held up the whole station: for 5 s with 64 KiB of "OKOKOK", at each arrival."""
    made = driver(name)
    assert made.identity is not None
    asked = [made.identity.query, *(step.query for step in made.setup)]
    (query,) = (one for one in asked if isinstance(one, Text) and one.command.startswith(command))
    measure = _measure(query.end, b"")
    buffer = bytearray(word * (LARGEST_ANSWER // len(word)))
    assert min(_processor_time(measure, buffer) for _ in range(3)) < 0.1


def _processor_time(measure: Any, buffer: bytearray) -> float:
    before = time.thread_time()
    assert measure(buffer) == 0
    return time.thread_time() - before
