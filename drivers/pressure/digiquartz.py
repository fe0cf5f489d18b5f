"""Paroscientific Digiquartz pressure transducers and barometers (series 1000, 6000, 745, 765, MET4).

Source: Digiquartz programming manual 8819-001; eight exchanges with a real barometer (gas_calibrator captures).
"""

from __future__ import annotations

import re
from functools import partial

from drivers import decode
from drivers.driver import Channel, Driver, Identity, Poll, Sample, SerialLine, Setup, Text, Unreadable

SLOWEST = 3.0
"""Somewhat more than twice the integration time of 1.36 s; a second question would restart the integration."""
HECTOPASCAL = "2"


def digiquartz(*, address: int = 1) -> Driver[Text]:
    """Paroscientific Digiquartz: pressure in hPa (unit code 2), one sample for each question."""

    def ask(command: str) -> Text:
        return Text(f"*{address:02d}00{command}\r\n".encode(), timeout=SLOWEST)

    return Driver(
        title="Paroscientific Digiquartz pressure reference",
        identity=Identity(ask("SN"), partial(serial, address=address)),
        setup=(Setup(ask("UN"), partial(hectopascal, address=address)),),  # a question: nothing is changed
        polls=(Poll(ask("P3"), (Channel("pressure", "pressure", "hPa"),), partial(pressure, address=address)),),
        serial_line=SerialLine(9600),
        settle=SLOWEST,
    )


def _value(raw: bytes, address: int) -> str:
    reply, header = decode.line(raw), f"*00{address:02d}"
    if not reply.startswith(header):
        raise Unreadable(f"no answer of transducer {address} to this host: expected {header}…", raw)
    return reply[len(header) :]


def serial(raw: bytes, *, address: int) -> str:
    """Read `*0001SN=41234`."""
    found = re.fullmatch(r"(?:SN=)?([A-Za-z0-9-]{1,16})", _value(raw, address))
    if found is None:
        raise Unreadable("no serial number", raw)
    return found[1]


def hectopascal(raw: bytes, *, address: int) -> None:
    """Accept only `*0001UN=2`: the answers to P3 contain no unit."""
    if _value(raw, address).removeprefix("UN=") != HECTOPASCAL:
        raise Unreadable("the transducer is not set to hPa; set its unit code to 2 (UN=2)", raw)


def pressure(raw: bytes, *, address: int) -> tuple[Sample]:
    """Read `*00011013.619`: address, then the value with its three decimals."""
    return (Sample(decode.number(_value(raw, address)), "hPa"),)
