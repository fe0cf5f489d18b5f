"""A Vaisala PTU300 or PTB330 on its serial line: with echo and prompt after power-on, and a format that can be set.

Source: PTU300 user guide p. 71 (R, S, SEND; a value that does not fit prints as stars), 102 and 103 (FORM, its
modifiers and examples, among them the state in STAT and the flags of ERR), 111 (a purge locks the output values);
PTB330 user guide p. 71 (FORM) and 87 (?, ERRS). The modifier x.y counts the digits before and after the point: 3.1
gives `T= 31.1` (PTU300 p. 103), 4.2 gives `1020.30` (PTB220 user guide p. 21).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

from simulators.instrument import Answer, Choices, Spoken
from simulators.physics import Quantity, added, constant, noise, swing

if TYPE_CHECKING:
    from collections.abc import Mapping

UNITS = {"P": "hPa", "T": "'C", "RH": "%RH"}
UCUM = {"hPa": "hPa", "inHg": "[in_i'Hg]", "'C": "Cel", "%RH": "%"}
HECTOPASCALS = {"hPa": 1.0, "inHg": 0.0295299831}
"""Units of pressure, and their number for 1 hPa."""
NAMES = {"P": "pressure", "T": "temperature", "RH": "humidity"}
CONTROLS = {"R": "\r", "N": "\n", "T": "\t"}
PROBE = ("connected", "lost", "lost, ****.**")
"""Whether it has its probe, and which stars stand for the missing values."""
HEATING = {"off": "N 0", "probe": "h 115", "purge": "H 159.0", "purge, cooling": "S 115.0", "sensor": "X 95.0"}
"""What is heated, and what STAT prints of it. While the sensor is, the values are those of before: they are locked."""
FLAGS = ("P", "T", "", "RH")
"""The quantities of the flags of ERR; there is no second thermometer (Ta)."""
UNLOCKED = frozenset({"off", "probe"})
FACTORY_FORM = '6.1 "P=" P " " U4 3.1 "T=" T " " U3 3.1 "RH=" RH " " U4 #r #n'


@dataclass(slots=True)
class VaisalaPtu(Spoken):
    """A transmitter; a quantity that is None at an instant prints as stars.

    Stars fill the field, or are `stars` where that is set: how many there are, and whether with a point as in the
    `****.**` of the PTB210, no manual says. State: without its probe it has neither temperature nor humidity;
    while `heating` locks them, its values are those of the first question since.

    A power cycle sets echo and format back to the factory's and sends the name and the version; with `runs` (start mode
    RUN) it then sends lines without a request. Whether a transmitter keeps its format over a power cycle depends on how
    it was saved; here it does not.
    """

    settings: ClassVar[Choices] = {
        "unit": tuple(HECTOPASCALS),
        "echo": ("on", "off"),
        "stream": ("on", "off"),
        "probe": PROBE,
        "heating": tuple(HEATING),
    }
    serial: str = "SIM00006"
    model: str = "PTU300"
    quantities: Mapping[str, Quantity | None] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=lambda: dict(UNITS))
    echo: bool = True
    form: str = FACTORY_FORM
    interval: float = 1.0
    runs: bool = False
    stars: str = ""
    lost: bool = False
    heating: str = "off"
    locked_at: float | None = None

    def power_on(self) -> None:
        """Have the factory's echo, format and units; send lines at once where the start mode is RUN."""
        self.echo, self.form, self.units = True, FACTORY_FORM, dict(UNITS)
        self.every = self.interval if self.runs else 0.0
        self.heating, self.locked_at = "off", None

    def change(self, name: str, value: str) -> None:
        """Set the unit of the pressure, the echo or the mode RUN from another terminal; pull the probe off."""
        match name:
            case "unit":
                self.units = {**self.units, "P": value}
            case "echo":
                self.echo = value == "on"
            case "probe":
                self.lost, self.stars = value != "connected", value.partition(", ")[2]
            case "heating":
                self.heating, self.locked_at = value, None
            case _:
                self.every = self.interval if value == "on" else 0.0

    def answer(self, request: bytes, now: float) -> Answer | None:
        """Answer the commands that reading needs; answer all others as unknown."""
        text = request.decode("ascii", "replace").strip()
        echoed = self.echo
        answer = self._command(text, now)
        if not echoed:
            return answer
        prompt = b">" if self.echo else b""
        return replace(answer, reply=request + b"\r\n" + answer.reply + prompt)

    def unasked(self, now: float) -> Answer:
        """Give the next line in RUN mode."""
        return self._send(now)

    def _command(self, text: str, now: float) -> Answer:  # noqa: C901, PLR0911  # one line for each command
        word, _, rest = text.partition(" ")
        match word.upper(), rest.strip():
            case "SEND", "":
                return self._send(now)
            case "R", "":
                self.every = self.interval
                return Answer(b"")
            case "S", "":
                self.every = 0.0
                return Answer(b"")
            case "ERRS", "":
                passed = b"PASS\r\n" if self.model == "PTB330" else b""
                return Answer(passed + b"No errors\r\n")
            case "?", "":
                return Answer(self._information())
            case "ECHO", ("on" | "off" | "ON" | "OFF") as state:
                self.echo = state.lower() == "on"
                return Answer(f"Echo                : {state.upper()}\r\n".encode())
            case "FORM", "/":
                self.form = FACTORY_FORM
                return Answer(b"OK\r\n")
            case "FORM", ("" | "?"):
                return Answer(f"{self._shown_form()}\r\n".encode())
            case "FORM", form:
                self.form = form
                return Answer(b"OK\r\n")
            case "", "":
                return Answer(b"")
            case _:
                return Answer(b"Unknown command.\r\n")

    def _shown_form(self) -> str:
        return self.form.replace("#", "\\")

    def _information(self) -> bytes:
        modules = range(1, 3 if self.model == "PTU300" else 5)
        lines = [
            f"{self.model} / 1.01",
            f"Serial number  : {self.serial}",
            "Batch number   : SIMULATED",
            f"Output format  : {self._shown_form()}",
            "Adjust. date   : 2007-05-03",
            "Adjust. info   : SIMULATED",
            "Date           : 2007-05-08",
            "Time           : 13:42:01",
            "Start mode     : STOP",
            "Baud P D S     : 4800 E 7 1",
            "Output interval: 1 s",
            "Address        : 0",
            f"Echo           : {'ON' if self.echo else 'OFF'}",
            *(f"Module {number}       : {'BARO-1' if number == 1 else 'EMPTY'}" for number in modules),
        ]
        return "".join(f"{line}\r\n" for line in lines).encode()

    def _send(self, now: float) -> Answer:
        out, values, units, before_point, decimals, unit = "", {}, {}, 4, 1, ""
        now = self._measured_at(now)
        for item in re.findall(r'"[^"]*"|\S+', self.form):
            name = item.upper().replace("\\", "#")
            if item.startswith('"'):
                out += item.strip('"')
            elif re.fullmatch(r"\d\.\d", item):
                before_point, decimals = (int(part) for part in item.split("."))
            elif name in UNITS:
                unit = self.units[name]
                width = before_point + 1 + decimals
                digits = self._digits(name, now, decimals, width)
                values[NAMES[name]] = digits if self.heating in UNLOCKED else None
                units[NAMES[name]] = UCUM[unit]
                out += (digits or self.stars or "*" * width).rjust(width)
            elif re.fullmatch(r"U\d?", name):
                out += unit.ljust(int(name[1]))[: int(name[1])] if name[1:] else unit
            elif name.startswith("#"):
                out += "".join(
                    CONTROLS.get(letter, "") for codes in re.findall(r"#[RNT]+", name) for letter in codes[1:]
                )
            elif name == "STAT":
                out += HEATING[self.heating].ljust(7)
            elif name == "ERR":
                out += self._flags(now)
            elif name == "CS2":
                out += f"{sum(out.encode()) % 256:02X}"
            else:
                out += self.serial if name == "SN" else ""
        return Answer(out.encode(), values, 0.05, units=units)

    def _measured_at(self, now: float) -> float:
        if self.heating in UNLOCKED:
            return now
        self.locked_at = now if self.locked_at is None else self.locked_at
        return self.locked_at

    def _flags(self, now: float) -> str:
        return "".join(str(int(self._value(one, now) is None)) if one else "0" for one in FLAGS)

    def _value(self, name: str, now: float) -> float | None:
        quantity = None if self.lost and name != "P" else self.quantities.get(name)
        return None if quantity is None else quantity(now)

    def _digits(self, name: str, now: float, decimals: int, width: int) -> str | None:
        value = self._value(name, now)
        factor = HECTOPASCALS[self.units["P"]] if name == "P" else 1.0
        digits = "" if value is None else f"{value * factor:.{decimals}f}"
        return digits if 0 < len(digits) <= width else None


def vaisala_ptu(
    serial: str,
    seed: str,
    *,
    model: str = "PTU300",
    hpa: float = 1006.0,
    celsius: float = 20.5,
    percent: float = 45.0,
    runs: bool = False,
    interval_s: float = 1.0,
) -> VaisalaPtu:
    """Make a transmitter in a room of about these values.

    With `runs` it sends a line every `interval_s` seconds after a power cycle.
    """
    quantities: dict[str, Quantity | None] = {
        "P": added(constant(hpa), swing(1.5, 43200.0), noise(0.01, seed)),
        "T": added(constant(celsius), swing(0.3, 1200.0), noise(0.01, f"{seed}/t")),
        "RH": added(constant(percent), swing(4.0, 1800.0), noise(0.05, f"{seed}/h")),
    }
    return VaisalaPtu(
        serial=serial,
        model=model,
        quantities=quantities,
        runs=runs,
        interval=interval_s,
        greeting=f"{model} / 1.01\r\n>".encode(),  # the line of `?`; that it is sent after switching on is believed
        line="4800 7E1",
        ends=(b"\r\n", b"\r"),
    )
