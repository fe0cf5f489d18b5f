"""Bounds of nature: a value beyond them is kept with the status IMPLAUSIBLE, whichever instrument sent it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from drivers.sample import Status

if TYPE_CHECKING:
    from drivers.driver import Channel
    from drivers.sample import Sample

ABSOLUTE_ZERO = Decimal("-273.15")
DRIEST, WETTEST = -100, 1000
"""Relative humidity in %. A sensor out of adjustment may show some % below 0 or above 100; no sensor shows these."""


def judged(channel: Channel, sample: Sample) -> Sample:
    """Give the sample of a channel, IMPLAUSIBLE where its value is beyond the bounds of nature."""
    if sample.value is None or _possible(channel, sample.value):
        return sample
    return replace(sample, status=Status.IMPLAUSIBLE)


def _possible(channel: Channel, value: Decimal) -> bool:
    if channel.unit == "Cel":
        return value >= ABSOLUTE_ZERO
    if (channel.quantity, channel.unit) == ("relative_humidity", "%"):
        return DRIEST <= value <= WETTEST
    return True
