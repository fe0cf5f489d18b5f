"""Keller pressure transmitters of the X-line (33X, 35X, LEO5) over Modbus.

Source: Keller "Communication protocol Series 30/40", 4.5 (p. 10: at most 4 registers in one question from firmware
5.20-10.XX on, 2 before; exception 2 for more), 4.9 (p. 13-16: floats with the high word first; P1 and TOB1 at 0x0002
and 0x0008, from firmware 5.20-10.XX on also side by side at 0x0100).
"""

from __future__ import annotations

from functools import partial
from typing import Literal

from drivers import decode
from drivers.driver import Channel, Driver, Poll, Registers, SerialLine

PRESSURE = Channel("pressure", "pressure", "bar")
TEMPERATURE = Channel("temperature", "temperature", "Cel")


def keller_33x(*, registers: Literal[4, 2] = 4) -> Driver[Registers]:
    """Keller 33X pressure transmitter: P1 in bar and TOB1, the temperature of its sensor, in one question.

    A transmitter with firmware before 5.20-10.XX gives two registers in one question, and refuses more (illegal
    address): with `registers` = 2 pressure and temperature are asked for one after the other. It has a serial number,
    and this driver does not ask for it.
    """

    def poll(address: int, *channels: Channel) -> Poll[Registers]:
        units = [channel.unit for channel in channels]
        read = partial(decode.singles, units=units, words="high first")
        return Poll(Registers(address, 2 * len(units)), channels, read)

    both = poll(0x0100, PRESSURE, TEMPERATURE)
    return Driver(
        title="Keller 33X, 35X, LEO5 pressure transmitter (Modbus)",
        polls=(both,) if registers == 4 else (poll(0x0002, PRESSURE), poll(0x0008, TEMPERATURE)),
        serial_line=SerialLine(9600),
        port=502,
        proof="length",
    )
