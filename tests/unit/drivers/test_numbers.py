"""Numbers that mean none, and where a number is refused; one rule for all drivers (`drivers.decode`)."""

from __future__ import annotations

import struct
from decimal import Decimal

import pytest

from drivers import catalogue, decode
from drivers.driver import Sample, Status
from drivers.errors import Unreadable

FREE = {"digits": "free"}


@pytest.mark.parametrize(
    ("written", "status"),
    [
        ("+9.91000000E+37", Status.INVALID),
        ("-9.91000000E+37", Status.INVALID),
        ("9.91E37", Status.INVALID),
        ("+9.9100000E+37", Status.INVALID),
        ("+9.90999963E+37", Status.INVALID),
        ("+3.40282347E+38", Status.INVALID),
        ("+1.00000000E-39", Status.INVALID),
        ("+9.90000000E+37", Status.OVERRANGE),
        ("-9.9E37", Status.UNDERRANGE),
        ("+9.99999999E+37", Status.OVERRANGE),
        ("-9.99999999E+37", Status.UNDERRANGE),
        ("+1.2E+37", Status.OVERRANGE),
        ("+1E+38", Status.OVERRANGE),
        ("+1.00000000E+37", Status.OVERRANGE),
        ("-0.00000000E+00", Status.GOOD),
        ("+0.00000000E-03", Status.GOOD),
        ("+9.99999999E+11", Status.GOOD),
        ("-9.99999999E+11", Status.GOOD),
    ],
)
def test_scpi(written: str, status: Status) -> None:
    for options in ({}, FREE):
        poll = catalogue.factory("scpi-dmm")(**options).polls[0]
        (sample,) = poll.decode(f'{written};"FRES"\n'.encode())
        assert sample.status is status
        assert sample.value == (Decimal(written) if status is Status.GOOD else None)


@pytest.mark.parametrize("digits", ["fixed", "free"])
@pytest.mark.parametrize("written", ["+1.00000000E+12", "-1.00000000E+12", "+9.90000000E+27", "+9.99999999E+36"])
def test_no_ohmmeter_reads_so_much(written: str, digits: str) -> None:
    """9.9E27 is an overload of 9.9E37 with one digit changed."""
    with pytest.raises(Unreadable, match="no meter reads 1E\\+12 ohms"):
        catalogue.factory("scpi-dmm")(digits=digits).polls[0].decode(f'{written};"FRES"\n'.encode())


@pytest.mark.parametrize("written", ["+0.07793500E+02", "-0.00000001E+00", "+0.90000000E+37", "+0.99000000E+38"])
def test_a_normalised_mantissa_begins_with_zero_for_zero_only(written: str) -> None:
    with pytest.raises(Unreadable, match="begins with 0"):
        catalogue.factory("scpi-dmm")().polls[0].decode(f'{written};"FRES"\n'.encode())


def test_a_mantissa_that_is_free_need_not_be_normalised() -> None:
    (sample,) = catalogue.factory("scpi-dmm")(**FREE).polls[0].decode(b'0.1077935E+03;"FRES"\n')
    assert sample == Sample(Decimal("107.7935"), "Ohm")


@pytest.mark.parametrize(
    ("bits", "status"),
    [
        (0x7F7FFFFF, Status.INVALID),
        (0xFF7FFFFF, Status.INVALID),
        (0x00000001, Status.INVALID),
        (0x807FFFFF, Status.INVALID),
        (0x000041F4, Status.INVALID),
        (0x7FC00000, Status.INVALID),
        (0x7E951BEE, Status.INVALID),  # 9.91E37
        (0x7E94F56A, Status.OVERRANGE),  # 9.9E37
        (0xFE94F56A, Status.UNDERRANGE),
        (0x7F800000, Status.OVERRANGE),
        (0xFF800000, Status.UNDERRANGE),
        (0x00800000, Status.GOOD),
        (0x00000000, Status.GOOD),
        (0x80000000, Status.GOOD),
    ],
)
@pytest.mark.parametrize("name", ["modbus-singles", "keller-33x", "vaisala-hmp"])
def test_singles(name: str, bits: int, status: Status) -> None:
    raw = bits.to_bytes(4, "big")
    if name == "vaisala-hmp":
        raw = raw[2:] + raw[:2]
    poll = catalogue.factory(name)().polls[0]
    samples = poll.decode(raw * (poll.query.count // 2))
    assert {sample.status for sample in samples} == {status}


def test_a_device_has_codes_of_its_own() -> None:
    poll = catalogue.factory("modbus-singles")(count=3, no_value=[-9999, 1e10 / 3]).polls[0]
    raw = struct.pack(">fff", -9999, 1e10 / 3, 21.5)
    assert poll.decode(raw) == (
        Sample.missing(Status.INVALID),
        Sample.missing(Status.INVALID),
        Sample(Decimal("21.5"), "1"),
    )


@pytest.mark.parametrize(
    "text", ["", "+1", "01", "00.5", "1.", ".5", "1E3", "--1", " 1", "1 ", "-", "1.2.3", "\u0661", "1_0"]
)
def test_is_no_plain_number(text: str) -> None:
    with pytest.raises(Unreadable):
        decode.plain(text)


def test_plain_numbers_keep_their_digits() -> None:
    for text in ("0", "-0.00", "100.00", "-0.5", "1234567890.123"):
        assert str(decode.plain(text)) == text
    assert decode.plain("1.50", 2) == Decimal("1.50")
    for decimals in (0, 1, 3):
        with pytest.raises(Unreadable, match=f"where {decimals} are"):
            decode.plain("1.50", decimals)


@pytest.mark.parametrize("text", ["-1E309", "1E-999", "1.7976931348623159E308"])
def test_a_number_that_no_double_holds_is_refused(text: str) -> None:
    """A database would store infinity or zero, or refuse the line."""
    with pytest.raises(Unreadable, match="double"):
        decode.number(text)


def test_zero_and_the_borders_of_doubles_are_numbers() -> None:
    for text in ("0", "-0.000", "0E-400", "1.7976931348623157E308", "5E-324"):
        assert decode.number(text) == Decimal(text)
