"""Isotech milliK precision thermometer: resistance of its platinum thermometers in ohms.

Source: milliK manual 923 issue 1.10, section 8.1; the program of a national institute (MSLNZ msl-equipment,
`isotech/millik.py`).
"""

from __future__ import annotations

import re
from typing import Literal

from drivers import decode
from drivers.driver import Channel, Driver, Identity, Poll, Sample, Setup, Text, Unreadable


def milli_k(
    *,
    channels: Literal["1", "2", "1,2"] = "1",
    range_ohm: int = 130,
    wires: Literal[3, 4] = 4,
    root2: bool = False,
) -> Driver[Text]:
    """Isotech milliK: ohms of channel 1, 2 or both; `root2` measures with 1.41 mA, to see the self-heating."""
    current = "ROOT2" if root2 else "NORMAL"

    def poll(channel: str) -> Poll[Text]:
        # All settings are sent with each question: the answer is right even if somebody pressed a key meanwhile.
        ask = (
            f"SENSE:CHANNEL {channel};SENSE:FUNCTION RESISTANCE;SENSE:RESISTANCE:RANGE {range_ohm};"
            f"SENSE:RESISTANCE:WIRES {wires};SENSE:CURRENT {current};READ?\r"
        )
        return Poll(
            Text(ask.encode(), b"\r", timeout=5.0),
            (Channel(f"resistance-{channel}", "resistance", "Ohm"),),
            resistance,
        )

    return Driver(
        title="Isotech milliK thermometer",
        # One line for each switch box, the milliK last. The limit of 99 keeps the search in a long wrong answer fast.
        identity=Identity(Text(b"mill:list?\r", re.compile(rb",milliK,[^\r]{0,99}\r"), timeout=5.0), serial),
        setup=(Setup(Text(b"MILLIK:REMOTE\r", b"")),),  # without it the front panel slows every answer
        polls=tuple(poll(channel) for channel in channels.split(",")),
        port=1000,
        settle=5.0,
    )


def serial(raw: bytes) -> str:
    """Read `Isothermal Technology,milliK,21-P2460,4.0.0`, the last line of the list of devices."""
    match decode.line(raw.rpartition(b"\r")[0].rpartition(b"\r")[2] + b"\r", b"\r").split(","):
        case ["Isothermal Technology", "milliK", number, _] if number.strip():
            return number.strip()
        case _:
            raise Unreadable("no milliK in the list of devices", raw)


def resistance(raw: bytes) -> tuple[Sample]:
    """Read `100.00012`."""
    return (Sample(decode.number(decode.line(raw, b"\r").strip()), "Ohm"),)
