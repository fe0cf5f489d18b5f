"""Paroscientific Digiquartz pressure transducers and barometers (series 1000, 6000, 745, 765, MET4).

Source: Digiquartz programming manual 8819-001; eight exchanges with a real barometer (gas_calibrator captures); the
logger of a 6000-16B (dqLoggerP4.py, University of Massachusetts: answers to SN, UN, VR and MN begin with that name).
"""

from __future__ import annotations

import re
from functools import partial
from typing import Annotated

from annotated_types import Interval

from drivers import decode
from drivers.driver import Channel, Control, Driver, Identity, Poll, Sample, SerialLine, Setup, Text
from drivers.errors import Unreadable, WrongSetting

SLOWEST = 3.0
"""Somewhat more than twice the integration time of 1.36 s; a second question would restart the integration."""
HECTOPASCAL = "2"
Address = Annotated[int, Interval(ge=1, le=98)]  # 0 is the host, 99 all transducers of the line
Decimals = Annotated[int, Interval(ge=1, le=9)]


def digiquartz(*, address: Address = 1, decimals: Decimals = 3) -> Driver[Text]:
    """Paroscientific Digiquartz: pressure in hPa (unit code 2), one sample for each question.

    `decimals` are the digits after the point: three in the recorded exchanges, others by the settings XM and XN.
    """

    def ask(command: str) -> Text:
        return Text(f"*{address:02d}00{command}\r\n".encode(), timeout=SLOWEST)

    read = partial(pressure, address=address, decimals=decimals)
    return Driver(
        title="Paroscientific Digiquartz pressure reference",
        identity=Identity(ask("SN"), partial(serial, address=address)),
        setup=(Setup(ask("UN"), partial(hectopascal, address=address), proves=True),),  # a question: nothing is changed
        polls=(Poll(ask("P3"), (Channel("pressure", "pressure", "hPa"),), read),),
        serial_line=SerialLine(9600),
        settle=SLOWEST,
        controls=(Control(ask("VR"), partial(version, address=address)),),
        quieting=(ask("P3"),),  # any command ends continuous sampling (P4, P7)
        proof="form",
    )


def _value(raw: bytes, address: int, name: str = "") -> str:
    reply, header = decode.line(raw), f"*00{address:02d}{name}"
    if not reply.startswith(header):
        raise Unreadable(f"no answer of transducer {address} to this host: expected {header}…", raw)
    return reply[len(header) :]


def serial(raw: bytes, *, address: int) -> str:
    """Read `*0001SN=41234`."""
    found = re.fullmatch(r"[A-Za-z0-9-]{1,16}", _value(raw, address, "SN="))
    if found is None:
        raise Unreadable("no serial number", raw)
    return found[0]


def version(raw: bytes, *, address: int) -> None:
    """Accept `*0001VR=H1.00`."""
    if not _value(raw, address, "VR=").strip():
        raise Unreadable("no version of the firmware", raw)


def hectopascal(raw: bytes, *, address: int) -> None:
    """Accept only `*0001UN=2`: the answers to P3 contain no unit."""
    code = _value(raw, address, "UN=")
    if re.fullmatch(r"\d{1,2}", code) is None:
        raise Unreadable("no unit code", raw)
    if code != HECTOPASCAL:
        raise WrongSetting("the transducer is not set to hPa; set its unit code to 2 (UN=2)", raw)


def pressure(raw: bytes, *, address: int, decimals: int) -> tuple[Sample]:
    """Read `*00011013.619`: address, then the value, whose width is not fixed, but the digits after its point."""
    try:
        return (Sample(decode.plain(_value(raw, address), decimals), "hPa"),)
    except Unreadable as error:
        raise Unreadable(f"{error}; the option decimals (now {decimals}) says how many a pressure has", raw) from None
