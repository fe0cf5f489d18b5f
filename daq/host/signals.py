"""What the system gives to both services: signals, and the folder for their state."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@asynccontextmanager
async def stop_signals() -> AsyncIterator[asyncio.Event]:
    """Give an event that SIGTERM and SIGINT set; behind it both are ignored."""
    with _event(signal.SIGTERM, signal.SIGINT) as stop:
        yield stop


@asynccontextmanager
async def reload_signal() -> AsyncIterator[asyncio.Event]:
    """Give an event that SIGHUP sets; behind it SIGHUP is ignored."""
    with _event(signal.SIGHUP) as asked:
        yield asked


@contextmanager
def _event(*numbers: signal.Signals) -> Iterator[asyncio.Event]:
    """Give an event that the signals set.

    Behind it they are ignored: their default action would end the process in the middle of its stop. The handlers of
    the event loop cannot be used, because it puts the default action back when they are removed.
    """
    event, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in numbers:
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(event.set))
    try:
        yield event
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)


def state_folder() -> Path:
    """Give the folder for files that are kept between runs: systemd's state directory, else the working folder."""
    return Path(os.environ.get("STATE_DIRECTORY", ".").split(":")[0])
