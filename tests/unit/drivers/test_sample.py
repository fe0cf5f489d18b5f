"""The status numbers are stored data, and no Sample contradicts itself."""

from __future__ import annotations

from decimal import Decimal

import pytest

from drivers.sample import Sample, Status

WITH_VALUE = (Status.GOOD, Status.UNSTABLE, Status.IMPLAUSIBLE)


def test_the_numbers_that_stand_in_databases_never_change() -> None:
    assert {status.name: int(status) for status in Status} == {
        "GOOD": 0,
        "UNSTABLE": 1,
        "OVERRANGE": 2,
        "UNDERRANGE": 3,
        "INVALID": 4,
        "IMPLAUSIBLE": 5,
    }


@pytest.mark.parametrize("status", Status)
def test_a_status_with_a_value_needs_one_and_one_without_cannot_have_one(status: Status) -> None:
    has, wrong = (Decimal("1.50"), None) if status in WITH_VALUE else (None, Decimal("1.50"))
    assert Sample(has, "g", status).value == has
    with pytest.raises(ValueError, match=status.name):
        Sample(wrong, "g", status)


@pytest.mark.parametrize("text", ["NaN", "sNaN", "Infinity", "-Infinity"])
def test_what_is_no_number_is_no_value(text: str) -> None:
    with pytest.raises(ValueError, match="no measured value"):
        Sample(Decimal(text), "g")


def test_a_value_is_good_unless_something_else_is_said() -> None:
    assert Sample(Decimal(1), "g").status is Status.GOOD


@pytest.mark.parametrize("status", [status for status in Status if status not in WITH_VALUE])
def test_a_missing_value_shows_no_unit_and_is_not_one_whose_unit_is_not_shown(status: Status) -> None:
    missing = Sample.missing(status)
    assert (missing.value, missing.unit, missing.status) == (None, "", status)
