"""Sartorius SBI (printer interface): the balances of Sartorius and Minebea in 16 or 22 characters a line.

Source: Cubis MSE operating instructions p. 71; GD/GE/TE interface description p. 57; a recording of a real MSE balance
(GraysonBellamy/sartoriuslib).
"""

from __future__ import annotations

import re
from typing import Literal

from drivers import decode
from drivers.driver import Channel, Control, Driver, Identity, Poll, Sample, SerialLine, Status, Text
from drivers.errors import Unreadable

UNITS = {"g": "g", "mg": "mg", "kg": "kg"}
NOT_WEIGHING = {
    "High": Status.OVERRANGE,
    "Low": Status.UNDERRANGE,
    "Cal.Int.": Status.INVALID,
    "Cal.Ext.": Status.INVALID,
    "OFF": Status.INVALID,
}
WIDEST = 20
"""Characters of a line before its CR LF."""


def sartorius_sbi(*, unit: Literal["g", "mg", "kg"] = "g") -> Driver[Text]:
    """Sartorius SBI balance: net weight, one line for each question (autoprint must be off)."""
    # With autoprint on, ESC P starts or stops it instead of printing one line: then lines arrive without a question,
    # and the link refuses them. So ESC P is no quieting: it starts a stream as often as it ends one.
    return Driver(
        title="Sartorius SBI balance (also Minebea)",
        identity=Identity(Text(b"\x1bx2_\r\n"), serial),
        polls=(Poll(Text(b"\x1bP\r\n"), (Channel("mass", "mass", unit),), weight),),
        serial_line=SerialLine(9600, 8, "O", 1, "rtscts"),
        port=49155,
        settle=1.0,
        controls=(Control(Text(b"\x1bx3_\r\n"), software),),  # no ESC x1_: a model looks like a serial number
        proof="form",
    )


def serial(raw: bytes) -> str:
    """Read a line that contains only the serial number, as in `0037402012`; the words of a state have no digit."""
    found = re.fullmatch(r" {0,16}((?=[A-Za-z-]*\d)[A-Za-z0-9-]{1,20}) {0,16}", decode.line(raw))
    if found is None:
        raise Unreadable("no serial number", raw)
    return found[1]


def software(raw: bytes) -> None:
    """Accept a software version, as in `00-20-12.01`: no serial number has its point, no weight its hyphens."""
    if re.fullmatch(r" {0,16}\w{1,4}(-\w{1,4}){1,3}\.\w{1,4} {0,16}", decode.line(raw)) is None:
        raise Unreadable("no software version", raw)


def weight(raw: bytes) -> tuple[Sample]:
    """Read `+   123.56 g  ` or `N     +   123.56 g  `: sign, value in eight characters, unit in three.

    The balance leaves the unit blank until the weight is stable: such a value is unstable, and its unit is that of the
    display, which this line does not show.
    """
    reply = decode.line(raw)
    # The column of these words differs from series to series, so only the width of the line is checked.
    if (status := re.fullmatch(r"Stat +(\S+) *", reply)) and status[1] in NOT_WEIGHING and len(reply) <= WIDEST:
        return (Sample.missing(NOT_WEIGHING[status[1]]),)
    if re.fullmatch(r"(Stat +| *)(Err +\d{1,3}|(APP|DIS|PRT)\.ERR( +\d{1,3})?) *", reply) and len(reply) <= WIDEST:
        return (Sample.missing(Status.INVALID),)
    match = re.fullmatch(r"(?:N {5})?([+ -]) ([ 0-9.]{8}) ([A-Za-z]{1,3} {0,2}|   )", reply)
    if match is None or len(reply) not in {14, WIDEST}:
        raise Unreadable("no net weight in 16 or 22 characters", raw)
    sign, value, shown = match.groups()
    number = decode.plain(sign.strip(" +") + value.strip(" "))
    if shown.strip():
        return (Sample(number, decode.unit(shown.strip(), UNITS)),)
    return (Sample(number, None, Status.UNSTABLE),)
