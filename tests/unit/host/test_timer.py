"""Tasks wake at their instant and never before, in the order of their instants, however many are cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

import pytest

from daq.host.timer import Timer


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
async def timer() -> contextlib.AbstractContextManager[Timer]:
    return contextlib.closing(Timer(asyncio.get_running_loop()))


async def test_wakes_in_order_and_never_early(timer: contextlib.AbstractContextManager[Timer]) -> None:
    woken: list[float] = []

    async def one(delay: float) -> None:
        instant = begun + delay
        await made.sleep_until(instant)
        assert time.monotonic() >= instant
        woken.append(delay)

    with timer as made:
        begun = time.monotonic()
        await asyncio.gather(*(one(delay) for delay in (0.05, 0.01, 0.03, 0.0, 0.02, 0.01)))
    assert woken == sorted(woken)


async def test_a_cancelled_wait_holds_up_nobody(timer: contextlib.AbstractContextManager[Timer]) -> None:
    with timer as made:
        now = time.monotonic()
        sleepers = [asyncio.create_task(made.sleep_until(now + 0.01 + 0.00001 * number)) for number in range(3_000)]
        last = asyncio.create_task(made.sleep_until(now + 0.06))
        await asyncio.sleep(0)
        for sleeper in sleepers:
            sleeper.cancel()
        async with asyncio.timeout(2.0):
            await made.sleep_until(now + 0.03)
            await last
        assert len(made._waiting) < 3_000


async def test_gives_its_descriptor_back() -> None:
    before = descriptors()
    made = Timer(asyncio.get_running_loop())
    made.close()
    assert descriptors() == before
