"""A Mettler Toledo MT-SICS balance, levels 0 and 1.

Source: MT-SICS interface pages of the JS, AT and NewClassic operating instructions; janelia-python
mettler_toledo_device_python (immediate commands are answered within 40 ms).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from simulators.instrument import Answer, Spoken
from simulators.physics import Quantity, added, noise, settled, steps

if TYPE_CHECKING:
    from collections.abc import Callable

CAPACITY = 220.0


@dataclass(slots=True)
class MtSics(Spoken):
    """A balance with a load, its digits, and whether the pan is at rest."""

    serial: str = "SIM0000001"
    load: Quantity = lambda _: 100.0
    at_rest: Callable[[float], bool] = lambda _: True
    decimals: int = 4
    unit: str = "g"

    def answer(self, request: bytes, now: float) -> Answer | None:  # noqa: PLR0911  # one line for each command
        """Know the commands that only read, and the reset; answer all others as unknown."""
        match request:
            case b"SI":
                return self._weight(now)
            case b"S":
                return self._weight(now) if self.at_rest(now) else Answer(b"S I\r\n", {"mass": None}, 3.0)
            case b"I4" | b"@":
                return Answer(f'I4 A "{self.serial}"\r\n'.encode())
            case b"I1":
                return Answer(b'I1 A "01" "2.30" "2.20" "" ""\r\n')
            case b"I2":
                return Answer(f'I2 A "XS205DU SIMULATED {CAPACITY:.4f} g"\r\n'.encode())
            case b"I3":
                return Answer(b'I3 A "3.10 10.28.0.493.142"\r\n')
            case b"":
                return None
            case _:
                return Answer(b"ES\r\n")

    def _weight(self, now: float) -> Answer:
        load = self.load(now)
        if load > CAPACITY:
            return Answer(b"S +\r\n", {"mass": None})
        if load < -1.0:
            return Answer(b"S -\r\n", {"mass": None})
        digits = str(round(Decimal(load), self.decimals))
        stability = "S" if self.at_rest(now) else "D"
        return Answer(f"S {stability} {digits:>10} {self.unit}\r\n".encode(), {"mass": digits})


def mt_sics(serial: str, seed: str, *, load_g: float = 100.0, hold_s: float = 20.0, noise_g: float = 0.0001) -> MtSics:
    """Make a balance on which a weight of `load_g` comes and goes every `hold_s` seconds."""
    load = added(steps([load_g, 0.0], hold_s, 0.3), noise(noise_g, seed))
    return MtSics(
        serial=serial,
        load=load,
        at_rest=settled(hold_s, 0.3),
        line="9600 8N1",
        greeting=f'I4 A "{serial}"\r\n'.encode(),
    )
