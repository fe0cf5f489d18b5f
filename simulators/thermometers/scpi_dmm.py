"""A SCPI multimeter that measures a platinum thermometer with four wires, in ohms.

Source: SCPI-1999 volumes 1 and 2 (READ?, FETCh?, FUNC?, SYST:ERR?, overload 9.9E37, -230 for data that are not there),
IEEE 488.2 (compound questions); Agilent 34401A user's guide p. 152 (two stop bits).
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from typing import ClassVar

from simulators.instrument import Answer, Choices, Spoken
from simulators.physics import Quantity, added, callendar_van_dusen, noise, swing

OVERLOAD = "+9.90000000E+37"


@dataclass(slots=True)
class ScpiDmm(Spoken):
    """A multimeter with a resistance at its terminals.

    It integrates twice `nplc` periods of 50 Hz, for auto-zero, and as long again with offset compensation. States: with
    the function VOLT it gives the voltage of 1 mA in its resistance (our choice); a power cycle sets it to VOLT, the
    factory's function of the sources.
    """

    settings: ClassVar[Choices] = {"function": ("FRES", "VOLT")}

    line: str = "9600 8N2"
    serial: str = "SIM0000003"
    maker: str = "Simulated Instruments"
    resistance: Quantity = lambda _: 107.7935
    function: str = "FRES"
    nplc: float = 1.0
    compensated: bool = False
    highest: float = 1.2e3
    held: str = ""
    errors: deque[str] = field(default_factory=deque)

    def power_on(self) -> None:
        """Measure a voltage, with nothing held and no error."""
        self.function, self.compensated, self.held = "VOLT", False, ""
        self.errors.clear()

    def change(self, name: str, value: str) -> None:  # noqa: ARG002  # the only setting
        """Press a function key."""
        self.function, self.held = value, ""

    def answer(self, request: bytes, now: float) -> Answer | None:
        """Answer each question of a message; apply its settings; put what is unknown into the error queue."""
        replies: list[str] = []
        values: dict[str, str | None] = {}
        delay = 0.0
        for part in request.decode("ascii", "replace").strip().upper().split(";"):
            command = part.strip().lstrip(":")
            if command == "READ?":
                self.held = self._measured(now)
                delay += (4 if self.compensated else 2) * self.nplc / 50
            if command in {"READ?", "FETC?", "FETCH?"} and self.held:
                replies.append(self.held)
                values["resistance"] = None if self.held == OVERLOAD else self.held
            elif command in {"FETC?", "FETCH?"}:
                self.errors.append('-230,"Data corrupt or stale"')
            elif (answer := self._question(command)) is not None:
                replies.append(answer)
            else:
                self._set(command)
        if not replies:
            return None
        states = {name: "over" for name, digits in values.items() if digits is None}
        units = dict.fromkeys(values, "Ohm" if self.function == "FRES" else "V")
        return Answer((";".join(replies) + "\n").encode(), values, delay, units=units, states=states)

    def _measured(self, now: float) -> str:
        ohms = self.resistance(now)
        if self.function == "VOLT":
            return f"{ohms * 1e-3:+.8E}"
        return OVERLOAD if ohms > self.highest else f"{ohms:+.8E}"

    def _set(self, command: str) -> None:
        match command.split():
            case ["*CLS"]:
                self.errors.clear()
            case ["CONF:FRES", *_] | ["FUNC" | "SENS:FUNC", "'FRES'" | '"FRES"']:
                self.function, self.held = "FRES", ""
            case ["SENS:FRES:NPLC" | "FRES:NPLC", number] if re.fullmatch(r"\d+(\.\d*)?", number):
                self.nplc = float(number)
            case ["SENS:FRES:OCOM" | "FRES:OCOM", ("ON" | "1" | "OFF" | "0") as state]:
                self.compensated = state in {"ON", "1"}
            case []:
                pass
            case _:
                self.errors.append('-113,"Undefined header"')

    def _question(self, command: str) -> str | None:
        match command:
            case "SENS:FRES:NPLC?" | "FRES:NPLC?":
                return f"{self.nplc:+.8E}"
            case "*IDN?":
                return f"{self.maker},34465A,{self.serial},A.02.16-02.40"
            case "FUNC?" | "SENS:FUNC?":
                return f'"{self.function}"'
            case "SYST:VERS?":  # SCPI-1999, volume 2, 21.21: the version that the instrument follows
                return "1994.0"
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
    """Make a multimeter whose thermometer is in a bath of about `celsius`."""
    bath = added(lambda _: celsius, swing(swing_k, 600.0))
    scatter = noise(noise_ohm, seed)
    return ScpiDmm(
        serial=serial,
        resistance=lambda t: callendar_van_dusen(bath(t)) + scatter(t),
        nplc=nplc,
        ends=(b"\r\n", b"\n"),
    )
