"""The newest value of each channel is shown some times a second, and never more than the road can bear."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from daq.station.live import LiveView, payload
from drivers.sample import Status
from tests.jumping_clock import JumpingClock
from tests.spools import reading

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Viewers:
    def __init__(self, clock: JumpingClock) -> None:
        self.clock = clock
        self.seen: list[tuple[float, str, bytes, int, bool]] = []

    async def publish(self, name: str, said: bytes, qos: int = 1, *, retain: bool = False) -> None:
        self.seen.append((self.clock.monotonic(), name, said, qos, retain))


@asynccontextmanager
async def viewed() -> AsyncIterator[tuple[JumpingClock, LiveView, Viewers]]:
    clock = JumpingClock()
    live, viewers = LiveView("lab", clock), Viewers(clock)
    connection: Any = viewers
    task = asyncio.create_task(live.serve(connection))
    await clock.run_for(0.0)
    try:
        yield clock, live, viewers
    finally:
        task.cancel()
        await clock.finish(task)


async def test_only_the_newest_value_is_shown_five_times_a_second_retained_and_without_a_receipt() -> None:
    async with viewed() as (clock, live, viewers):
        began = clock.monotonic()
        for number in range(20):
            live.show(reading(number))
            await clock.run_for(0.05)
        shown = [json.loads(said)["value"] for _, _, said, _, _ in viewers.seen]
        assert len(shown) in {4, 5}, "five times a second"
        assert shown == sorted(set(shown)), "each once, in order"
        assert abs(viewers.seen[0][0] - began - 0.2) < 0.01
        assert {(name, qos, retain) for _, name, _, qos, retain in viewers.seen} == {
            ("daq/1/lab/live/balance/mass", 0, True)
        }
        await clock.run_for(5.0)
        assert len(viewers.seen) == 5, "what has not changed is not shown again"


async def test_many_channels_wait_their_turn() -> None:
    async with viewed() as (clock, live, viewers):
        for number in range(250):
            one = reading(number)
            live.show(replace(one, series=replace(one.series, channel=f"c{number}")))
        await clock.run_for(0.2)
        assert len(viewers.seen) == 100
        await clock.run_for(0.2)
        assert len(viewers.seen) == 200
        await clock.run_for(0.2)
        assert len(viewers.seen) == len({name for _, name, *_ in viewers.seen}) == 250


def test_value_that_is_none_is_null() -> None:
    one = replace(reading(3), value=None, status=Status.INVALID, identified=False, simulated=True)
    assert json.loads(payload(one)) == {
        "at_ns": one.at,
        "value": None,
        "text": "",
        "unit": "g",
        "quantity": "mass",
        "status": "invalid",
        "identified": False,
        "simulated": True,
    }
