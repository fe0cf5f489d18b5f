"""What is said of the bytes of a wire in messages."""

from __future__ import annotations

from drivers.driver import Text

_SHOWN = 80


def held_up(seconds: float) -> str:
    """Say that a time-out was noticed late."""
    return f": this process was held up for at least {seconds:.3g} s"


def places(changed: list[int]) -> str:
    """Name the first changed bytes, counted from 1."""
    return "byte " + ", ".join(str(place + 1) for place in changed[:4])


def show(raw: bytearray) -> str:
    """Show the beginning of what came."""
    shown = Text.show(bytes(raw[:_SHOWN]))
    return f'"{shown}"' if len(raw) <= _SHOWN else f'"{shown}" …'
