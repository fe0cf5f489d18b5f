"""Any Modbus device that gives IEEE 754 singles in contiguous registers: for a device without a driver of its own.

Source: Modbus application protocol V1.1b3, 6.3 and 6.4 (holding and input registers, at most 125 in one question; 4.3:
addresses from 0 to 65535); the order of the two words of a single is not standardised and stands in the manual of the
device.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from annotated_types import Interval, Len, Predicate

from drivers import decode
from drivers.driver import Channel, Driver, Poll, Registers, SerialLine
from drivers.options import Number

Address = Annotated[int, Interval(ge=0, le=65535)]
Count = Annotated[int, Interval(ge=1, le=62)]
Word = Annotated[str, Len(1, 40), Predicate(str.isascii), Predicate(str.isprintable)]
Code = Annotated[Number, Interval(ge=-3.4028235e38, le=3.4028235e38)]


def modbus_singles(
    *,
    address: Address = 0,
    count: Count = 1,
    words: Literal["high first", "low first"] = "high first",
    table: Literal["holding", "input"] = "holding",
    quantity: Word = "value",
    unit: Word = "1",
    no_value: tuple[Code, ...] = (),
) -> Driver[Registers]:
    """Any Modbus device: `count` singles from register `address` (from 0), all of one quantity and unit (UCUM).

    `no_value` are the numbers by which the device says that it has none, such as -9999.
    """
    if address + 2 * count > 65536:
        raise ValueError(f"address: {count} singles from register {address} on end behind 65535, the last register")
    channels = tuple(Channel(f"v{number}", quantity, unit) for number in range(1, count + 1))
    codes = frozenset(map(decode.nearest_single, no_value))
    return Driver(
        title="Any Modbus device with singles",
        polls=(
            Poll(
                Registers(address, 2 * count, table),
                channels,
                partial(decode.singles, units=[unit] * count, words=words, no_value=codes),
            ),
        ),
        serial_line=SerialLine(19200, 8, "E", 1),  # the default of Modbus over serial line V1.02, 2.5.1
        port=502,
        proof="length",
    )
