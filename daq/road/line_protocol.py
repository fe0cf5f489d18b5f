"""InfluxDB line protocol: a record is encoded once, at the station.

Tags never change within a series; unbounded texts are fields. Values are always floats and counters always
integers, because a field that changes its type is refused by the database. Stamps are nanoseconds.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from daq.road.reading import Doubt, Event, Health, Reading

if TYPE_CHECKING:
    from daq.road.reading import Record, Series

_TAG_SPECIAL = re.compile(r"([,= ])")


def encode(record: Record, seq: int, epoch: str) -> bytes:
    """Write one record as one line, without its line end."""
    match record:
        case Reading():
            return _reading(record, seq, epoch).encode()
        case Event():
            return _event(record, seq, epoch).encode()
        case Doubt():
            return _doubt(record, seq, epoch).encode()
        case Health():
            return _health(record, seq, epoch).encode()


def _reading(reading: Reading, seq: int, epoch: str) -> str:
    value = "" if reading.value is None else f"value={reading.value},raw={reading.value},"
    serial = f',serial="{_string(reading.serial)}"' if reading.serial else ""
    flags = ("" if reading.identified else ",identified=false") + (",simulated=true" if reading.simulated else "")
    if reading.clock:
        flags += f',clock="{_string(reading.clock)}"'
    if reading.clock_at is not None:
        flags += f",clock_at={reading.clock_at}i"
    return (
        f'{_key(reading.series)} {value}text="{_string(reading.text)}",status={reading.status:d}i,'
        f'seq={seq}i,epoch="{epoch}",rtt_ms={reading.rtt_ms:.3f}{serial}{flags} {reading.at}'
    )


def _event(event: Event, seq: int, epoch: str) -> str:
    tags = f",instrument={tag(event.instrument)}" if event.instrument else ""
    until = "" if event.until is None else f",until={event.until}i"
    missed = f",missed={event.missed}i" if event.missed else ""
    raw = f',raw_text="{_string(event.raw)}"' if event.raw else ""
    return (
        f"event,station={tag(event.station)}{tags},kind={event.kind} "
        f'text="{_string(event.text)}",seq={seq}i,epoch="{epoch}"{until}{missed}{raw} {event.at}'
    )


def _doubt(doubt: Doubt, seq: int, epoch: str) -> str:
    tags = f"station={tag(doubt.station)},instrument={tag(doubt.instrument)},channel={tag(doubt.channel)}"
    return (
        f'doubt,{tags} kind="{_string(doubt.kind)}",text="{_string(doubt.text)}",seq={seq}i,epoch="{epoch}",'
        f"until={doubt.until}i {doubt.at}"
    )


def _health(health: Health, seq: int, epoch: str) -> str:
    numbers = "".join(
        f"{name}={number}{'i' if isinstance(number, int) else ''}," for name, number in health.numbers.items()
    )
    head = f'head="{health.head}",' if health.head else ""
    return f'station,station={tag(health.station)} {numbers}{head}seq={seq}i,epoch="{epoch}" {health.at}'


@cache
def _key(series: Series) -> str:
    return (
        f"reading,station={tag(series.station)},instrument={tag(series.instrument)},channel={tag(series.channel)},"
        f"quantity={tag(series.quantity)},unit={tag(series.unit)}"
    )


def tag(value: str) -> str:
    """Escape a tag value.

    What cannot be written in one is replaced: a line break by a blank, a backslash (which would escape what
    follows it, and which no InfluxDB can escape) by a slash.
    """
    return _TAG_SPECIAL.sub(r"\\\1", " ".join(value.splitlines()).replace("\\", "/") or "-")


def _string(value: str) -> str:
    """Escape a string field; a line break would end the line and is written as a backslash and a letter."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return escaped.replace("\n", "\\\\n").replace("\r", "\\\\r")
