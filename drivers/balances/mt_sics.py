"""Mettler Toledo MT-SICS (levels 0 and 1): the balances of Mettler Toledo; Kern KCP uses the same commands.

Source: MT-SICS interface descriptions of the JS, AT and NewClassic balances (interface pages: S, SI, SIR, I2, I3, I4),
MT-SICS reference manual 11781363, 2.1.3.3 (Error, code and trigger in the place of a weight), and the replies that a
national laboratory's balances gave (MSLNZ Mass-Circular-Weighing, `equip/mettler.py`).
"""

from __future__ import annotations

import re
from functools import partial
from typing import Literal

from drivers import decode
from drivers.driver import Channel, Control, Driver, Identity, Poll, Sample, SerialLine, Status, Text
from drivers.errors import Unreadable

UNITS = {"g": "g", "mg": "mg", "kg": "kg"}
ERRORS = {"ES": "unknown command", "ET": "transmission error", "EL": "wrong parameter"}
FAULT = re.compile(r"S S +Error (?:1|2|3|9|10|11|12|14|15)[tb]")
"""In the place of a weight: the code of a fault of the balance and what has triggered it. The number of blanks before
"Error" is not certain."""
WITHOUT_WEIGHT = {"S +": Status.OVERRANGE, "S -": Status.UNDERRANGE, "S I": Status.INVALID}


def mt_sics(*, unit: Literal["g", "mg", "kg"] = "g", wait_for_stability: bool = False) -> Driver[Text]:
    """Mettler Toledo MT-SICS balance: net weight, as shown at once (SI) or when stable (S)."""
    # The balance waits for stability for some tens of seconds (a setting of each balance), and then answers S I.
    ask = Text(b"S\r\n", timeout=60.0) if wait_for_stability else Text(b"SI\r\n")
    stamp: Literal["answer", "middle"] = "answer" if wait_for_stability else "middle"
    return Driver(
        title="Mettler Toledo MT-SICS balance (also Kern KCP)",
        identity=Identity(Text(b"I4\r\n"), serial),
        polls=(Poll(ask, (Channel("mass", "mass", unit),), weight, stamp),),
        serial_line=SerialLine(9600, flow="xonxoff"),
        port=8001,
        settle=ask.timeout,
        controls=tuple(Control(Text(f"{name}\r\n".encode()), partial(about, name=name)) for name in ("I2", "I3")),
        quieting=(Text(b"SI\r\n"),),  # S, SI and @ end SIR; never @, which may clear a tare
        proof="form",
    )


def serial(raw: bytes) -> str:
    """Read `I4 A "B123456789"`."""
    reply = decode.line(raw)
    if reply == "I4 I":
        raise Unreadable("the balance is busy and does not give its serial number now (I4 I)", raw)
    found = re.fullmatch(r'I4 A "([^"]*)"', reply)  # an empty one identifies nothing, which is for `identifies` to say
    if found is None:
        raise Unreadable('no serial number: expected I4 A "…"', raw)
    return found[1]


def about(raw: bytes, *, name: str) -> None:
    """Accept `I2 A "XS205DU Excellence 220.0000 g"` or `I3 A "3.10 10.28.0.493.142"`.

    Also `I2 I` of a busy balance, and ES of one that does not know the command: they came in time. What stands in the
    quotation marks is not looked at; by the manual it may be in any 8-bit character.
    """
    if re.fullmatch(rf'(?:{name} (?:A "[^\r\n]*"|[IL])|E[SLT])\r\n'.encode(), raw) is None:
        raise Unreadable(f'no answer to {name}: expected {name} A "…"', raw)


def weight(raw: bytes) -> tuple[Sample]:
    """Read `S S     100.00 g`: status, then the weight right-aligned in ten characters, then the unit.

    `S S  Error 10b` is a balance with a fault: it has no weight.
    """
    reply = decode.line(raw)
    if reply in WITHOUT_WEIGHT:
        return (Sample.missing(WITHOUT_WEIGHT[reply]),)
    if FAULT.fullmatch(reply):
        return (Sample.missing(Status.INVALID),)
    if reply in ERRORS:
        raise Unreadable(f"the balance answers {reply}: {ERRORS[reply]}", raw)
    match = re.fullmatch(r"S ([SD]) ([ 0-9.-]{10}) (\S{1,5})", reply)
    if match is None:
        raise Unreadable("no weight: expected S S or S D, ten characters, unit", raw)
    stability, value, shown = match.groups()
    number = decode.plain(value.lstrip(" "))
    return (Sample(number, decode.unit(shown, UNITS), Status.GOOD if stability == "S" else Status.UNSTABLE),)
