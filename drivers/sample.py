"""The value of one channel in one reply: a decimal number or none, its unit, and its quality."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decimal import Decimal


class Status(IntEnum):
    """Quality of a Sample; the numbers are stored in the database and never change their meaning."""

    GOOD = 0
    """The instrument sent the value without a restriction."""
    UNSTABLE = 1
    """A value, but the instrument says that it is not stable."""
    OVERRANGE = 2
    """Above what the instrument can measure: no value."""
    UNDERRANGE = 3
    """Below what the instrument can measure: no value."""
    INVALID = 4
    """The instrument answers that it has no value (sensor open, fault, adjustment running)."""
    IMPLAUSIBLE = 5
    """A value beyond the bounds of nature (`drivers.nature`): kept, and not to be used."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One measured value with its digits as sent.

    `unit` is a UCUM code ("g", "Ohm", "Cel", "hPa", "%"), or None where the reply could show its unit and this time
    does not: such a value counts only while nothing speaks against the unit that was shown before. `value` is None
    exactly where `status` says that there is none; such a sample may leave its unit empty, as instruments do.
    """

    value: Decimal | None
    unit: str | None = ""
    status: Status = Status.GOOD

    @classmethod
    def missing(cls, status: Status) -> Sample:
        """Give the sample of an instrument that answered, but has no value."""
        return cls(None, "", status)

    def __post_init__(self) -> None:
        has_value = self.status in {Status.GOOD, Status.UNSTABLE, Status.IMPLAUSIBLE}
        if has_value != (self.value is not None):
            raise ValueError(f"a {self.status.name} sample {'needs' if has_value else 'cannot have'} a value")
        if self.value is not None and not self.value.is_finite():
            raise ValueError(f"{self.value} is no measured value")
