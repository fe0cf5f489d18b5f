"""Isotech milliK precision thermometer: resistance of its platinum thermometers in ohms.

Source: milliK manual 923 issue 1.10, section 8.1; the program of a national institute (MSLNZ msl-equipment,
`isotech/millik.py`: mill:list?, and "Error: Invalid range" for a question that it cannot answer).
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import partial
from typing import Annotated, Literal

from annotated_types import Interval

from drivers import decode
from drivers.driver import Channel, Driver, Identity, Poll, Sample, Setup, Text
from drivers.errors import Unreadable

RANGES = (115, 460, 500_000)
"""Ohms; the instrument measures in the smallest range that holds what it is told."""
OVER_RANGE = Decimal("1.1")
"""A reading may exceed its range by 10 %: the exact over-range is in no source, so a readable one is rather kept."""
LOWEST = Decimal(-1)
"""Ohms: a short circuit may read a little below zero, and no thermometer does."""
Ohms = Annotated[int, Interval(gt=0, le=500_000)]
Decimals = Annotated[int, Interval(ge=1, le=9)]


def milli_k(
    *,
    channels: Literal["1", "2", "1,2"] = "1",
    range_ohm: Ohms = 130,
    wires: Literal[3, 4] = 4,
    root2: bool = False,
    decimals: Decimals = 5,
) -> Driver[Text]:
    """Isotech milliK: ohms of channel 1, 2 or both; `root2` measures with 1.41 mA, to see the self-heating."""
    current = "ROOT2" if root2 else "NORMAL"
    highest = OVER_RANGE * next(one for one in RANGES if one >= range_ohm)

    def poll(channel: str) -> Poll[Text]:
        # All settings are sent with each question: the answer is right even if somebody pressed a key meanwhile.
        ask = (
            f"SENSE:CHANNEL {channel};SENSE:FUNCTION RESISTANCE;SENSE:RESISTANCE:RANGE {range_ohm};"
            f"SENSE:RESISTANCE:WIRES {wires};SENSE:CURRENT {current};READ?\r"
        )
        read = partial(resistance, decimals=decimals, highest=highest)
        return Poll(Text(ask.encode(), b"\r", 5.0), (Channel(f"resistance-{channel}", "resistance", "Ohm"),), read)

    return Driver(
        title="Isotech milliK thermometer",
        # One line for each switch box, the milliK last. The limit of 99 keeps the search in a long wrong answer fast.
        identity=Identity(Text(b"mill:list?\r", re.compile(rb",milliK,[^\r]{0,99}\r"), timeout=5.0), serial),
        setup=(Setup(Text(b"MILLIK:REMOTE\r", b"")),),  # without it the front panel slows every answer
        polls=tuple(poll(channel) for channel in channels.split(",")),
        port=1000,
        settle=5.0,
        proof="form",  # no controls: the answer to SENSE:CHANNEL? looks like the last digits of a resistance
    )


def serial(raw: bytes) -> str:
    """Read `Isothermal Technology,milliK,21-P2460,4.0.0`, the last line of the list of devices."""
    match decode.line(raw.rpartition(b"\r")[0].rpartition(b"\r")[2] + b"\r", b"\r").split(","):
        case ["Isothermal Technology", "milliK", number, _]:
            return number.strip()
        case _:
            raise Unreadable("no milliK in the list of devices", raw)


def resistance(raw: bytes, *, decimals: int, highest: Decimal) -> tuple[Sample]:
    """Read `100.00012`. What a channel without a thermometer answers is in no source: it is Unreadable."""
    reply = decode.line(raw, b"\r")
    if reply.startswith("Error"):
        raise Unreadable(f"the milliK answers {reply!r}", raw)
    try:
        value = decode.plain(reply, decimals)
    except Unreadable as error:
        raise Unreadable(f"{error}; the option decimals (now {decimals}) says how many a resistance has", raw) from None
    if not LOWEST <= value <= highest:
        found = f"{value} ohms are not within {LOWEST} and {highest} ohms, the range with what it may exceed it by"
        raise Unreadable(f"{found}; the option range_ohm chooses the range", raw)
    return (Sample(value, "Ohm"),)
