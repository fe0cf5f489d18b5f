"""A Keller 33X pressure transmitter over Modbus: floats, high word first.

Source: Keller "Communication protocol Series 30/40" p. 10 (at most 4 registers in one question, 2 before firmware
5.20-10.XX, else exception 2) and p. 13-16 (over-range infinite, channel error not-a-number; 0x0100 from 5.20-10.XX on).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from simulators.physics import Quantity, added, constant, noise, swing
from simulators.registers import digits_of, single_high_first, states_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulators.instrument import Values

NAN = float("nan")
OLD_PLACES = {0x0002: "pressure", 0x0008: "temperature"}
PLACES = {**OLD_PLACES, 0x0100: "pressure", 0x0102: "temperature"}
"""P1 and TOB1 at both of their addresses; CH0 is computed from them, and we do not read it."""
FIRMWARE = (0x0514, 0x0D01)
"""Class 5, group 20, year 13, week 1: the example of F48. Our choice: the registers contain the same bytes."""


@dataclass(slots=True)
class Keller33x:
    """A transmitter with P1 in bar and TOB1 in degrees Celsius.

    It gives `most` registers in one question: 4, or 2 with firmware before 5.20-10.XX, which has none at 0x0100.
    """

    units: ClassVar[Mapping[str, str]] = {"pressure": "bar", "temperature": "Cel"}

    pressure: Quantity
    temperature: Quantity
    line: str = "9600 8N1"
    most: int = 4

    @property
    def places(self) -> Mapping[int, str]:
        """Give the addresses of P1 and TOB1."""
        return OLD_PLACES if self.most == 2 else PLACES

    def registers(self, now: float) -> Mapping[int, int]:
        """Give CH0, P1, P2, T, TOB1, TOB2 from register 0 on; newer firmware also P1, TOB1 from 0x0100 on."""
        p1, tob1 = self.pressure(now), self.temperature(now)
        table: dict[int, int] = {}
        for index, value in enumerate((p1, p1, NAN, NAN, tob1, NAN)):
            table[2 * index], table[2 * index + 1] = single_high_first(value)
        if self.most == 2:
            return table
        for index, value in enumerate((p1, tob1, NAN, NAN)):
            table[0x100 + 2 * index], table[0x101 + 2 * index] = single_high_first(value)
        table[0x020E], table[0x020F] = FIRMWARE
        return table

    def values(self, now: float) -> Values:
        """Give the digits of P1 and TOB1."""
        return {"pressure": digits_of(self.pressure(now)), "temperature": digits_of(self.temperature(now))}

    def states(self, now: float) -> Mapping[str, str]:
        """Give the state of P1 and TOB1 where it is not good."""
        return states_of({"pressure": self.pressure(now), "temperature": self.temperature(now)})


def keller_33x(serial: str, seed: str, *, bar: float = 0.97, celsius: float = 22.0, registers: int = 4) -> Keller33x:  # noqa: ARG001  # this simulator sends none
    """Make a transmitter at about `bar`; with `registers` = 2 it has firmware before 5.20-10.XX."""
    return Keller33x(
        added(constant(bar), swing(0.01, 300.0), noise(2e-5, seed)),
        added(constant(celsius), noise(0.01, f"{seed}/t")),
        most=registers,
    )
