"""A station that sends a backlog keeps no other station waiting at the bridge."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, cast

from daq.bridge.storing import WAITING_BYTES, WRITE_LINES, Bridge
from daq.host.parts import Parts
from daq.road.batch import Batch
from daq.road.line_protocol import encode
from tests.jumping_clock import JumpingClock
from tests.spools import reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

    from daq.road.mqtt import Connection

EPOCH = "e" * 32
LINE = b"x" * 100


class Nowhere:
    name = "nowhere"

    async def write(self, lines: Sequence[bytes]) -> None:
        pass

    async def close(self) -> None:
        pass


class Fails(Nowhere):
    """A sink that raises what no sink should raise, so many times."""

    def __init__(self, times: int) -> None:
        self.times, self.stored = times, 0

    async def write(self, lines: Sequence[bytes]) -> None:
        if self.times:
            self.times -= 1
            raise KeyError("results")
        self.stored += len(lines)


async def test_whatever_a_sink_raises_costs_no_batch(caplog: pytest.LogCaptureFixture) -> None:
    sink, clock = Fails(5), JumpingClock()
    made = Bridge(sink, "b", None, clock)
    lines = [encode(reading(number), number, EPOCH) for number in range(1, 6)]
    settling = asyncio.create_task(made._settle([Batch("lab", EPOCH, 1, lines)]))
    await clock.run_for(0.5)
    assert made.counters.state == "waiting"
    assert made.counters.last_error.startswith("KeyError: 'results' (test_storing.py")
    await clock.run_for(300.0)
    assert settling.done()
    assert (sink.stored, made.counters.stored, made.counters.state) == (5, 5, "ready")
    told = [record for record in caplog.records if "results" in record.getMessage()]
    assert len(told) == 1
    assert told[0].exc_info


def bridge() -> Bridge:
    return Bridge(Nowhere(), "b", None, JumpingClock())


def batch(station: str, number: int, lines: int = 500) -> Batch:
    return Batch(station, EPOCH, number * lines + 1, [LINE] * lines)


def test_stations_take_turns() -> None:
    made = bridge()
    for number in range(60):
        made._add(batch("flood", number))
    made._add(batch("calm", 0))
    taken = made._take()
    assert [one.station for one in taken[:2]] == ["flood", "calm"]
    assert sum(len(one.lines) for one in taken) <= WRITE_LINES
    assert [one.first for one in taken if one.station == "flood"] == sorted(
        one.first for one in taken if one.station == "flood"
    )


def test_batch_that_comes_again_while_it_waits_is_stored_once() -> None:
    made = bridge()
    for _ in range(3):
        made._add(batch("lab", 7))
    assert [one.first for one in made._take()] == [3_501]
    assert made._take() == []


def test_memory_is_bounded_and_what_goes_is_counted() -> None:
    made = bridge()
    size = len(LINE) * 500
    count = WAITING_BYTES // size + 10
    for number in range(count):
        made._add(batch("lab", number))
    assert made.counters.given_up == 10
    assert made._take()[0].first == 10 * 500 + 1, "the oldest go: their station sends them again"


async def test_status_shows_what_went_wrong_in_the_parts_of_the_service() -> None:
    clock, said = JumpingClock(), list[dict[str, Any]]()
    parts = Parts(clock)
    parts["road"].failures.note(KeyError("lost"))
    bridge = Bridge(Nowhere(), "b", None, clock, parts)

    class Listening:
        async def publish(self, _: str, payload: bytes, *__: object, **___: object) -> None:
            said.append(json.loads(payload))

    repeating = asyncio.create_task(bridge._repeat_status(cast("Connection", Listening())))
    await clock.run_for(6.0)
    repeating.cancel()
    await asyncio.wait([repeating])
    assert len(said) >= 2
    assert said[0]["bridge"] == "b"
    assert said[-1]["parts"] == parts.status()
    assert said[-1]["parts"]["road"]["failures"] == 1
