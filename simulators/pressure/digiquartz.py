"""A Paroscientific Digiquartz barometer: one answer takes an integration, and a new question begins it anew.

Source: gas_calibrator captures of a real one (1.363 to 1.365 s in eight of eight exchanges; five of five questions
repeated after 0.6 s got nothing); manual 8819-001.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from simulators.instrument import Answer, Spoken
from simulators.physics import Quantity, added, constant, noise, swing


@dataclass(slots=True)
class Digiquartz(Spoken):
    """A barometer with its address and unit code (2: hPa)."""

    serial: str = "SIM41234"
    pressure: Quantity = lambda _: 1013.619
    address: int = 1
    unit_code: int = 2
    integration: float = 1.364

    def answer(self, request: bytes, now: float) -> Answer | None:
        """Answer what is addressed to this transducer; be silent for all else."""
        match = re.fullmatch(rb"\*(\d\d)(\d\d)([A-Z][A-Z0-9]{1,2})", request)
        if match is None or int(match[1]) not in {self.address, 99}:
            return None
        head = f"*{match[2].decode()}{self.address:02d}"
        match match[3]:
            case b"P3":
                digits = f"{self.pressure(now):.3f}"
                return Answer(f"{head}{digits}\r\n".encode(), {"pressure": digits}, self.integration)
            case b"SN":
                return Answer(f"{head}SN={self.serial}\r\n".encode())
            case b"UN":
                return Answer(f"{head}UN={self.unit_code}\r\n".encode())
            case b"VR":
                return Answer(f"{head}VR=H1.00\r\n".encode())
            case _:
                return None


def digiquartz(
    serial: str, seed: str, *, hpa: float = 1006.0, address: int = 1, integration_s: float = 1.364
) -> Digiquartz:
    """Make a barometer in air of about `hpa`."""
    pressure = added(constant(hpa), swing(1.5, 43200.0), noise(0.002, seed))
    return Digiquartz(serial=serial, pressure=pressure, address=address, integration=integration_s, restarts=True)
