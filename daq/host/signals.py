"""What the system gives to both services: signals, and the folder for their state."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def stop_signals() -> AsyncIterator[asyncio.Event]:
    """Give an event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


@asynccontextmanager
async def reload_signal() -> AsyncIterator[asyncio.Event]:
    """Give an event that SIGHUP sets."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, asked.set)
    try:
        yield asked
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


def state_folder() -> Path:
    """Give the folder for files that are kept between runs: systemd's state directory, else the working folder."""
    return Path(os.environ.get("STATE_DIRECTORY", ".").split(":")[0])
