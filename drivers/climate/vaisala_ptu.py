"""Vaisala on a serial line: PTB330 (pressure) and PTU300 (pressure, temperature, humidity).

Source: PTB330 user guide p. 71 (FORM; "quantity value or * characters"), 83, 101; PTU300 user guide p. 71 (R, S and
Esc; stars for a value that there is not), 102-103 (FORM modifiers and examples: x.y is x digits, the point and y
digits, U4 four characters; STAT seven characters, `N 0`, `H 159.0`; ERR four flags for P, T, Ta and RH) and 111 (a
chemical purge locks the output values for about 6 minutes); PTB210 user guide p. 13-15 (the sister prints `****.**`).
"""

from __future__ import annotations

import re
from typing import Literal

from drivers import decode
from drivers.driver import Channel, Driver, Identity, Poll, Sample, SerialLine, Setup, Status, Text
from drivers.errors import Unreadable

UNITS = {"hPa": "hPa", "'C": "Cel", "%RH": "%"}
REST = rb"[^\r\n]{0,120}\r\n>?"
"""The rest of the last line. Limited in length: a search in 64 KiB of "OKOKOK" would block the station for seconds."""
PRESSURE = Channel("pressure", "pressure", "hPa")
THREE = (
    PRESSURE,
    Channel("temperature", "temperature", "Cel"),
    Channel("humidity", "relative_humidity", "%"),
)
MISSING = r"[ .]*\*[ .*]*"
"""What stands in the place of a value that there is not: how many stars, and whether with a point, no manual says."""
VALUES = re.compile(
    rf"P=(.{{12}}|{MISSING}) (.{{4}})"
    rf"(?:T=(.{{11}}|{MISSING}) (.{{3}})RH=(.{{9}}|{MISSING}) (.{{4}})([NhHSX]) [ .\d]{{1,6}}([01]{{4}}))?"
)
LOCKED = frozenset("HSX")
"""Purge heating, purge cooling, sensor heating: the values are those of before."""
RUNNING = "where lines come unasked, it is in RUN mode: the option stop_run = true ends that (command S)"


def vaisala_ptu(*, model: Literal["ptb330", "ptu300"] = "ptu300", stop_run: bool = False) -> Driver[Text]:
    """Vaisala PTB330 or PTU300: pressure in hPa, with a PTU300 also temperature and humidity, in one answer.

    `stop_run` permits to end the RUN mode, in which it sends lines without being asked, until it is switched on anew.
    """
    # Values, units and a checksum: each value is sent with the unit to which the display is set.
    form = b'"P=" 8.3 P " " U4'
    if model == "ptu300":
        form += b' "T=" 7.3 T " " U3 "RH=" 6.2 RH " " U4 STAT ERR'
    modules = b"4" if model == "ptb330" else b"2"
    return Driver(
        title="Vaisala PTB330 barometer, PTU300 transmitter (serial)",
        identity=Identity(Text(b"?\r", re.compile(b"Module " + modules + REST), timeout=3.0), serial),
        setup=(
            Setup(Text(b"echo off\r", re.compile(b"OFF" + REST))),
            Setup(Text(b"FORM " + form + b" CS2 #r #n\r", re.compile(b"(OK|Output format)" + REST))),
        ),
        polls=(Poll(Text(b"SEND\r", timeout=2.0), (PRESSURE,) if model == "ptb330" else THREE, values),),
        serial_line=SerialLine(4800, 7, "E", 1),
        settle=2.0,
        quieting=(Text(b"S\r", b""),) if stop_run else (),
        proof="checksum and form",
    )


def serial(raw: bytes) -> str:
    """Find `Serial number  : A1234567` in the answer to `?`."""
    found = re.search(rb"^Serial number *: *([A-Z0-9]{1,12})\r\n", raw, re.MULTILINE)
    if found is None:
        raise Unreadable(f"no line with a serial number in the device information; {RUNNING}", raw)
    return found[1].decode()


def values(raw: bytes) -> tuple[Sample, ...]:
    """Read `P=    1013.200 hPa T=     21.300 'C RH=    38.30 %RH N 0    0000` and the sum of its bytes mod 256, in hex.

    No values are those that are locked (purge, sensor heating), and those that have an error flag. A PTB330 sends the
    first part alone.
    """
    reply = decode.line(raw)
    message, checksum = reply[:-2], reply[-2:]
    if checksum != f"{sum(message.encode()) % 256:02X}":
        raise Unreadable(f"the checksum does not fit; {RUNNING}", raw)
    match = VALUES.fullmatch(message)
    if match is None:
        raise Unreadable("no values in the format that was set", raw)
    pressure, hectopascal, temperature, celsius, humidity, percent, state, errors = match.groups()
    if temperature is None:
        return (_sample(pressure, hectopascal, 3),)
    samples = _sample(pressure, hectopascal, 3), _sample(temperature, celsius, 3), _sample(humidity, percent, 2)
    wrong = (state in LOCKED or flag == "1" for flag in (errors[0], errors[1], errors[3]))
    return tuple(Sample.missing(Status.INVALID) if bad else one for one, bad in zip(samples, wrong, strict=True))


def _sample(value: str, shown: str, decimals: int) -> Sample:
    if re.fullmatch(MISSING, value):
        return Sample.missing(Status.INVALID)
    number = decode.plain(value.lstrip(" "), decimals)
    if not shown.strip():
        raise Unreadable("a value without its unit, which the format that was set contains")
    return Sample(number, decode.unit(shown.rstrip(" "), UNITS))
