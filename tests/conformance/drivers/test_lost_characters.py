"""A lost or inserted character in a right answer: never another value where the manual fixes the width."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from drivers import catalogue
from drivers.errors import Unreadable
from drivers.instrument import decoded
from tests import golden
from tests.conformance.drivers import oracle

if TYPE_CHECKING:
    from collections.abc import Iterator

NOT_FIXED = {
    "digiquartz": "the value is not filled up on its left: *00011013.619 and *0001113.619 are both right",
    "milli-k": "the value is not filled up on its left: 100.00012 and 10.00012 are both right, 1100.00012 is not",
}
"""Command sets in which a lost or inserted digit before the point, or a minus, cannot be told; the rest of it can."""
INSERTED = b"0123456789+-.E ;*\r\ngkm\0"


def spoiled(raw: bytes) -> Iterator[bytes]:
    yield from (raw[:place] + raw[place + 1 :] for place in range(len(raw)))
    yield from (raw[:place] + bytes([byte]) + raw[place:] for place in range(len(raw) + 1) for byte in INSERTED)


def taken(name: str, raw: bytes, **options: Any) -> list[tuple[str, Decimal | None]]:
    samples = decoded(catalogue.factory(name)(**options).polls[0], raw)
    return [(sample.status.name, sample.value) for sample in samples]


READINGS = [(name, row) for name, row in golden.every("exchange") if "values" in row]


@pytest.mark.parametrize(("name", "row"), READINGS, ids=lambda one: one if isinstance(one, str) else one["source"])
def test_never_another_value(name: str, row: dict[str, Any]) -> None:
    right = taken(name, row["raw"])
    for raw in spoiled(row["raw"]):
        try:
            found = taken(name, raw)
        except Unreadable:
            continue
        if name in NOT_FIXED:  # what stands behind the point is still the same
            assert [abs(value) % 1 for _, value in found if value] == [abs(value) % 1 for _, value in right if value]
        elif row["values"]:
            assert found == right, raw
        else:
            assert all(value is None for _, value in found), raw


@pytest.mark.parametrize("name", NOT_FIXED)
def test_where_it_cannot_be_told_no_manual_would_refuse_it(name: str) -> None:
    """The list is true: an answer that has lost its first digit is one that the instrument could have given."""
    row = next(row for row in golden.rows(name, "exchange") if "values" in row)
    before = row["raw"].index(row["values"].popitem()[1].encode())
    raw = row["raw"][:before] + row["raw"][before + 1 :]
    if b"0" not in raw[before : before + 1]:
        assert oracle.says(name, raw, {}) is not None
    doubled = row["raw"][:before] + b"1" + row["raw"][before:]
    if name == "milli-k":
        with pytest.raises(Unreadable, match="range"):
            taken(name, doubled)
    else:
        assert taken(name, doubled) != taken(name, row["raw"])


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("digiquartz", b"*0001013.619\r\n"),
        ("digiquartz", b"*00011013.19\r\n"),
        ("digiquartz", b"*00011013619\r\n"),
        ("digiquartz", b"*00011E3\r\n"),
        ("milli-k", b"100.0012\r"),
        ("milli-k", b"10000012\r"),
        ("milli-k", b"1100.00012\r"),
        ("milli-k", b"-100.00012\r"),
        ("scpi-dmm", b'+1.07793500E+0;"FRES"\n'),
        ("scpi-dmm", b'+1.07793500E+2;"FRES"\n'),
        ("scpi-dmm", b'+1.0779350E+02;"FRES"\n'),
        ("scpi-dmm", b'1.07793500E+02;"FRES"\n'),
        ("scpi-dmm", b'+1.07793500E02;"FRES"\n'),
        ("mt-sics", b"S S     10.00 g\r\n"),
        ("mt-sics", b"S S       1E34 g\r\n"),
        ("mt-sics", b"S S " + b" " * 300 + b"100.00 g\r\n"),
        ("mt-sics", b"S  S     100.00 g\r\n"),
        ("mt-sics", b"S " + b" " * 300 + b"+\r\n"),
        ("sartorius-sbi", b"+  123.56 g  \r\n"),
        ("sartorius-sbi", b"   123.56 g  \r\n"),
        ("sartorius-sbi", b"Stat" + b" " * 300 + b"High\r\n"),
    ],
)
def test_is_not_in_the_grammar(name: str, raw: bytes) -> None:
    with pytest.raises(Unreadable):
        taken(name, raw)


def test_a_device_with_other_digits_is_read_by_option_and_the_message_names_it() -> None:
    for name, raw, options in (
        ("digiquartz", b"*00011013.61934\r\n", {"decimals": 5}),
        ("milli-k", b"102.567\r", {"decimals": 3}),
        ("scpi-dmm", b'1.077935E+02;"FRES"\n', {"digits": "free"}),
    ):
        (option,) = options
        with pytest.raises(Unreadable, match=option):
            taken(name, raw)
        ((status, value),) = taken(name, raw, **options)
        assert (status, value) == ("GOOD", Decimal(raw.decode().removeprefix("*0001").split(";")[0].strip()))
