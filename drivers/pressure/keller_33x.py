"""Keller pressure transmitters of the X-line (33X, 35X, LEO5) over Modbus.

Source: Keller "Communication protocol Series 30/40", p. 13-16: floats with the high word first, channels from
register 0 (CH0, P1, P2, T, TOB1, TOB2).
"""

from __future__ import annotations

from drivers import decode
from drivers.driver import Channel, Driver, Poll, Registers, Sample, SerialLine


def keller_33x() -> Driver[Registers]:
    """Keller 33X pressure transmitter: P1 in bar and TOB1, the temperature of its sensor."""
    return Driver(
        title="Keller 33X, 35X, LEO5 pressure transmitter (Modbus)",
        polls=(
            Poll(
                Registers(0x0002, 8),  # P1 to TOB1 in one question
                (Channel("pressure", "pressure", "bar"), Channel("temperature", "temperature", "Cel")),
                pressure_and_temperature,
            ),
        ),
        serial_line=SerialLine(9600),
        port=502,
        proof="length",
    )


def pressure_and_temperature(raw: bytes) -> tuple[Sample, Sample]:
    """Read P1 and TOB1, high word first; infinity is out of range, not-a-number a failed channel."""
    decode.length(raw, 16)
    return decode.single(raw[0:4], "bar", words="high first"), decode.single(raw[12:16], "Cel", words="high first")
