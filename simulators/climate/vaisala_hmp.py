"""A Vaisala HMP humidity probe over Modbus: floats, low word first; a missing value is not-a-number.

Source: HMP4 quick guide p. 20; HMP110 user guide p. 78 and 87; HMT330 user guide p. 202.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulators.physics import Quantity, added, constant, noise, swing
from simulators.registers import digits_of, single_low_first

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulators.instrument import Values


@dataclass(slots=True)
class VaisalaHmp:
    """A probe with relative humidity in % and temperature in degrees Celsius."""

    humidity: Quantity
    temperature: Quantity
    line: str = "19200 8N2"

    def registers(self, now: float) -> Mapping[int, int]:
        """Give the measured values, the dew point, the state and the words of the probe."""
        humidity, temperature = self.humidity(now), self.temperature(now)
        dew = _dew_point(humidity, temperature)
        table: dict[int, int] = dict.fromkeys(range(0x16), 0)
        for address, value in ((0x0000, humidity), (0x0002, temperature), (0x0006, dew), (0x0008, dew)):
            table[address], table[address + 1] = single_low_first(value)
        good = math.isfinite(humidity) and math.isfinite(temperature)
        table |= {0x0200: int(good), 0x0201: 1}
        return table

    def values(self, now: float) -> Values:
        """Give what the registers of humidity and temperature hold."""
        return {"humidity": digits_of(self.humidity(now)), "temperature": digits_of(self.temperature(now))}


def _dew_point(humidity: float, temperature: float) -> float:
    """Magnus formula over water, good to some tenths of a kelvin."""
    if not (humidity > 0 and math.isfinite(temperature)):
        return float("nan")
    gamma = math.log(humidity / 100) + 17.62 * temperature / (243.12 + temperature)
    return 243.12 * gamma / (17.62 - gamma)


def vaisala_hmp(serial: str, seed: str, *, percent: float = 45.0, celsius: float = 20.5) -> VaisalaHmp:  # noqa: ARG001  # it tells no serial number
    """Make a probe in a room of about `percent` relative humidity and `celsius`."""
    return VaisalaHmp(
        added(constant(percent), swing(4.0, 1800.0), noise(0.05, seed)),
        added(constant(celsius), swing(0.3, 1200.0), noise(0.01, f"{seed}/t")),
    )
