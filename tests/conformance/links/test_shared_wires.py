"""Several instruments on one wire: dead ones have a bounded share, and one failed connection answers all."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from drivers.driver import Registers
from drivers.errors import InstrumentError, Lost
from tests.conformance.links.conftest import MODBUS, Bench

if TYPE_CHECKING:
    from tests.conformance.links.peers import Mouth

only_modbus = pytest.mark.parametrize("bench", MODBUS, indirect=True)
PERIOD = 0.1


async def only_unit_1(mouth: Mouth) -> None:
    if mouth.unit == 1:
        mouth.answer()


async def ticks(link: Any, count: int) -> int:
    """Read on a grid, as a station does; gives how many ticks were read."""
    begin, read, tick = time.monotonic(), 0, 0
    while tick < count:
        await asyncio.sleep(max(0.0, begin + tick * PERIOD - time.monotonic()))
        await link.ask(Registers(1, 2, timeout=PERIOD))
        read += 1
        tick = max(tick + 1, int((time.monotonic() - begin) / PERIOD) + 1)
    return read


async def try_for_ever(link: Any, failures: list[float]) -> None:
    while True:
        try:
            await link.ask(Registers(1, 2, timeout=PERIOD))
        except InstrumentError:
            failures.append(time.monotonic())
            await asyncio.sleep(0.01)


@only_modbus
async def test_forty_dead_units_leave_a_live_one_four_fifths_of_its_ticks(bench: Bench) -> None:
    bench.peer.script = only_unit_1
    live, *dead = (bench.link(unit, settle=0.05) for unit in range(1, 42))
    await live.open()
    await asyncio.gather(*(one.open() for one in dead))
    await live.ask(Registers(1, 2, timeout=PERIOD))
    failures: list[float] = []
    tasks = [asyncio.create_task(try_for_ever(one, failures)) for one in dead]
    await asyncio.sleep(0.3)
    assert any(one.waiting for one in dead)
    before = len(failures)
    try:
        read = await ticks(live, 40)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    assert read >= 32, f"{read} of 40 ticks"
    assert len(failures) - before >= 2, "the dead ones must be asked, too, or they never come back"
    assert not any(one.waiting for one in dead)


@only_modbus
async def test_dead_units_among_themselves_are_not_held_back(bench: Bench) -> None:
    bench.peer.script = only_unit_1
    dead = [bench.link(unit, settle=0.0) for unit in (2, 3)]
    began = time.monotonic()
    failures: list[Any] = []
    while len(failures) < 6:
        for one in dead:
            try:
                await one.ask(Registers(1, 2, timeout=0.03))
            except InstrumentError:
                failures.append(one)
    assert time.monotonic() - began < 1.0


@only_modbus
async def test_one_failed_connection_answers_all_who_waited_for_it(bench: Bench) -> None:
    await bench.peer.stop()
    links = [bench.link(unit) for unit in range(1, 41)]
    wire = links[0]._bus.wire
    attempts = 0

    async def unreachable() -> Any:
        nonlocal attempts
        attempts += 1
        await asyncio.sleep(0.1)
        raise Lost("no connection within 0.1 s")

    wire._connect = unreachable
    began = time.monotonic()
    opening = [asyncio.create_task(link.open()) for link in links]
    await asyncio.sleep(0.02)
    assert all(link.waiting for link in links)
    outcomes = await asyncio.gather(*opening, return_exceptions=True)
    assert time.monotonic() - began < 0.2
    assert attempts == 1
    assert all(isinstance(one, Lost) for one in outcomes)
    with pytest.raises(Lost):
        await links[0].open()
    assert attempts == 2
