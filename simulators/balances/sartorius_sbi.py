"""A Sartorius SBI balance, in lines of 16 or 22 characters.

Source: Cubis MSE operating instructions p. 71 (a unit that is left blank until the weight is stable; unknown commands
are not answered; ESC P starts and stops autoprint where that is on); ME215S p. 135 (nine characters of weight);
labmcp-sartorius 0.1.2 (while the balance adjusts itself it sends only Cal.Int.); GraysonBellamy/sartoriuslib (50, 100,
200 or 400 ms a value, by filter).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from simulators.instrument import Answer, Choices, Spoken
from simulators.physics import Quantity, added, noise, settled, steps

if TYPE_CHECKING:
    from collections.abc import Callable

FILTERS = {b"\x1bK": 0.05, b"\x1bL": 0.1, b"\x1bM": 0.2, b"\x1bN": 0.4}
"""Seconds from value to value. Which filter has which time is our choice: a filter for less vibration is faster."""

UNITS = {"g": 0, "mg": -3, "kg": 3}
"""Units, and how many decimals more than in grams each one has."""
PATIENCE = 60.0
"""Seconds that a balance which prints at stability only waits for it (our choice); after that it prints nothing."""


@dataclass(slots=True)
class SartoriusSbi(Spoken):
    """A balance with a load; `wide` lines carry an identification of six characters.

    With `autoprint`, ESC P starts and stops a stream instead of asking for one line. `adjustment` is the time in
    seconds that ESC Z takes (our choice). `load` and `tare` are in grams. States: with `stable_only` ESC P is not
    answered before the weight is stable; with `prints` it prints without a request as soon as it has power (WZA series:
    autoprint is on from the factory). A power cycle clears the tare and sets the unit back to g.
    """

    settings: ClassVar[Choices] = {"unit": tuple(UNITS), "stable_only": ("yes", "no"), "autoprint": ("on", "off")}

    serial: str = "SIM0000002"
    load: Quantity = lambda _: 100.0
    at_rest: Callable[[float], bool] = lambda _: True
    calibrating: Callable[[float], bool] = lambda _: False
    decimals: int = 4
    capacity: float = 220.0
    unit: str = "g"
    wide: bool = True
    autoprint: bool = False
    interval: float = 0.1
    adjustment: float = 10.0
    adjusted_at: float = 0.0
    tare: float = 0.0
    stable_only: bool = False
    prints: bool = False

    def power_on(self) -> None:
        """Lose tare and unit; print at once where that is the factory's setting."""
        self.unit, self.tare, self.adjusted_at, self.autoprint = "g", 0.0, 0.0, self.prints
        self.every = self.interval if self.prints else 0.0

    def change(self, name: str, value: str) -> None:
        """Press the unit key, or set in the menu when it prints."""
        match name:
            case "unit":
                self.unit = value
            case "stable_only":
                self.stable_only = value == "yes"
            case _:
                self.autoprint = value == "on"
                self.every = self.interval if self.autoprint else 0.0

    def answer(self, request: bytes, now: float) -> Answer | None:  # noqa: PLR0911  # one line for each command
        """Answer ESC P and the questions for the identity; obey adjustment and filters without an answer."""
        match request:
            case b"\x1bP" if self.autoprint:
                self.every = 0.0 if self.every else self.interval
                return None
            case b"\x1bP":
                return self._when_stable(now) if self.stable_only else self._weight(now)
            case b"\x1bZ":
                self.adjusted_at = now + self.adjustment
                return None
            case b"\x1bx1_":
                return Answer(b"SIMULATED224-1S\r\n")
            case b"\x1bx2_":
                return Answer(f"{self.serial}\r\n".encode())
            case b"\x1bx3_":
                return Answer(b"00-20-12.01\r\n")
            case _:
                self.interval = FILTERS.get(request, self.interval)
                self.every = self.interval if self.every else 0.0
                return None

    def unasked(self, now: float) -> Answer:
        """Print the next line of the stream."""
        return self._weight(now)

    def _when_stable(self, now: float) -> Answer | None:
        """Give the weight of the instant at which it is stable; nothing where it does not become stable."""
        for tenths in range(round(10 * PATIENCE)):
            if self.at_rest(now + tenths / 10):
                return replace(self._weight(now + tenths / 10), delay=tenths / 10, measured=tenths / 10)
        return None

    def _weight(self, now: float) -> Answer:
        load = self.load(now)
        # The column of the word depends on the series of the balance; these lines are copied from the sources.
        for applies, line, state in (
            (now < self.adjusted_at or self.calibrating(now), b"Stat     Cal.Int.\r\n", "none"),
            (load > self.capacity, b"Stat       High\r\n", "over"),
            (load < -1.0, b"Stat       Low\r\n", "under"),
        ):
            if applies:
                return Answer(line, {"mass": None}, states={"mass": state})
        more = UNITS[self.unit]
        digits = f"{(load - self.tare) / 10**more:.{max(0, self.decimals + more)}f}"
        if len(digits.lstrip("-")) > 9:  # more than the field has: decimals are left out (our choice)
            digits = digits[:10] if digits.startswith("-") else digits[:9]
        sign = "-" if digits.startswith("-") else "+"
        stable = self.at_rest(now)
        prefix = "N     " if self.wide else ""
        return Answer(
            f"{prefix}{sign}{digits.lstrip('-'):>9} {self.unit if stable else '':<3}\r\n".encode(),
            {"mass": digits},
            units={"mass": self.unit},
            states={} if stable else {"mass": "unstable"},
        )


def sartorius_sbi(  # noqa: PLR0913  # each option has a name
    serial: str,
    seed: str,
    *,
    load_g: float = 50.0,
    hold_s: float = 15.0,
    settling_s: float = 0.4,
    noise_g: float = 0.0002,
    wide: bool = True,
    autoprint: bool = False,
    tare_g: float = 0.0,
    stable_only: bool = False,
    prints: bool = False,
) -> SartoriusSbi:
    """Make a balance; every `hold_s` seconds a weight of `load_g` is put on or taken off.

    The weight is stable ten times `settling_s` seconds later. It is tared with `tare_g` (until its power goes). With
    `stable_only` ESC P is silent until the weight is stable, with `prints` autoprint is on after a power cycle.
    """
    load = added(steps([load_g, 0.0], hold_s, settling_s), noise(noise_g, seed))
    return SartoriusSbi(
        serial=serial,
        load=load,
        at_rest=settled(hold_s, settling_s),
        wide=wide,
        autoprint=autoprint,
        tare=tare_g,
        stable_only=stable_only,
        prints=prints,
        every=0.1 if autoprint else 0.0,
        line="9600 8O1",
    )
