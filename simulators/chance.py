"""Chooses at random which answers have a fault, and spoils them; with the same seed it is the same in each run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

    from simulators.faults import Faults

KINDS = (
    *("late", "lost", "cut", "garbled", "doubled", "echoed"),
    *("dropped", "inserted", "bit7", "framing", "rubbish"),
)
"""Faults of single answers. The order is that in which they are drawn: a new one comes last."""


@dataclass(slots=True)
class FaultChooser:
    """Decides which fault the next answer has."""

    faults: Faults
    generator: random.Random

    def next(self, now: float) -> str | None:
        """Give the kind of fault, or None; `now` is in seconds since the lab was switched on."""
        if any(start <= now < start + length for start, length in self.faults.hang):
            return "lost"
        drawn = self.generator.random()
        for kind in KINDS:
            share: float = getattr(self.faults, kind)
            if drawn < share:
                return kind
            drawn -= share
        return None

    def spoil(self, kind: str | None, request: bytes, reply: bytes) -> bytes:  # noqa: C901, PLR0911  # one a kind
        """Give what is sent instead of `reply`, which has at least one byte."""
        place = self.generator.randrange(len(reply))
        before, byte, behind = reply[:place], reply[place], reply[place + 1 :]
        match kind:
            case "cut":
                return before
            case "garbled":
                return before + bytes([byte ^ (1 << self.generator.randrange(7))]) + behind
            case "doubled":
                return reply + reply
            case "echoed":
                return request + reply
            case "lost":
                return b""
            case "dropped":
                return before + behind
            case "inserted":
                return before + bytes([self.generator.randrange(256), byte]) + behind
            case "bit7":
                return bytes(one | 0x80 for one in reply)
            case "framing":
                return before + b"\0" + behind
            case "rubbish":
                around = bytes.fromhex(self.faults.rubbish_before), bytes.fromhex(self.faults.rubbish_behind)
                return around[0] + reply + around[1]
            case _:
                return reply
