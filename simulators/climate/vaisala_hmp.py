"""A Vaisala HMP humidity probe over Modbus: floats, low word first; a missing value is not-a-number.

Source: HMP4 quick guide p. 20; HMP110 user guide p. 78 (test registers) and 87; HMT330 user guide p. 202 (16-bit
values); HMDW110 user guide p. 82 (test registers); HMP series user guide M212022EN p. 108 (error bits in 0x0203) and
M212022EN-K, status registers (0x0201: 0 while the output is locked; 0x0207 and 0x0208: states of the values).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from simulators.physics import Quantity, added, constant, noise, swing
from simulators.registers import MOST_REGISTERS, digits_of, single_high_first, single_low_first, states_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulators.instrument import Values

NAN = float("nan")
PLACES = {0x0000: "humidity", 0x0002: "temperature"}
BROKEN_TEMPERATURE, BROKEN_HUMIDITY = 0x0001, 0x0002
NOT_AVAILABLE, LOCKED = 0x0001, 0x0020
TEST = {0x1F00: -12345 & 0xFFFF, 0x1F03: 0x2D31, 0x1F04: 0x3233, 0x1F05: 0x2E34, 0x1F06: 0x3500}
"""Test registers: -12345 and the text "-123.45"; between them stands -123.45, which shows the order of words."""


@dataclass(slots=True)
class VaisalaHmp:
    """A probe with relative humidity in % and temperature in degrees Celsius.

    With `swapped` a gateway in between exchanges the two words of each single. With `locked` it is being purged: its
    values are those of its start.
    """

    units: ClassVar[Mapping[str, str]] = {"humidity": "%", "temperature": "Cel"}

    humidity: Quantity
    temperature: Quantity
    line: str = "19200 8N2"
    most: int = MOST_REGISTERS
    swapped: bool = False
    locked: bool = False

    @property
    def places(self) -> Mapping[int, str]:
        """Give the addresses of humidity and temperature as singles."""
        return PLACES

    def registers(self, now: float) -> Mapping[int, int]:
        """Give measured values, dew point, state and test values; what it does not measure is not-a-number."""
        humidity, temperature = self._measured(now)
        dew = _dew_point(humidity, temperature)
        singles = dict.fromkeys(range(0, 0x16, 2), NAN)
        singles |= {0x0000: humidity, 0x0002: temperature, 0x0006: dew, 0x0008: dew, 0x1F01: -123.45}
        table = dict(TEST)
        for address, value in singles.items():
            table[address], table[address + 1] = (single_high_first if self.swapped else single_low_first)(value)
        errors = BROKEN_HUMIDITY * math.isnan(humidity) | BROKEN_TEMPERATURE * math.isnan(temperature)
        table |= {0x0100: _hundredths(humidity), 0x0101: _hundredths(temperature)}
        table |= {0x0200: int(not errors), 0x0201: int(not self.locked), 0x0203: errors, 0x0204: 0}
        for address, value in ((0x0207, humidity), (0x0208, temperature)):
            table[address] = NOT_AVAILABLE * math.isnan(value) | LOCKED * self.locked
        return table

    def values(self, now: float) -> Values:
        """Give what the registers of humidity and temperature hold; None where it says that this is no value."""
        if self.locked:
            return {"humidity": None, "temperature": None}
        return {"humidity": digits_of(self.humidity(now)), "temperature": digits_of(self.temperature(now))}

    def states(self, now: float) -> Mapping[str, str]:
        """Give the state of humidity and temperature where it is not good."""
        return states_of({"humidity": self.humidity(now), "temperature": self.temperature(now)})

    def _measured(self, now: float) -> tuple[float, float]:
        at = 0.0 if self.locked else now
        return self.humidity(at), self.temperature(at)


def _hundredths(value: float) -> int:
    """Give a value as a 16-bit register of hundredths; 0x8000: no value, 0x7FFF: too large, 0x8001: too small."""
    if math.isnan(value):
        return 0x8000
    return round(min(max(value * 100, -0x7FFF), 0x7FFF)) & 0xFFFF


def _dew_point(humidity: float, temperature: float) -> float:
    """Magnus formula over water, accurate to some tenths of a kelvin."""
    if not (humidity > 0 and math.isfinite(temperature)):
        return float("nan")
    gamma = math.log(humidity / 100) + 17.62 * temperature / (243.12 + temperature)
    return 243.12 * gamma / (17.62 - gamma)


def vaisala_hmp(
    serial: str,  # noqa: ARG001  # this simulator sends none
    seed: str,
    *,
    percent: float = 45.0,
    celsius: float = 20.5,
    swapped: bool = False,
    locked: bool = False,
) -> VaisalaHmp:
    """Make a probe in a room of about `percent` relative humidity and `celsius`."""
    return VaisalaHmp(
        added(constant(percent), swing(4.0, 1800.0), noise(0.05, seed)),
        added(constant(celsius), swing(0.3, 1200.0), noise(0.01, f"{seed}/t")),
        swapped=swapped,
        locked=locked,
    )
