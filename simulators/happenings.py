"""What happens to an instrument while the lab runs: no power, another instrument, a key that is pressed, an XOFF."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulators.faults import Faults
    from simulators.place import RegisterPlace, TextPlace
    from simulators.speaker import Speaker

XOFF = b"\x13"


async def happen(place: TextPlace | RegisterPlace, speaker: Speaker, faults: Faults) -> None:
    """Do everything at its instant; ends when nothing is left."""
    for at, action in sorted(plan(place, speaker, faults), key=lambda one: one[0]):
        await asyncio.sleep(max(0.0, speaker.started + at - time.monotonic()))
        action()


def plan(place: TextPlace | RegisterPlace, speaker: Speaker, faults: Faults) -> list[tuple[float, Callable[[], None]]]:
    """Give each action with its instant, in seconds since the lab was started."""
    actions: list[tuple[float, Callable[[], None]]] = []
    for start, length in faults.power:
        actions += [(start, speaker.power_off), (start + length, partial(power_on, place, speaker))]
    for start, length in faults.swap:
        actions += [
            (start, partial(exchange, place, speaker, stranger=True)),
            (start + length, partial(exchange, place, speaker, stranger=False)),
        ]
    actions += [(at, partial(change, place, speaker, name, value)) for at, name, value in faults.set]
    actions += [(at, partial(speaker.shout, XOFF)) for at in faults.xoff]
    return actions


def power_on(place: TextPlace | RegisterPlace, speaker: Speaker) -> None:
    """Switch on: what is not kept is lost, the power-on line is sent."""
    place.power_on()
    speaker.power_on(place.greeting)


def exchange(place: TextPlace | RegisterPlace, speaker: Speaker, *, stranger: bool) -> None:
    """Pull one instrument off the wire and put another one on it."""
    speaker.forget()
    place.exchange(stranger=stranger)
    speaker.power_on(place.greeting if speaker.faults.faults.swap_says else b"")


def change(place: TextPlace | RegisterPlace, speaker: Speaker, name: str, value: str) -> None:
    """Press a key; what begins to be sent by it is sent to all connections."""
    place.change(name, value)
    speaker.resume()
