"""A Keller 33X pressure transmitter over Modbus: floats, high word first.

Source: Keller "Communication protocol Series 30/40" p. 13-16.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulators.physics import Quantity, added, constant, noise, swing
from simulators.registers import digits_of, single_high_first

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulators.instrument import Values

NAN = float("nan")


@dataclass(slots=True)
class Keller33x:
    """A transmitter with P1 in bar and TOB1 in degrees Celsius."""

    pressure: Quantity
    temperature: Quantity
    line: str = "9600 8N1"

    def registers(self, now: float) -> Mapping[int, int]:
        """Give CH0, P1, P2, T, TOB1, TOB2 from register 0 on, and P1, TOB1 from 0x0100 on."""
        p1, tob1 = self.pressure(now), self.temperature(now)
        table: dict[int, int] = {}
        for place, value in enumerate((p1, p1, NAN, NAN, tob1, NAN)):
            table[2 * place], table[2 * place + 1] = single_high_first(value)
        for place, value in enumerate((p1, tob1, NAN, NAN)):
            table[0x100 + 2 * place], table[0x101 + 2 * place] = single_high_first(value)
        return table

    def values(self, now: float) -> Values:
        """Give what P1 and TOB1 hold."""
        return {"pressure": digits_of(self.pressure(now)), "temperature": digits_of(self.temperature(now))}


def keller_33x(serial: str, seed: str, *, bar: float = 0.97, celsius: float = 22.0) -> Keller33x:  # noqa: ARG001  # it tells no serial number
    """Make a transmitter at about `bar`."""
    return Keller33x(
        added(constant(bar), swing(0.01, 300.0), noise(2e-5, seed)),
        added(constant(celsius), noise(0.01, f"{seed}/t")),
    )
