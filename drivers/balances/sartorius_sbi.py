"""Sartorius SBI (printer interface): the balances of Sartorius and Minebea in 16 or 22 characters a line.

Source: Cubis MSE operating instructions p. 71; GD/GE/TE interface description p. 57; a recording of a real MSE balance
(GraysonBellamy/sartoriuslib); Quintix p. 87, LE p. 51, FB p. 66, Entris II p. 3 and Master series p. 79 (words and
errors in the place of a weight), ME215S p. 135 (nine digits, N1); BP 3100 P p. 62 (x1_ and x2_ are all that it knows).
"""

from __future__ import annotations

import re
from typing import Literal

from drivers import decode
from drivers.driver import Channel, Driver, Identity, Poll, Sample, SerialLine, Status, Text
from drivers.errors import Unreadable

UNITS = {"g": "g", "mg": "mg", "kg": "kg"}
NOT_WEIGHING = {
    **dict.fromkeys(("High", "H"), Status.OVERRANGE),
    **dict.fromkeys(("Low", "L"), Status.UNDERRANGE),
    **dict.fromkeys(("Cal.Int.", "Cal.Ext.", "C", "OFF"), Status.INVALID),
    **dict.fromkeys(("HH", "LL"), Status.INVALID),  # beyond the limits of checkweighing, not of the balance
    **dict.fromkeys(("--", ""), Status.INVALID),  # nothing is displayed
}
NARROW, WIDEST = 14, 20
"""Characters of a line before its CR LF, without and with an identification."""
WEIGHT = re.compile(r"(?:N {5}|N1 {4})?([+ -])([ 0-9.]{9}) ([A-Za-z%/]{1,3} {0,2}|   )")


def sartorius_sbi(*, unit: Literal["g", "mg", "kg"] = "g", wait_for_stability: bool = False) -> Driver[Text]:
    """Sartorius SBI balance: net weight, one line for each question (autoprint must be off).

    `wait_for_stability` says that the balance is set to print when it is stable only (manual print, with stability).
    """
    ask = Text(b"\x1bP\r\n", timeout=60.0 if wait_for_stability else 1.0)
    stamp: Literal["answer", "middle"] = "answer" if wait_for_stability else "middle"
    # With autoprint on, ESC P starts or stops it instead of printing one line: then lines arrive without a question,
    # and the link refuses them. So ESC P is no quieting: it starts a stream as often as it ends one.
    return Driver(
        title="Sartorius SBI balance (also Minebea)",
        identity=Identity(Text(b"\x1bx2_\r\n"), serial),
        polls=(Poll(ask, (Channel("mass", "mass", unit),), weight, stamp),),
        serial_line=SerialLine(9600, 8, "O", 1, "rtscts"),
        port=49155,
        settle=ask.timeout,
        # No controls beside the identity: ESC x1_ gives a model, which looks like a serial number, and balances that do
        # not know ESC x3_ are silent: after one lost answer they would never be trusted again.
        proof="form",
    )


def serial(raw: bytes) -> str:
    """Read a line that contains only the serial number, as in `0037402012`; the words of a state have no digit."""
    reply = decode.line(raw)
    found = re.fullmatch(r" {0,16}((?=[A-Za-z-]*\d)[A-Za-z0-9-]{1,20}) {0,16}", reply)
    if found is None or WEIGHT.fullmatch(reply):  # a weight without point, sign and unit: "    123561    "
        raise Unreadable("no serial number", raw)
    return found[1]


def weight(raw: bytes) -> tuple[Sample]:
    """Read `+   123.56 g  ` or `N     +   123.56 g  `: sign, value in nine characters, unit in three.

    The balance leaves the unit blank until the weight is stable: such a value is unstable, and its unit is that of the
    display, which this line does not show.
    """
    reply = decode.line(raw)
    if (status := _not_weighing(reply)) is not None:
        return (Sample.missing(status),)
    match = WEIGHT.fullmatch(reply)
    if match is None or len(reply) not in {NARROW, WIDEST}:
        raise Unreadable("no net weight in 16 or 22 characters", raw)
    sign, value, shown = match.groups()
    number = decode.plain(sign.strip(" +") + value.strip(" "))
    if shown.strip():
        return (Sample(number, decode.unit(shown.strip(), UNITS)),)
    return (Sample(number, None, Status.UNSTABLE),)


def _not_weighing(reply: str) -> Status | None:
    """Give the status of a word or an error that stands in the place of a weight."""
    # The column of these words differs from series to series, so only the width of the line is checked.
    if len(reply) > WIDEST:
        return None
    if re.fullmatch(r"(Stat +| *)(E(rr|RR) +\d{1,3}|(APP|DIS|PRT)\.ERR( +\d{1,3})?) *", reply):
        return Status.INVALID
    word = re.fullmatch(r"(Stat)? +(\S*) *", reply)
    if word is None:
        return None
    named, shown = word.groups()
    if not (named and shown) and len(reply) != (WIDEST if named else NARROW):
        return None  # a short line without "Stat", or without a word, may be part of another one
    return NOT_WEIGHING.get(shown)
