"""An Isotech milliK with one switch box connected to it.

Source: milliK manual 923 issue 1.10, section 8.1; MSLNZ msl-equipment `isotech/millik.py` and its example session.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from simulators.instrument import Answer, Spoken
from simulators.physics import Quantity, added, callendar_van_dusen, noise, swing

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(slots=True)
class MilliK(Spoken):
    """A thermometer with a resistance on each channel."""

    serial: str = "SIM-P0004"
    box: str = "SIM-P2593"
    resistances: Mapping[str, Quantity] = field(default_factory=lambda: {"1": lambda _: 100.00012})
    integration: float = 0.3
    remote: bool = False
    channel: str = "1"

    def power_on(self) -> None:
        """Be in local mode with channel 1: it sends nothing, and is slower until it is told to be remote."""
        self.remote, self.channel = False, "1"

    def answer(self, request: bytes, now: float) -> Answer | None:
        """Obey a line of settings and answer its READ?; settings stay for later lines."""
        reply = None
        for part in request.decode("ascii", "replace").upper().split(";"):
            match part.split():
                case ["MILLIK:REMOTE"]:
                    self.remote = True
                case ["MILLIK:LOCAL"]:
                    self.remote = False
                case ["MILL:LIST?"]:
                    reply = Answer(
                        f"Isothermal Technology,millisKanner,{self.box},2.01\r".encode()
                        + f"Isothermal Technology,milliK,{self.serial},4.0.0\r".encode()
                    )
                case ["SENSE:CHANNEL", number]:
                    self.channel = number
                case ["READ?"] if self.channel in self.resistances:
                    reply = self._read(self.channel, now)
        return reply

    def _read(self, channel: str, now: float) -> Answer:
        digits = f"{self.resistances[channel](now):.5f}"
        # In local mode the instrument is slower, as the manual says; the factor of 3 is a guess.
        delay = self.integration if self.remote else 3 * self.integration
        return Answer(
            f"{digits}\r".encode(), {f"resistance-{channel}": digits}, delay, units={f"resistance-{channel}": "Ohm"}
        )


def milli_k(
    serial: str, seed: str, *, celsius: float = 25.0, noise_ohm: float = 1e-5, integration_s: float = 0.3
) -> MilliK:
    """Make a milliK with a thermometer of 100 ohms at 0 degrees in a bath of about `celsius` on channels 1 and 2."""
    bath = added(lambda _: celsius, swing(0.05, 900.0))

    def probe(number: str) -> Quantity:
        scatter = noise(noise_ohm, f"{seed}/{number}")
        return lambda t: callendar_van_dusen(bath(t)) + scatter(t)

    resistances = {"1": probe("1"), "2": probe("2")}
    return MilliK(serial=serial, resistances=resistances, integration=integration_s, ends=(b"\r\n", b"\r"))
