"""A Mettler Toledo MT-SICS balance, levels 0 and 1.

Source: MT-SICS interface pages of the JS, AT and NewClassic operating instructions (AT p. 87: the weight is in unit 1,
`S I` while another command is executed; the serial number is sent when it is switched on); janelia-python
mettler_toledo_device_python (immediate commands are answered within 40 ms); note on the KERN KCP manual 1.3.8 (SIR at
about 15 values a second); MT-SICS reference manual 11781363, 2.1.3.3 (Error).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from simulators.instrument import Answer, Choices, Spoken
from simulators.physics import Quantity, added, noise, settled, steps

if TYPE_CHECKING:
    from collections.abc import Callable

CAPACITY = 220.0
REPEAT_INTERVAL = 1 / 15
IDENTITY = {b"@", b"I1", b"I2", b"I3", b"I4", b"I11"}
WEIGHING = {b"S", b"SI", b"SIR"}
ERRORS = tuple(f"{code}{trigger}" for code in (1, 2, 3, 9, 10, 11, 12, 14, 15) for trigger in "tb")
"""Faults of the balance, with what has triggered each."""
UNITS = {"g": 0, "mg": -3, "kg": 3}
"""Units, and how many decimals more than in grams each one has."""


@dataclass(slots=True)
class MtSics(Spoken):
    """A balance with a load, a number of decimals, and whether the weight is stable.

    `patience` is the time in seconds that it waits for stability (a setting of each balance), `adjustment` the time of
    the internal adjustment; we chose both values, the manuals say "tens of seconds" and "up to minutes". `load` and
    `tare` are in grams. States: with an `error` it sends that in the place of every weight; while `busy`, every
    question is answered with I (not now); with `streams` it sends weights without a request as soon as it has power
    (continuous mode). A power cycle ends error and busy, clears the tare and sets the unit back to g.
    """

    settings: ClassVar[Choices] = {
        "unit": tuple(UNITS),
        "busy": ("yes", "no"),
        "stream": ("on", "off"),
        "error": ("none", *ERRORS),
    }

    serial: str = "SIM0000001"
    load: Quantity = lambda _: 100.0
    at_rest: Callable[[float], bool] = lambda _: True
    decimals: int = 4
    unit: str = "g"
    patience: float = 30.0
    adjustment: float = 30.0
    adjusted_at: float = 0.0
    tare: float = 0.0
    busy: bool = False
    streams: bool = False
    error: str = ""

    def power_on(self) -> None:
        """Lose tare and unit; send weights at once where the continuous mode is set."""
        self.unit, self.tare, self.adjusted_at, self.busy, self.error = "g", 0.0, 0.0, False, ""
        self.every = REPEAT_INTERVAL if self.streams else 0.0

    def change(self, name: str, value: str) -> None:
        """Press the unit key, be busy (or no longer), start or stop the continuous mode, have a fault (or none)."""
        match name:
            case "unit":
                self.unit = value
            case "busy":
                self.busy = value == "yes"
            case "error":
                self.error = value.removeprefix("none")
            case _:
                self.every = REPEAT_INTERVAL if value == "on" else 0.0

    def answer(self, request: bytes, now: float) -> Answer | None:  # noqa: PLR0911  # one line for each command
        """Answer the commands that only read, the adjustment and the reset; answer all others as unknown."""
        if self.busy and request in WEIGHING | IDENTITY - {b"@"}:
            reply = b"S I\r\n" if request in WEIGHING else request + b" I\r\n"
            return Answer(reply, {"mass": None} if request in WEIGHING else {})
        if request in WEIGHING:
            self.every = REPEAT_INTERVAL if request == b"SIR" else 0.0
            if now < self.adjusted_at:
                return Answer(b"S I\r\n", {"mass": None}, cancels=True)
            return self._stable(now) if request == b"S" else self._weight(now, cancels=True)
        if request in IDENTITY:
            return self._identity(request)
        if request == b"C3":
            return self._adjust(now)
        if request == b"":
            return None
        # EL, "logical error", for a known command with a parameter that it does not accept: so we read the manual.
        return Answer(b"EL\r\n" if request.split(b" ")[0] in IDENTITY | WEIGHING else b"ES\r\n")

    def unasked(self, now: float) -> Answer:
        """Repeat the weight, as SIR asked for."""
        return self._weight(now)

    def _identity(self, request: bytes) -> Answer:
        if request == b"@":  # cancels commands that are not complete; whether the tare is kept depends on the model
            self.every, self.adjusted_at, self.busy = 0.0, 0.0, False
            return Answer(f'I4 A "{self.serial}"\r\n'.encode(), cancels=True)
        texts = {
            b"I1": '"01" "2.30" "2.20" "" ""',
            b"I2": f'"XS205DU SIMULATED {CAPACITY:.4f} g"',
            b"I3": '"3.10 10.28.0.493.142"',
            b"I4": f'"{self.serial}"',
            b"I11": '"XS205DU"',
        }
        return Answer(f"{request.decode()} A {texts[request]}\r\n".encode())

    def _adjust(self, now: float) -> Answer:
        if now < self.adjusted_at:
            return Answer(b"C3 I\r\n")
        self.every, self.adjusted_at = 0.0, now + self.adjustment
        return Answer(b"C3 B\r\n", then=Answer(b"C3 A\r\n", delay=self.adjustment), cancels=True)

    def _stable(self, now: float) -> Answer:
        """Give the weight when it is stable; answer S I where it is not stable within `patience`."""
        for tenths in range(round(10 * self.patience)):
            if self.at_rest(now + tenths / 10):
                weight = self._weight(now + tenths / 10, cancels=True)
                return replace(weight, delay=tenths / 10, measured=tenths / 10)
        return Answer(b"S I\r\n", {"mass": None}, self.patience, cancels=True)

    def _weight(self, now: float, *, cancels: bool = False) -> Answer:
        load = self.load(now)
        if self.error:
            return Answer(f"S S  Error {self.error}\r\n".encode(), {"mass": None}, cancels=cancels)
        if load > CAPACITY:
            return Answer(b"S +\r\n", {"mass": None}, cancels=cancels, states={"mass": "over"})
        if load < -1.0:
            return Answer(b"S -\r\n", {"mass": None}, cancels=cancels, states={"mass": "under"})
        more = UNITS[self.unit]
        digits = f"{(load - self.tare) / 10**more:.{max(0, self.decimals + more)}f}"
        stable = self.at_rest(now)
        return Answer(
            f"S {'S' if stable else 'D'} {digits:>10} {self.unit}\r\n".encode(),
            {"mass": digits},
            cancels=cancels,
            units={"mass": self.unit},
            states={} if stable else {"mass": "unstable"},
        )


def mt_sics(
    serial: str,
    seed: str,
    *,
    load_g: float = 100.0,
    hold_s: float = 20.0,
    noise_g: float = 0.0001,
    patience_s: float = 30.0,
    tare_g: float = 0.0,
    streams: bool = False,
) -> MtSics:
    """Make a balance; every `hold_s` seconds a weight of `load_g` is put on or taken off.

    It is tared with `tare_g` (until its power goes); with `streams` it sends weights without being asked.
    """
    load = added(steps([load_g, 0.0], hold_s, 0.3), noise(noise_g, seed))
    return MtSics(
        serial=serial,
        load=load,
        at_rest=settled(hold_s, 0.3),
        patience=patience_s,
        tare=tare_g,
        streams=streams,
        every=REPEAT_INTERVAL if streams else 0.0,
        line="9600 8N1",
        greeting=f'I4 A "{serial}"\r\n'.encode(),
    )
