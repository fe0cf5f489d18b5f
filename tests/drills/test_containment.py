"""An exception out of every place at which a follower waits or asks its link: the others miss nothing.

The link and the clock of one instrument count what is asked of them, and raise at the n-th call, for each n in turn.
"""

from __future__ import annotations

import asyncio
import decimal
import json
import logging
import random
import struct
from typing import TYPE_CHECKING, Any

from daq.road.reading import Event, EventKind
from daq.station.acquisition import Follower
from daq.station.records import Station
from daq.station.supervision import Supervisor
from drivers.instrument import Instrument
from drivers.pressure.digiquartz import digiquartz
from tests.drills.report import LONG, SEED, note
from tests.followed import Records, Wire
from tests.jumping_clock import JumpingClock

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

KINDS: list[Callable[[], Exception]] = [
    lambda: KeyError("key"),
    lambda: IndexError("list index out of range"),
    lambda: RecursionError("maximum recursion depth exceeded"),
    lambda: OSError(5, "Input/output error"),
    TimeoutError,
    lambda: ValueError("not a value"),
    lambda: TypeError("not a type"),
    lambda: AttributeError("no attribute"),
    lambda: ZeroDivisionError("division by zero"),
    lambda: UnicodeDecodeError("ascii", b"\xff", 0, 1, "ordinal not in range"),
    MemoryError,
    AssertionError,
    lambda: RuntimeError("{} %s %d"),
    NotImplementedError,
    EOFError,
    decimal.InvalidOperation,
    lambda: struct.error("unpack requires 4 bytes"),
    lambda: json.JSONDecodeError("Expecting value", "", 0),
    lambda: ExceptionGroup("several", [KeyError("one"), OSError("two")]),
]
SECONDS = 12
"""Of undisturbed running, in which a follower passes every place that it has; the first connection included."""
GOOD = 3


class Trap:
    """Counts calls, and raises at those that are named by their number."""

    def __init__(self, *throws: tuple[int, Callable[[], Exception]]) -> None:
        self.calls = 0
        self.thrown: list[str] = []
        self._throws = dict(throws)

    def step(self, place: str) -> None:
        self.calls += 1
        if (make := self._throws.get(self.calls)) is not None:
            self.thrown.append(place)
            raise make()


class TrapClock(JumpingClock):
    """The clock of the others, seen by one instrument."""

    def __init__(self, clock: JumpingClock, trap: Trap) -> None:
        super().__init__()
        self._real, self._trap = clock, trap

    def monotonic(self) -> float:
        return self._real.monotonic()

    def utc_ns(self) -> int:
        return self._real.utc_ns()

    async def sleep_until(self, instant: float) -> None:
        self._trap.step("sleep_until")
        await self._real.sleep_until(instant)
        self._trap.step("after sleep_until")


class TrapLink(Wire):
    """A link that may raise wherever it is asked anything."""

    trap: Trap

    def __getattribute__(self, name: str) -> Any:
        if name in {"unasked", "waiting", "suspect", "proves", "trust", "distrust"}:
            self.trap.step(name)
        return super().__getattribute__(name)

    async def open(self) -> None:
        self.trap.step("open")
        await super().open()

    async def ask(self, query: Any) -> bytes:
        self.trap.step("ask")
        answer = await super().ask(query)
        self.trap.step("after ask")
        return answer

    async def close(self) -> None:
        self.trap.step("close")


def transducer(command: bytes) -> bytes:
    """Answer as a Digiquartz, which has an identity, a setup that proves, and a poll."""
    return {b"SN": b"*0001SN=41234\r\n", b"UN": b"*0001UN=2\r\n"}.get(command[5:7], b"*00011013.619\r\n")


async def disturbed(trap: Trap, seconds: float) -> tuple[Supervisor, Records]:
    """Read one instrument whose link and clock have a trap, and some good ones, for so long; then end all."""
    clock, records = JumpingClock(), Records()
    station = Station("lab", records, clock)
    bad_clock = TrapClock(clock, trap)
    link = TrapLink(clock, transducer)
    link.trap = trap
    supervisor = Supervisor(station)
    bad = Instrument("bad", digiquartz(), link, "41234", clock.monotonic, prove_every=3.0)
    supervisor.add(Follower(Station("lab", records, bad_clock), bad, 1.0))
    for number in range(GOOD):
        name = f"good-{number}"
        good = Instrument(name, digiquartz(), Wire(clock, transducer), "41234", clock.monotonic)
        supervisor.add(Follower(station, good, 1.0))
    task = asyncio.create_task(supervisor.run())
    await clock.run_for(seconds)
    task.cancel()
    await clock.finish(task)
    return supervisor, records


def taken(records: Records, name: str) -> int:
    return sum(one.series.instrument == name for one in records.readings)


async def test_exception_at_any_await_of_one_instrument_costs_the_others_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.ERROR, "daq.host.parts")
    quiet = Trap()
    await disturbed(quiet, SECONDS)
    assert quiet.calls > 50
    dice = random.Random(SEED)
    each = KINDS if LONG else [None]
    plan = [(number, kind or dice.choice(KINDS)) for number in range(1, quiet.calls + 1) for kind in each]
    throws, places, missed_by_bad = 0, set[str](), list[int]()
    for number, kind in plan:
        caplog.clear()
        again = [(number + dice.randint(1, 6), kind)] if dice.random() < 0.3 else []
        trap = Trap((number, kind), *again)
        supervisor, records = await disturbed(trap, 2 * SECONDS + 8)
        for one in range(GOOD):
            assert taken(records, f"good-{one}") == 2 * SECONDS + 8, (number, trap.thrown)
            assert supervisor.followers[f"good-{one}"].errors == 0
            assert supervisor.followers[f"good-{one}"].missed == 0
        bad = supervisor.followers["bad"]
        told = [one for one in caplog.records if one.exc_info]
        assert bad.failures.count >= 1, (number, trap.thrown)
        assert len(told) == len({one.getMessage() for one in told}) >= 1, "each with its traceback, once"
        assert bad.state == "reading", (number, trap.thrown, bad.last_error)
        restarts = [one for one in records.events(EventKind.RESTART) if one.instrument == "bad"]
        assert len(restarts) == len(told), (number, trap.thrown)
        missed = sum(one.missed for one in records if isinstance(one, Event) and one.instrument == "bad")
        assert abs(taken(records, "bad") + missed - (2 * SECONDS + 8)) <= 1, (number, trap.thrown)
        throws += len(trap.thrown)
        places.update(trap.thrown)
        missed_by_bad.append(missed)
    note(
        "R21 containment",
        claim="whatever the code of one instrument raises, wherever it waits or asks its link, is its own",
        aim="0 polls of the others missed; each throw told with its traceback once, counted, shown; it reads again; "
        "every poll that it missed is told",
        seen=f"{throws} exceptions of {len(KINDS)} kinds out of {len(places)} kinds of place "
        f"({', '.join(sorted(places))}): 0 polls of {GOOD} others missed, 0 not told, read again each time; "
        f"{max(missed_by_bad)} polls missed by it at most",
        test="pytest tests/drills/test_containment.py",
        seed=SEED,
    )
