"""Vaisala on a serial line: PTB330 (pressure) and PTU300 (pressure, temperature, humidity).

Source: PTB330 user guide p. 71 (FORM), 83, 101; PTU300 user guide p. 102-103 (FORM modifiers and examples).
"""

from __future__ import annotations

import re
from typing import Literal

from drivers import decode
from drivers.driver import Channel, Driver, Identity, Poll, Sample, SerialLine, Setup, Status, Text, Unreadable

UNITS = {"hPa": "hPa", "'C": "Cel", "%RH": "%"}
REST = rb"[^\r\n]{0,120}\r\n>?"
"""The rest of the last line. Limited in length: a search in 64 KiB of "OKOKOK" would block the station for seconds."""
PRESSURE = Channel("pressure", "pressure", "hPa")
THREE = (
    PRESSURE,
    Channel("temperature", "temperature", "Cel"),
    Channel("humidity", "relative_humidity", "%"),
)


def vaisala_ptu(*, model: Literal["ptb330", "ptu300"] = "ptu300") -> Driver[Text]:
    """Vaisala PTB330 or PTU300: pressure in hPa, with a PTU300 also temperature and humidity, in one answer."""
    # Values, units and a checksum: each value is sent with the unit to which the display is set.
    form = b'"P=" 8.3 P " " U4'
    if model == "ptu300":
        form += b' "T=" 7.3 T " " U3 "RH=" 6.2 RH " " U4'
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
    )


def serial(raw: bytes) -> str:
    """Find `Serial number  : A1234567` in the answer to `?`."""
    found = re.search(rb"^Serial number *: *([A-Z0-9]{6,12})\r\n", raw, re.MULTILINE)
    if found is None:
        raise Unreadable("no line with a serial number in the device information", raw)
    return found[1].decode()


def values(raw: bytes) -> tuple[Sample, ...]:
    """Read `P= 1013.200 hPa T=  21.300 'C RH=  38.30 %RH ` and the sum of its bytes modulo 256 in two hex digits."""
    reply = decode.line(raw)
    message, checksum = reply[:-2], reply[-2:]
    if checksum != f"{sum(message.encode()) % 256:02X}":
        raise Unreadable("the checksum does not fit", raw)
    match re.findall(r"(P|T|RH)= *(-?[0-9.]+|\*+) +(\S+) *", message):
        case [("P", *pressure)]:
            return (_sample(*pressure),)
        case [("P", *pressure), ("T", *temperature), ("RH", *humidity)]:
            return _sample(*pressure), _sample(*temperature), _sample(*humidity)
        case _:
            raise Unreadable("no values in the format that was set", raw)


def _sample(value: str, shown: str) -> Sample:
    if value.startswith("*"):
        return Sample.missing(Status.INVALID)
    return Sample(decode.number(value), decode.unit(shown, UNITS))
