"""What no quantity can be is no good value, whichever driver reads it; a small error of a sensor is."""

from __future__ import annotations

import struct
from decimal import Decimal

import pytest

from drivers import catalogue
from drivers.driver import Channel, Poll, Sample, Status, Text
from drivers.instrument import decoded
from drivers.nature import judged
from tests.drills.fuzz import with_sum

TEMPERATURE, DEW_POINT = Channel("temperature", "temperature", "Cel"), Channel("dew-point", "dew_point", "Cel")
HUMIDITY = Channel("humidity", "relative_humidity", "%")


@pytest.mark.parametrize(
    ("channel", "written", "status"),
    [
        (TEMPERATURE, "-273.15", Status.GOOD),
        (TEMPERATURE, "-273.151", Status.IMPLAUSIBLE),
        (TEMPERATURE, "-2.4E+36", Status.IMPLAUSIBLE),
        (TEMPERATURE, "5.8E+35", Status.GOOD),
        (DEW_POINT, "-274", Status.IMPLAUSIBLE),
        (HUMIDITY, "-3.2", Status.GOOD),
        (HUMIDITY, "-100", Status.GOOD),
        (HUMIDITY, "-100.01", Status.IMPLAUSIBLE),
        (HUMIDITY, "1000", Status.GOOD),
        (HUMIDITY, "1000.01", Status.IMPLAUSIBLE),
        (Channel("ratio", "ratio", "%"), "5000", Status.GOOD),
        (Channel("humidity", "relative_humidity", "1"), "-500", Status.GOOD),
        (Channel("mass", "mass", "g"), "-5000", Status.GOOD),
    ],
)
def test_bounds_of_nature(channel: Channel, written: str, status: Status) -> None:
    assert judged(channel, Sample(Decimal(written), channel.unit)) == Sample(Decimal(written), channel.unit, status)


@pytest.mark.parametrize("status", [Status.OVERRANGE, Status.UNDERRANGE, Status.INVALID])
def test_no_value_stays_none(status: Status) -> None:
    assert judged(TEMPERATURE, Sample.missing(status)) == Sample.missing(status)


def test_an_unstable_value_and_one_whose_unit_is_not_shown_are_judged_too() -> None:
    poll = Poll(Text(b"?\n"), (TEMPERATURE,), lambda _: (Sample(Decimal(-300), None, Status.UNSTABLE),))
    assert decoded(poll, b"") == (Sample(Decimal(-300), None, Status.IMPLAUSIBLE),)


def statuses(name: str, raw: bytes, **options: object) -> list[Status]:
    return [sample.status for sample in decoded(catalogue.factory(name)(**options).polls[0], raw)]


def test_every_driver_with_a_temperature_or_a_humidity_profits() -> None:
    swapped = b"".join(single[2:] + single[:2] for single in (struct.pack(">f", 5.8e35), struct.pack(">f", -2.4e36)))
    assert statuses("vaisala-hmp", swapped) == [Status.IMPLAUSIBLE, Status.IMPLAUSIBLE]
    assert statuses("keller-33x", struct.pack(">ff", 0.97, -1e6)) == [Status.GOOD, Status.IMPLAUSIBLE]
    assert statuses("modbus-singles", struct.pack(">f", -280), unit="Cel") == [Status.IMPLAUSIBLE]
    wet = {"quantity": "relative_humidity", "unit": "%"}
    assert statuses("modbus-singles", struct.pack(">f", 1001), **wet) == [Status.IMPLAUSIBLE]
    room = with_sum(b"P=    1006.412 hPa T=   -300.000 'C RH=  1000.01 %RH N 0    0000CS\r\n")
    assert statuses("vaisala-ptu", room) == [Status.GOOD, Status.IMPLAUSIBLE, Status.IMPLAUSIBLE]
