"""A Sartorius SBI balance, in lines of 16 or 22 characters.

Source: Cubis MSE operating instructions p. 71 (a unit that is left blank until the weight is stable; unknown commands
are not answered; ESC P starts and stops autoprint where that is on); labmcp-sartorius 0.1.2 (while the balance adjusts
itself it sends only Cal.Int.); GraysonBellamy/sartoriuslib (50, 100, 200 or 400 ms a value, by filter).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulators.instrument import Answer, Spoken
from simulators.physics import Quantity, added, noise, settled, steps

if TYPE_CHECKING:
    from collections.abc import Callable

FILTERS = {b"\x1bK": 0.05, b"\x1bL": 0.1, b"\x1bM": 0.2, b"\x1bN": 0.4}
"""Seconds from value to value. Which filter has which time is our choice: a filter for less vibration is faster."""


@dataclass(slots=True)
class SartoriusSbi(Spoken):
    """A balance with a load; `wide` lines carry an identification of six characters.

    With `autoprint`, ESC P starts and stops a stream instead of asking for one line. `adjustment` is the time in
    seconds that ESC Z takes (our choice).
    """

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

    def answer(self, request: bytes, now: float) -> Answer | None:  # noqa: PLR0911  # one line for each command
        """Answer ESC P and the questions for the identity; obey adjustment and filters without an answer."""
        match request:
            case b"\x1bP" if self.autoprint:
                self.every = 0.0 if self.every else self.interval
                return None
            case b"\x1bP":
                return self._weight(now)
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

    def _weight(self, now: float) -> Answer:
        load = self.load(now)
        # The column of the word depends on the series of the balance; these lines are copied from the sources.
        for applies, line in (
            (now < self.adjusted_at or self.calibrating(now), b"Stat     Cal.Int.\r\n"),
            (load > self.capacity, b"Stat       High\r\n"),
            (load < -1.0, b"Stat       Low\r\n"),
        ):
            if applies:
                return Answer(line, {"mass": None})
        digits = f"{load:.{self.decimals}f}"
        sign = "-" if digits.startswith("-") else "+"
        shown = self.unit if self.at_rest(now) else ""
        prefix = "N     " if self.wide else ""
        return Answer(f"{prefix}{sign} {digits.lstrip('-'):>8} {shown:<3}\r\n".encode(), {"mass": digits})


def sartorius_sbi(
    serial: str,
    seed: str,
    *,
    load_g: float = 50.0,
    hold_s: float = 15.0,
    noise_g: float = 0.0002,
    wide: bool = True,
    autoprint: bool = False,
) -> SartoriusSbi:
    """Make a balance; every `hold_s` seconds a weight of `load_g` is put on or taken off."""
    load = added(steps([load_g, 0.0], hold_s, 0.4), noise(noise_g, seed))
    return SartoriusSbi(
        serial=serial,
        load=load,
        at_rest=settled(hold_s, 0.4),
        wide=wide,
        autoprint=autoprint,
        every=0.1 if autoprint else 0.0,
        line="9600 8O1",
    )
