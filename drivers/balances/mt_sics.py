"""Mettler Toledo MT-SICS (levels 0 and 1): the balances of Mettler Toledo; Kern KCP uses the same commands.

Source: MT-SICS interface descriptions of the JS, AT and NewClassic balances (interface pages), and the replies that
a national laboratory's balances gave (MSLNZ Mass-Circular-Weighing, `equip/mettler.py`).
"""

from __future__ import annotations

from typing import Literal

from drivers import decode
from drivers.driver import Channel, Driver, Identity, Poll, Sample, SerialLine, Status, Text, Unreadable

UNITS = {"g": "g", "mg": "mg", "kg": "kg"}
ERRORS = {"ES": "unknown command", "ET": "transmission error", "EL": "wrong parameter"}


def mt_sics(*, unit: Literal["g", "mg", "kg"] = "g", wait_for_stability: bool = False) -> Driver[Text]:
    """Mettler Toledo MT-SICS balance: net weight, as shown at once (SI) or when stable (S)."""
    # The balance waits for stability for some tens of seconds (a setting of each balance), and then answers S I.
    ask = Text(b"S\r\n", timeout=60.0) if wait_for_stability else Text(b"SI\r\n")
    return Driver(
        title="Mettler Toledo MT-SICS balance (also Kern KCP)",
        identity=Identity(Text(b"I4\r\n"), serial),
        polls=(Poll(ask, (Channel("mass", "mass", unit),), weight),),
        serial_line=SerialLine(9600, flow="xonxoff"),
        port=8001,
        settle=ask.timeout,
    )


def serial(raw: bytes) -> str:
    """Read `I4 A "B123456789"`."""
    match decode.line(raw).split(" "):
        case ["I4", "A", number] if number != '""':  # an empty number would identify any balance
            return decode.quoted(number)
        case _:
            raise Unreadable('no serial number: expected I4 A "…"', raw)


def weight(raw: bytes) -> tuple[Sample]:
    """Read `S S     100.00 g`: status, then the weight right-aligned in ten characters, then the unit."""
    reply = decode.line(raw)
    match reply.split():
        case ["S", "S" | "D" as stability, value, shown] if len(reply) - len(shown) >= 15:
            status = Status.GOOD if stability == "S" else Status.UNSTABLE
            return (Sample(decode.number(value), decode.unit(shown, UNITS), status),)
        case ["S", "+"]:
            return (Sample.missing(Status.OVERRANGE),)
        case ["S", "-"]:
            return (Sample.missing(Status.UNDERRANGE),)
        case ["S", "I"]:
            return (Sample.missing(Status.INVALID),)
        case ["ES" | "ET" | "EL" as error]:
            raise Unreadable(f"the balance answers {error}: {ERRORS[error]}", raw)
        case _:
            raise Unreadable("no weight: expected S S or S D, ten characters, unit", raw)
