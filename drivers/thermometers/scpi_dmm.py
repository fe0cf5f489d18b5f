"""SCPI multimeters that measure a platinum resistance thermometer in ohms (four wires).

Source: SCPI-1999, volume 2 ([SENSe:]FUNCtion, READ?, overload 9.9E37 and not-a-number 9.91E37 in volume 1, 7.2.1),
IEEE 488.2 (*IDN?, answers of a compound question joined by ";"); Keysight 34980A on-line help for the family.
"""

from __future__ import annotations

from decimal import Decimal

from drivers import decode
from drivers.driver import Channel, Driver, Identity, Poll, Sample, Status, Text, Unreadable

OVERLOAD = Decimal("9.9E37")
NOT_A_NUMBER = Decimal("9.91E37")


def scpi_dmm(*, slowest_s: int = 10) -> Driver[Text]:
    """SCPI multimeter in four-wire resistance: ohms as measured; `slowest_s` is longer than its integration time.

    Function, range and integration time are set at the multimeter: this driver sends no settings. Each answer contains
    its function, so a voltage is never read as a resistance.
    """
    return Driver(
        title="SCPI multimeter with a resistance thermometer (Keysight 344xxA, Keithley DMM6500)",
        identity=Identity(Text(b"*IDN?\n", b"\n", timeout=3.0), serial),
        polls=(
            Poll(
                Text(b"READ?;:FUNC?\n", b"\n", timeout=float(slowest_s)),
                (Channel("resistance", "resistance", "Ohm"),),
                resistance,
            ),
        ),
        port=5025,
        settle=float(slowest_s),
    )


def serial(raw: bytes) -> str:
    """Read the third field of `Keysight Technologies,34465A,MY59012345,A.02.16-…`."""
    match decode.line(raw, b"\n").split(","):
        case [_, _, number, _] if number.strip():
            return number.strip()
        case _:
            raise Unreadable("no identification of four fields", raw)


def resistance(raw: bytes) -> tuple[Sample]:
    """Read `+1.07793500E+02;"FRES"`; 9.9E37 is the overload of SCPI, 9.91E37 no value."""
    match decode.line(raw, b"\n").split(";"):
        case [value, '"FRES"']:
            ohms = decode.number(value)
        case [_, function]:
            raise Unreadable(f'the meter measures {function}; set it to four-wire resistance ("FRES")', raw)
        case _:
            raise Unreadable("no resistance with its function", raw)
    if abs(ohms) == OVERLOAD:
        return (Sample.missing(Status.OVERRANGE if ohms > 0 else Status.UNDERRANGE),)
    if abs(ohms) == NOT_A_NUMBER:
        return (Sample.missing(Status.INVALID),)
    return (Sample(ohms, "Ohm"),)
