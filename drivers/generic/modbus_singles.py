"""Any Modbus device that gives IEEE 754 singles in contiguous registers: for a device without a driver of its own.

Source: Modbus application protocol V1.1b3, 6.3 and 6.4 (holding and input registers); the order of the two words of a
single is not standardised and stands in the manual of the device.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

from drivers import decode
from drivers.driver import Channel, Driver, Poll, Registers, Sample, SerialLine


def modbus_singles(
    *,
    address: int = 0,
    count: int = 1,
    words: Literal["high first", "low first"] = "high first",
    table: Literal["holding", "input"] = "holding",
    quantity: str = "value",
    unit: str = "1",
) -> Driver[Registers]:
    """Any Modbus device: `count` singles from register `address` (from 0), all of one quantity and unit (UCUM)."""
    channels = tuple(Channel(f"v{number}", quantity, unit) for number in range(1, count + 1))
    read = partial(singles, words=words, unit=unit, count=count)
    return Driver(
        title="Any Modbus device with singles",
        polls=(Poll(Registers(address, 2 * count, table), channels, read),),
        serial_line=SerialLine(
            19200, 8, "E", 1
        ),  # the default of the specification: Modbus over serial line V1.02, 2.5.1
        port=502,
    )


def singles(raw: bytes, *, words: Literal["high first", "low first"], unit: str, count: int) -> tuple[Sample, ...]:
    """Read `count` singles; infinity is out of range, not-a-number no value."""
    decode.length(raw, 4 * count)
    return tuple(decode.single(raw[place : place + 4], unit, words=words) for place in range(0, 4 * count, 4))
