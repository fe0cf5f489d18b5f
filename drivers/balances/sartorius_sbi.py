"""Sartorius SBI (printer interface): the balances of Sartorius and Minebea in 16 or 22 characters a line.

Source: Cubis MSE operating instructions p. 71; GD/GE/TE interface description p. 57; a recording of a real MSE balance
(GraysonBellamy/sartoriuslib).
"""

from __future__ import annotations

import re
from functools import partial
from typing import Literal

from drivers import decode
from drivers.driver import Channel, Driver, Identity, Poll, Sample, SerialLine, Status, Text, Unreadable

UNITS = {"g": "g", "mg": "mg", "kg": "kg"}
NOT_WEIGHING = {
    "High": Status.OVERRANGE,
    "Low": Status.UNDERRANGE,
    "Cal.Int.": Status.INVALID,
    "Cal.Ext.": Status.INVALID,
    "OFF": Status.INVALID,
}


def sartorius_sbi(*, unit: Literal["g", "mg", "kg"] = "g") -> Driver[Text]:
    """Sartorius SBI balance: net weight, one line for each question (autoprint must be off)."""
    # With autoprint on, ESC P starts or stops it instead of printing one line: then lines arrive without a question,
    # and the link refuses them.
    return Driver(
        title="Sartorius SBI balance (also Minebea)",
        identity=Identity(Text(b"\x1bx2_\r\n"), serial),
        polls=(Poll(Text(b"\x1bP\r\n"), (Channel("mass", "mass", unit),), partial(weight, unit=unit)),),
        serial_line=SerialLine(9600, 8, "O", 1, "rtscts"),
        port=49155,
        settle=1.0,
    )


def serial(raw: bytes) -> str:
    """Read a line that contains only the serial number, as in `0037402012`."""
    found = re.fullmatch(r" *([A-Za-z0-9-]{4,20}) *", decode.line(raw))
    if found is None:
        raise Unreadable("no serial number", raw)
    return found[1]


def weight(raw: bytes, *, unit: str) -> tuple[Sample]:
    """Read `+   123.56 g  ` or `N     +   123.56 g  `: sign, value in eight characters, unit in three.

    The balance leaves the unit blank until the weight is stable: such a value is valid, in the unit of the display,
    and unstable.
    """
    reply = decode.line(raw)
    words = reply.split()
    if words[:1] == ["Stat"] and words[-1] in NOT_WEIGHING:
        return (Sample.missing(NOT_WEIGHING[words[-1]]),)
    if words and re.fullmatch(r"Err|(APP|DIS|PRT)\.ERR", words[-1 if len(words) == 1 else 0]):
        return (Sample.missing(Status.INVALID),)
    match = re.fullmatch(r"(?:N {5})?([+ -]) ([ 0-9.]{8}) ([A-Za-z ]{3})", reply)
    if match is None:
        raise Unreadable("no net weight in 16 or 22 characters", raw)
    sign, value, shown = match.groups()
    number = decode.number(sign.strip() + value.strip())
    if shown.strip():
        return (Sample(number, decode.unit(shown.strip(), UNITS)),)
    return (Sample(number, unit, Status.UNSTABLE),)
