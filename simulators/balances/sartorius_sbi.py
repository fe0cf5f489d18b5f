"""A Sartorius SBI balance, in lines of 16 or 22 characters.

Source: Cubis MSE operating instructions p. 71 (a unit that is left blank until the weight is stable; unknown commands
are not answered; ESC P starts and stops autoprint where that is on).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from simulators.instrument import Answer, Spoken
from simulators.physics import Quantity, added, noise, settled, steps

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(slots=True)
class SartoriusSbi(Spoken):
    """A balance with a load; `wide` lines carry an identification of six characters."""

    serial: str = "SIM0000002"
    load: Quantity = lambda _: 100.0
    at_rest: Callable[[float], bool] = lambda _: True
    calibrating: Callable[[float], bool] = lambda _: False
    decimals: int = 4
    capacity: float = 220.0
    unit: str = "g"
    wide: bool = True

    def answer(self, request: bytes, now: float) -> Answer | None:
        """Know ESC P and the three questions for the identity."""
        match request:
            case b"\x1bP":
                return self._weight(now)
            case b"\x1bx1_":
                return Answer(b"SIMULATED224-1S\r\n")
            case b"\x1bx2_":
                return Answer(f"{self.serial}\r\n".encode())
            case b"\x1bx3_":
                return Answer(b"00-20-12.01\r\n")
            case _:
                return None

    def _weight(self, now: float) -> Answer:
        load = self.load(now)
        for holds, word in (
            (self.calibrating(now), "Cal.Int."),
            (load > self.capacity, "High"),
            (load < -1.0, "Low"),
        ):
            if holds:
                return Answer(f"Stat     {word:>11}\r\n".encode(), {"mass": None})
        digits = str(round(Decimal(load), self.decimals))
        sign = "-" if digits.startswith("-") else "+"
        shown = self.unit if self.at_rest(now) else ""
        head = "N     " if self.wide else ""
        return Answer(f"{head}{sign} {digits.lstrip('-'):>8} {shown:<3}\r\n".encode(), {"mass": digits})


def sartorius_sbi(
    serial: str,
    seed: str,
    *,
    load_g: float = 50.0,
    hold_s: float = 15.0,
    noise_g: float = 0.0002,
    wide: bool = True,
) -> SartoriusSbi:
    """Make a balance on which a weight of `load_g` comes and goes every `hold_s` seconds."""
    load = added(steps([load_g, 0.0], hold_s, 0.4), noise(noise_g, seed))
    return SartoriusSbi(serial=serial, load=load, at_rest=settled(hold_s, 0.4), wide=wide, line="9600 8O1")
