"""True quantities as functions of time, to be combined; with the same seed and instant, the value is the same.

Time is in seconds since the lab was switched on.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Sequence
from functools import lru_cache

Quantity = Callable[[float], float]


def constant(value: float) -> Quantity:
    """Give the same value at all times."""
    return lambda _: value


def added(*parts: Quantity) -> Quantity:
    """Add quantities."""
    return lambda t: sum(part(t) for part in parts)


def swing(amplitude: float, period: float, phase: float = 0.0) -> Quantity:
    """Vary as a sine, like a room temperature over a day: `amplitude` around zero, one cycle in `period` seconds."""
    return lambda t: amplitude * math.sin(2 * math.pi * (t / period + phase))


def drift(per_hour: float) -> Quantity:
    """Change by `per_hour` in each hour."""
    return lambda t: per_hour * t / 3600


def noise(sigma: float, seed: str) -> Quantity:
    """Give noise with standard deviation `sigma`: independent for each millisecond, the same at each call."""
    if sigma == 0:
        return constant(0.0)

    @lru_cache(maxsize=1)  # an answer needs the same instant twice: for the bytes and for the truth file
    def at(millisecond: int) -> float:
        digest = hashlib.blake2b(f"{seed}/{millisecond}".encode(), digest_size=8).digest()
        return random.Random(digest).gauss(0.0, sigma)

    return lambda t: at(round(t * 1000))


def steps(levels: Sequence[float], hold: float, settling: float) -> Quantity:
    """Go through `levels`, `hold` seconds each, approaching each one exponentially with time constant `settling`.

    This is what a balance measures while loads are put on and taken off.
    """

    def at(t: float) -> float:
        index = int(t // hold)
        since = t - index * hold
        target = levels[index % len(levels)]
        before = levels[(index - 1) % len(levels)] if index else target
        return target + (before - target) * math.exp(-since / settling)

    return at


def settled(hold: float, settling: float) -> Callable[[float], bool]:
    """Tell whether `steps` with the same times is stable: ten time constants after each change of the load."""
    return lambda t: t < hold or t % hold > 10 * settling


def hysteresis(source: Quantity, width: float, look_back: float = 60.0) -> Quantity:
    """Give `source` minus half of `width` while it rises, plus half of `width` while it falls."""
    return lambda t: source(t) - math.copysign(width / 2, source(t) - source(max(0.0, t - look_back)))


def callendar_van_dusen(celsius: float, r0: float = 100.0) -> float:
    """Give the resistance in ohms of an industrial platinum thermometer (IEC 60751:2008, 4.2) at `celsius`."""
    a, b, c = 3.9083e-3, -5.775e-7, -4.183e-12
    below = c * (celsius - 100) * celsius**3 if celsius < 0 else 0.0
    return r0 * (1 + a * celsius + b * celsius**2 + below)
