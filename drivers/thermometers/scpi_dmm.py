"""SCPI multimeters that measure a platinum resistance thermometer in ohms (four wires).

Source: SCPI-1999, volume 2 ([SENSe:]FUNCtion, READ?; SYSTem:VERSion?, which every SCPI instrument must know), volume 1,
7.2.1 (overload 9.9E37, not-a-number 9.91E37); IEEE 488.2 (*IDN?, answers of a compound question joined by ";");
Keysight 34420A user's guide p. 96 (SYSTem:VERSion? answers YYYY.V) and p. 202 (a reading is SD.DDDDDDDDESDD; on RS-232
CR stands before the LF); Agilent 34401A user's guide p. 152 (RS-232 has two stop bits, which cannot be set); Keithley
2700 user's manual p. 306 (a blank behind the ";" of a compound answer).
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import partial
from typing import Annotated, Literal, TypeAlias

from annotated_types import Interval

from drivers import decode
from drivers.driver import Channel, Control, Driver, Identity, Poll, Sample, SerialLine, Text
from drivers.errors import Unreadable, WrongSetting

BEYOND_ANY_METER = Decimal("1E12")
"""Ohms. No meter of four wires reads so much, so a character of an overload (9.9E37) was changed into another one."""
Digits: TypeAlias = Literal["fixed", "free"]
Seconds = Annotated[float, Interval(gt=0, le=3600)]


def scpi_dmm(*, slowest_s: Seconds = 10, digits: Digits = "fixed") -> Driver[Text]:
    """SCPI multimeter in four-wire resistance: ohms as measured; `slowest_s` is longer than its integration time.

    Function, range and integration time are set at the multimeter: this driver sends no settings. Each answer contains
    its function, so a voltage is never read as a resistance. `digits` "fixed" reads sign, one digit, point, eight
    digits and an exponent of two (Keysight); "free" any number of digits (others): then a lost one is not noticed.

    A 34401A on RS-232 needs SYST:REM at the meter, which this driver does not send: it is not served on RS-232 yet.
    """
    timeout = float(slowest_s)
    return Driver(
        title="SCPI multimeter with a resistance thermometer (Keysight 344xxA, Keithley DMM6500)",
        identity=Identity(Text(b"*IDN?\n", b"\n", timeout=3.0), serial),
        polls=(
            Poll(
                Text(b"READ?;:FUNC?\n", b"\n", timeout=timeout),
                (Channel("resistance", "resistance", "Ohm"),),
                partial(resistance, digits=digits),
            ),
        ),
        serial_line=SerialLine(9600, 8, "N", 2),
        port=5025,
        settle=timeout,
        controls=(Control(Text(b"SYST:VERS?\n", b"\n", timeout=3.0), version),),
        proof="form",
    )


def _line(raw: bytes) -> str:
    return decode.line(raw, b"\r\n" if raw.endswith(b"\r\n") else b"\n")


def serial(raw: bytes) -> str:
    """Read the third field of `Keysight Technologies,34465A,MY59012345,A.02.16-…`."""
    match _line(raw).split(","):
        case [_, _, number, _]:
            return number.strip()
        case _:
            raise Unreadable("no identification of four fields", raw)


def version(raw: bytes) -> None:
    """Accept the year and number of a version of SCPI, as in `1994.0`."""
    if re.fullmatch(r"[12]\d{3}\.\d", _line(raw)) is None:
        raise Unreadable("no version of SCPI", raw)


def resistance(raw: bytes, *, digits: Digits) -> tuple[Sample]:
    """Read `+1.07793500E+02;"FRES"`; 9.9E37 is the overload of SCPI, 9.91E37 no value."""
    match re.split("; ?", _line(raw)):
        case [value, '"FRES"'] if re.fullmatch(r"[+-]?\d(\.\d{1,15})?E[+-]?\d\d", value):
            sample = decode.sample(decode.number(value), "Ohm")
        case [_, '"FRES"']:
            raise Unreadable("no resistance in the form of SCPI", raw)
        case [_, function] if re.fullmatch(r'"[A-Z:]{2,20}"', function):
            raise WrongSetting(f'the meter measures {function}; set it to four-wire resistance ("FRES")', raw)
        case _:
            raise Unreadable("no resistance with its function", raw)
    width = r"[+-]\d\.\d{8}E[+-]\d\d" if digits == "fixed" else r"[+-]?\d\.\d{1,15}E[+-]\d\d"
    if digits == "fixed" and re.match(r"[+-]?0(?![.0]*E)", value):
        raise Unreadable(f"{value} begins with 0, and SD.DDDDDDDDESDD does so for zero only", raw)
    if sample.value is not None and abs(sample.value) >= BEYOND_ANY_METER:
        raise Unreadable(f"{value} ohms, and no meter reads {BEYOND_ANY_METER} ohms or more", raw)
    if sample.value is not None and re.fullmatch(width, value) is None:
        other = '; other digits need the option digits = "free"' if digits == "fixed" else ""
        raise Unreadable(f"{value} does not have the form that the manual gives, as +1.07793500E+02{other}", raw)
    return (sample,)
