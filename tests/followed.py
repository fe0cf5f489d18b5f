"""A balance on a wire whose answers a test writes down, followed on a clock that jumps."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from daq.road.reading import Doubt, Event, EventKind, Reading, Record
from daq.station.acquisition import Follower
from daq.station.records import Station
from daq.station.supervision import Supervisor
from drivers.balances.mt_sics import mt_sics
from drivers.instrument import PROVE_EVERY, Instrument
from tests.jumping_clock import JumpingClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from drivers.driver import Driver

SERIAL = b'I4 A "B1"\r\n'
WEIGHT = b"S S     100.00 g\r\n"
SECOND = 1_000_000_000
TOLD = {EventKind.GAP, EventKind.MISSED, EventKind.REFUSE}


@dataclass(eq=False)
class Wire:
    """A link whose answers a test writes down; an exception in the list is raised."""

    clock: JumpingClock
    answer: Callable[[bytes], bytes]
    delay: float = 0.02
    opened: int = 0
    asked: list[bytes] = field(default_factory=list)
    sent: float = 0.0

    async def open(self) -> None:
        self.opened += 1

    unasked = 0
    waiting = False
    suspect = False

    def to_prove(self, query: Any) -> int | None:
        return 1

    def believe(self) -> None:
        pass

    def trust(self) -> None:
        pass

    def distrust(self) -> None:
        pass

    async def ask(self, query: Any) -> bytes:
        self.asked.append(query.command)
        self.sent = self.clock.monotonic()
        await self.clock.sleep_until(self.clock.monotonic() + self.delay)
        return self.answer(query.command)

    async def close(self) -> None:
        pass


class Records(list[Record]):
    def put(self, record: Record, *, urgent: bool = False) -> int:
        self.append(record)
        return len(self)

    @property
    def readings(self) -> list[Reading]:
        return [one for one in self if isinstance(one, Reading)]

    @property
    def doubts(self) -> list[Doubt]:
        return [one for one in self if isinstance(one, Doubt)]

    @property
    def told(self) -> int:
        """Polls that events told as missed."""
        return sum(one.missed for one in self if isinstance(one, Event) and one.kind in TOLD)

    def events(self, kind: EventKind) -> list[Event]:
        return [one for one in self if isinstance(one, Event) and one.kind == kind]


def balance(command: bytes) -> bytes:
    return SERIAL if command == b"I4\r\n" else WEIGHT


@asynccontextmanager
async def running(
    answer: Callable[[bytes], bytes] = balance,
    period: float = 1.0,
    delay: float = 0.02,
    serial: str | None = "B1",
    *,
    driver: Driver[Any] | None = None,
    prove_every: float = PROVE_EVERY,
    last_run_stamp: int = 0,
    late: float = 0.0,
) -> AsyncIterator[tuple[JumpingClock, Records, Wire, Follower]]:
    clock = JumpingClock(late=late)
    records, wire = Records(), Wire(clock, answer, delay)
    station = Station("lab", records, clock, last_run_stamp=last_run_stamp)
    known = driver or mt_sics()
    instrument = Instrument("balance", known, wire, serial, clock.monotonic, prove_every=prove_every)
    follower = Follower(station, instrument, period)
    task = asyncio.create_task(Supervisor(station, [follower]).run(), name="follow all")
    try:
        yield clock, records, wire, follower
    finally:
        task.cancel()
        await clock.finish(task)
