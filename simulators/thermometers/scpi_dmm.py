"""A SCPI multimeter with a platinum thermometer on its four-wire ohms.

Source: SCPI-1999 volumes 1 and 2 (READ?, FUNC?, SYST:ERR?, overload 9.9E37), IEEE 488.2 (compound questions).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from simulators.instrument import Answer, Spoken
from simulators.physics import Quantity, added, callendar_van_dusen, noise, swing


@dataclass(slots=True)
class ScpiDmm(Spoken):
    """A meter with a resistance at its terminals; it integrates twice `nplc` periods of 50 Hz."""

    serial: str = "SIM0000003"
    resistance: Quantity = lambda _: 107.7935
    function: str = "FRES"
    nplc: float = 1.0
    highest: float = 1.2e3
    errors: deque[str] = field(default_factory=deque)

    def answer(self, request: bytes, now: float) -> Answer | None:
        """Answer each question of a message; what is no question is taken or put into the error queue."""
        said: list[str] = []
        values: dict[str, str | None] = {}
        delay = 0.0
        for part in request.decode("ascii", "replace").strip().upper().split(";"):
            word = part.strip().lstrip(":")
            if word in {"READ?", "FETC?", "FETCH?"}:
                digits, known = self._measured(now)
                said.append(digits)
                values["resistance"] = known
                delay += 2 * self.nplc / 50
            elif (answer := self._setting(word)) is not None:
                said.append(answer)
            elif word not in {"*CLS", "CONF:FRES", "FUNC 'FRES'", 'FUNC "FRES"', ""}:
                self.errors.append('-113,"Undefined header"')
        return Answer((";".join(said) + "\n").encode(), values, delay) if said else None

    def _measured(self, now: float) -> tuple[str, str | None]:
        ohms = self.resistance(now)
        if ohms > self.highest:
            return "+9.90000000E+37", None
        digits = f"{ohms:+.8E}"
        return digits, digits

    def _setting(self, word: str) -> str | None:
        match word:
            case "*IDN?":
                return f"Simulated Instruments,34465A,{self.serial},A.02.16-02.40"
            case "FUNC?" | "SENS:FUNC?":
                return f'"{self.function}"'
            case "SYST:ERR?":
                return self.errors.popleft() if self.errors else '+0,"No error"'
            case _:
                return None


def scpi_dmm(
    serial: str,
    seed: str,
    *,
    celsius: float = 20.0,
    swing_k: float = 0.5,
    noise_ohm: float = 2e-5,
    nplc: float = 1.0,
) -> ScpiDmm:
    """Make a meter whose thermometer lies in a bath of about `celsius`."""
    bath = added(lambda _: celsius, swing(swing_k, 600.0))
    scatter = noise(noise_ohm, seed)
    return ScpiDmm(
        serial=serial,
        resistance=lambda t: callendar_van_dusen(bath(t)) + scatter(t),
        nplc=nplc,
        ends=(b"\r\n", b"\n"),
    )
