"""Work in a thread of its own gives its result or its error, and hangs alone."""

from __future__ import annotations

import asyncio
import threading

import pytest

from daq.host.threads import in_thread


async def test_result_and_error_are_given() -> None:
    assert await in_thread(threading.current_thread) is not threading.main_thread()
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0)


async def test_result_of_what_was_cancelled_is_dropped() -> None:
    begin = threading.Event()
    future = in_thread(lambda: begin.wait(10.0))
    (thread,) = [one for one in threading.enumerate() if one.name == "work that may hang"]
    assert thread.daemon
    future.cancel()
    begin.set()
    await asyncio.to_thread(thread.join)
    await asyncio.sleep(0)
    assert future.cancelled()


def test_result_behind_the_end_of_the_loop_is_dropped(recwarn: pytest.WarningsRecorder) -> None:
    begin = threading.Event()

    async def start() -> None:
        in_thread(lambda: begin.wait(10.0))

    asyncio.run(start())
    (thread,) = [one for one in threading.enumerate() if one.name == "work that may hang"]
    begin.set()
    thread.join()
    assert not recwarn.list
