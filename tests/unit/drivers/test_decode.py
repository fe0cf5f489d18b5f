"""The parts that all drivers share: lines, numbers, units, singles."""

from __future__ import annotations

import struct
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import decode
from drivers.errors import Unreadable, WrongSetting
from drivers.sample import Sample, Status

if TYPE_CHECKING:
    from drivers.decode import Words


def test_a_line_is_the_text_before_its_end() -> None:
    assert decode.line(b"+1.5 g\r\n") == "+1.5 g"
    assert decode.line(b"1.5\r", b"\r") == "1.5"
    assert decode.line(b" ~\n", b"\n") == " ~", "from the blank to the tilde"
    assert decode.line(b"\r\n") == ""


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"1.5", "cut"),
        (b"1.5\n", "cut"),
        (b"1.5\r\n\r", "cut"),
        (b"1.5\r\n1.5\r\n", "no text"),
        (b"1.\x1f5\r\n", "no text"),
        (b"1.\x7f5\r\n", "no text"),
        (b"1.\xb25\r\n", "no text"),
    ],
)
def test_what_is_no_line_is_refused_with_its_bytes(raw: bytes, why: str) -> None:
    with pytest.raises(Unreadable, match=why) as caught:
        decode.line(raw)
    assert caught.value.raw == raw


@pytest.mark.parametrize("text", ["1", "+1", "-1.", "0.50", "1e5", "1E+05", "-1.5E-123", "1" * 20, "0." + "3" * 20])
def test_numbers_keep_their_digits(text: str) -> None:
    assert decode.number(text) == Decimal(text)
    assert decode.number(text).as_tuple() == Decimal(text).as_tuple()


@pytest.mark.parametrize(
    "text", ["", ".", "+", ".5", "1,5", " 1", "1 ", "1E", "1E+1234", "1_0", "0x1", "nan", "1" * 21, "0." + "3" * 21]
)
def test_is_no_number(text: str) -> None:
    with pytest.raises(Unreadable, match="is no number"):
        decode.number(text)


def test_a_plain_number_has_at_most_twenty_digits_on_each_side() -> None:
    for text in ("1" * 20, "0." + "3" * 20):
        assert decode.plain(text) == Decimal(text)
    for text in ("1" * 21, "0." + "3" * 21):
        with pytest.raises(Unreadable, match="in the form that the manual gives"):
            decode.plain(text)
    assert decode.plain("15", 0) == 15
    with pytest.raises(Unreadable, match="0 digits after the point where 2"):
        decode.plain("15", 2)


@pytest.mark.parametrize(
    ("written", "status"),
    [
        ("9.9099999E37", Status.INVALID),  # 1E-7 off, as a single rounds it
        ("9.91000991E37", Status.INVALID),  # 1E-6 off: the last that counts as the same
        ("9.91001E37", Status.OVERRANGE),
        ("9.90998E37", Status.OVERRANGE),
        ("3.4028235E38", Status.INVALID),
        ("-3.4028235E38", Status.INVALID),
        ("3.41E38", Status.OVERRANGE),
        ("1E37", Status.OVERRANGE),
        ("-1E37", Status.UNDERRANGE),
        ("9.999999E36", Status.GOOD),
        ("1.17549435E-38", Status.GOOD),  # the smallest normal single
        ("1.17549434E-38", Status.INVALID),
        ("-1E-40", Status.INVALID),
        ("0", Status.GOOD),
        ("-9999", Status.INVALID),
        ("9999", Status.GOOD),
    ],
)
def test_numbers_that_mean_none(written: str, status: Status) -> None:
    value = Decimal(written)
    found = decode.sample(value, "Ohm", no_value={Decimal(-9999)})
    assert found == (Sample(value, "Ohm") if status is Status.GOOD else Sample.missing(status))


def test_a_status_and_a_unit_that_is_not_shown_are_kept() -> None:
    assert decode.sample(Decimal(1), None, Status.UNSTABLE) == Sample(Decimal(1), None, Status.UNSTABLE)


def test_a_unit_is_translated_and_another_one_is_a_setting_and_named() -> None:
    assert decode.unit("'C", {"'C": "Cel"}) == "Cel"
    with pytest.raises(WrongSetting, match="shows the unit 'oz'; known are g, mg"):
        decode.unit("oz", {"g": "g", "mg": "mg"})


@pytest.mark.parametrize("size", [0, 3, 5, 8])
def test_a_single_has_four_bytes(size: int) -> None:
    with pytest.raises(Unreadable, match=f"{size} bytes where a single has 4"):
        decode.single(bytes(size), "1", words="high first")


@pytest.mark.parametrize(
    ("digits", "number"), [(6, "0.1"), (6, "-123.45"), (7, "16777.22"), (8, "16777217e-3"), (9, "1.00000012")]
)
def test_the_shortest_digits_that_give_the_same_single_again(digits: int, number: str) -> None:
    packed = struct.pack(">f", float(number))
    value = decode.single(packed, "1", words="high first").value
    assert value is not None
    assert struct.pack(">f", float(value)) == packed
    assert len(value.normalize().as_tuple().digits) <= digits


@given(bits=st.integers(0, 2**32 - 1), words=st.sampled_from(["high first", "low first"]))
def test_a_single_is_its_number_whatever_the_order_of_its_words(bits: int, words: Words) -> None:
    packed = bits.to_bytes(4, "big")
    raw = packed if words == "high first" else packed[2:] + packed[:2]
    found = decode.single(raw, "1", words=words)
    if found.value is None:
        assert found.status in {Status.INVALID, Status.OVERRANGE, Status.UNDERRANGE}
        return
    assert struct.pack(">f", float(found.value)) == packed
    assert decode.nearest_single(float(found.value)) == found.value
    assert found == Sample(found.value, "1")


def test_short_numbers_stay_short() -> None:
    """30.56 is 30.559999465942383 as a double; six digits are enough for what an instrument measures."""
    for text in ("30.56", "0.9634", "1013.25", "100000", "999999", "0.1", "9.53692E-7"):
        assert str(decode.nearest_single(float(text))) == text


@pytest.mark.parametrize("number", [1e39, -1e39, 3.5e38])
def test_no_single_is_so_large(number: float) -> None:
    with pytest.raises(ValueError, match="larger than any single"):
        decode.nearest_single(number)


def test_a_length_is_that_of_the_question() -> None:
    decode.length(b"1234", 4)
    for raw in (b"123", b"12345"):
        with pytest.raises(Unreadable, match=f"{len(raw)} bytes where 4"):
            decode.length(raw, 4)
