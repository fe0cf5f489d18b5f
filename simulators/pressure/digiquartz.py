"""A Paroscientific Digiquartz barometer: each answer needs an integration, and a new question restarts it.

Source: gas_calibrator captures of a real one (1.363 to 1.365 s in eight of eight exchanges; five of five questions
repeated after 0.6 s got nothing); manual 8819-001.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import ClassVar

from simulators.instrument import Answer, Choices, Spoken
from simulators.physics import Quantity, added, constant, noise, swing

UNITS = {1: ("[psi]", 0.0145037738, 5), 2: ("hPa", 1.0, 3), 4: ("kPa", 0.1, 4)}
"""Unit code: unit (UCUM), its number for 1 hPa, decimals. Only code 2 is in a source that we have read; 1 and 4 are
believed, and their decimals are our choice."""


@dataclass(slots=True)
class Digiquartz(Spoken):
    """A barometer with its address and unit code (2: hPa).

    EW permits the next command to write. Of all settings only `UN=2` can be written: the other unit codes are not in
    any source that we have read. State: somebody else sets another unit code, and all answers are in that unit, which
    they do not show. A power cycle sets `factory_unit_code` and ends continuous sampling.
    """

    settings: ClassVar[Choices] = {"unit_code": tuple(map(str, UNITS))}
    serial: str = "SIM41234"
    pressure: Quantity = lambda _: 1013.619
    address: int = 1
    unit_code: int = 2
    integration: float = 1.364
    head: str = "*0001"
    factory_unit_code: int = 2

    def power_on(self) -> None:
        """Be as after switching on: it sends nothing."""
        self.every, self.unit_code = 0.0, self.factory_unit_code

    def change(self, name: str, value: str) -> None:  # noqa: ARG002  # the only setting
        """Set the unit from another computer."""
        self.unit_code = int(value)

    def answer(self, request: bytes, now: float) -> Answer | None:  # noqa: PLR0911  # one line for each command
        """Answer what is addressed to this transducer; answer nothing else."""
        match = re.fullmatch(rb"\*(\d\d)(\d\d)(EW\*\1\2)?([A-Z][A-Z0-9]{1,2}(?:=\d)?)", request)
        if match is None or int(match[1]) not in {self.address, 99}:
            return None
        self.head = f"*{match[2].decode()}{self.address:02d}"
        match match[4].decode():
            case "P3":
                self.every = 0.0
                return replace(self.unasked(now), delay=self.integration)
            case "P4":
                self.every = self.integration
                return Answer(b"", cancels=True)
            case "SN":
                return self._reply(f"SN={self.serial}")
            case "UN":
                return self._reply(f"UN={self.unit_code}")
            case "UN=2" if match[3]:  # our choice: a setting is answered like the question for it
                self.unit_code = 2
                return self._reply("UN=2")
            case "VR":
                return self._reply("VR=H1.00")
            case _:
                return None

    def unasked(self, now: float) -> Answer:
        """Give the next sample, as P4 asked for."""
        unit, factor, decimals = UNITS[self.unit_code]
        digits = f"{self.pressure(now) * factor:.{decimals}f}"
        return replace(self._reply(digits), values={"pressure": digits}, units={"pressure": unit})

    def _reply(self, text: str) -> Answer:
        """Answer, and restart the integration."""
        return Answer(f"{self.head}{text}\r\n".encode(), cancels=True)


def digiquartz(
    serial: str,
    seed: str,
    *,
    hpa: float = 1006.0,
    address: int = 1,
    integration_s: float = 1.364,
    factory_unit_code: int = 2,
) -> Digiquartz:
    """Make a barometer in air of about `hpa`; after a power cycle it has `factory_unit_code`."""
    pressure = added(constant(hpa), swing(1.5, 43200.0), noise(0.002, seed))
    return Digiquartz(
        serial=serial,
        pressure=pressure,
        address=address,
        integration=integration_s,
        factory_unit_code=factory_unit_code,
    )
