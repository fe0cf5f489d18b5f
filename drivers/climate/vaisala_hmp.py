"""Vaisala humidity and temperature probes over Modbus (HMP110, HMP4, HMT330, HMDW and similar series).

Source: HMP4 quick guide p. 20; HMP110 user guide p. 78 and 87; HMT330 user guide p. 202: floats with the low word
first, not-a-number where a value is missing.
"""

from __future__ import annotations

from functools import partial

from drivers import decode
from drivers.driver import Channel, Driver, Poll, Registers, SerialLine


def vaisala_hmp() -> Driver[Registers]:
    """Vaisala HMP probe: relative humidity in % and temperature in degrees Celsius, in one question."""
    return Driver(
        title="Vaisala HMP, HMT, HMDW humidity probe (Modbus)",
        polls=(
            Poll(
                Registers(0x0000, 4),
                (Channel("humidity", "relative_humidity", "%"), Channel("temperature", "temperature", "Cel")),
                partial(decode.singles, units=("%", "Cel"), words="low first"),
            ),
        ),
        serial_line=SerialLine(19200, 8, "N", 2),
        port=502,
        proof="length",
    )
