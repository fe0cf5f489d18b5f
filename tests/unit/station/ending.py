"""A supervisor of one instrument that a test ends at an instant of its choice, and a queue that fails."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from daq.station.acquisition import Follower
from daq.station.records import Station
from daq.station.supervision import Supervisor
from drivers.balances.mt_sics import mt_sics
from drivers.errors import Silent
from drivers.instrument import Instrument
from tests.followed import Records, Wire, balance
from tests.jumping_clock import JumpingClock
from tests.unit.station.test_supervision import Hanging

if TYPE_CHECKING:
    from collections.abc import Callable

    from daq.road.reading import Record
    from drivers.driver import Driver


STARTED = 0.7
"""Seconds from the start of the jumping clock to its first whole second."""


def due(clock: JumpingClock, since: float = 1_000.0 + STARTED) -> int:
    """Give the whole seconds since the start."""
    return int(clock.monotonic() - since) + 1


def silent(_: bytes) -> bytes:
    raise Silent("no answer")


async def stopped(clock: JumpingClock, task: asyncio.Task[Any]) -> None:
    task.cancel()
    await clock.finish(task)


class Fails(Records):
    """A queue that fails, as no queue should, at the next `left` records of a kind."""

    def __init__(self, at: Callable[[Record], bool]) -> None:
        super().__init__()
        self.at, self.left = at, 0

    def put(self, record: Record, *, urgent: bool = False) -> int:
        if self.left and self.at(record):
            self.left -= 1
            raise OSError("the disk fails once")
        return super().put(record, urgent=urgent)


class Lab:
    """A supervisor of one instrument, which a test stops at an instant of its choice."""

    def __init__(self, wire: type[Wire] = Hanging, period: float = 1.0) -> None:
        self.clock, self.records = JumpingClock(), Records()
        self.station = Station("lab", self.records, self.clock)
        self.made = Supervisor(self.station)
        self.wire = wire(self.clock, balance)
        self.made.add(self.follower(period))
        self.task = asyncio.create_task(self.made.run())

    def follower(self, period: float = 1.0, driver: Driver[Any] | None = None) -> Follower:
        instrument = Instrument("b", driver or mt_sics(), self.wire, "B1", self.clock.monotonic)
        return Follower(self.station, instrument, period)
