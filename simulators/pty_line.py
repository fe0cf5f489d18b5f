"""Serves a conversation on a pseudo-terminal: found by a stable name, as slow as its baud rate."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import tty
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from simulators.conversation import Begin, Conversation

CHUNK_SECONDS = 0.004
"""A UART hands over what it has every few milliseconds; finer steps would only cost processor time."""


def precisely(instant: float, action: Callable[[], None]) -> None:
    """Call `action` at `instant`: the loop alone rounds up to whole milliseconds, a tenth of an answer."""
    loop = asyncio.get_running_loop()

    def wait() -> None:
        if loop.time() < instant:
            loop.call_soon(wait)
        else:
            action()

    loop.call_at(instant - 0.001, wait)


def seconds_per_character(line: str) -> float:
    """Give the time of one character of a line setting such as "9600 8N1"."""
    baud, frame = line.split()[:2]
    return (1 + int(frame[0]) + (frame[1] != "N") + int(frame[2])) / int(baud)


class PtyLine:
    """A pseudo-terminal behind a symbolic link, as udev makes them in /dev/serial/by-id.

    A pseudo-terminal has no parity: whoever opens it asks for eight bits without. Characters take the time of the real
    line in both directions; `gap` is the silence in seconds before an answer.
    """

    def __init__(self, begin: Begin, path: Path, line: str, greeting: bytes = b"", gap: float = 0.0) -> None:
        self.path = path
        self._begin = begin
        self._greeting = greeting
        self._gap = gap
        self._character = seconds_per_character(line)
        self._master = self._slave = -1
        self._conversation: Conversation = begin()
        self._heard_until = 0.0
        self._said_until = 0.0
        self._unsaid = bytearray()
        self._saying = False
        self._plugged = 0
        """Counts plugs: what was on its way through a line that was unplugged since never arrives."""

    async def plug_in(self) -> None:
        """Make the terminal and the link to it."""
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(os.ttyname(self._slave))
        self._conversation = self._begin()
        asyncio.get_running_loop().add_reader(self._master, self._read)
        if self._greeting:
            self._write(self._plugged, self._greeting)
        self._conversation.start(partial(self._write, self._plugged))

    def _read(self) -> None:
        try:
            data = os.read(self._master, 4096)
        except (BlockingIOError, OSError):
            return
        loop = asyncio.get_running_loop()
        # The instrument has a request when its last character has come through the line.
        self._heard_until = max(self._heard_until, loop.time()) + len(data) * self._character
        precisely(self._heard_until + self._gap, partial(self._hear, self._plugged, data))

    def _hear(self, plugged: int, data: bytes) -> None:
        if plugged == self._plugged:
            self._conversation.hear(data, partial(self._write, plugged))

    def _write(self, plugged: int, data: bytes) -> None:
        if plugged != self._plugged:
            return
        self._unsaid += data
        if not self._saying:
            self._said_until = asyncio.get_running_loop().time()
            self._say_next()

    def _say_next(self) -> None:
        count = min(len(self._unsaid), max(1, int(CHUNK_SECONDS / self._character)))
        self._saying = count > 0
        if self._saying:
            self._said_until += count * self._character
            precisely(self._said_until, partial(self._said, self._plugged, count))

    def _said(self, plugged: int, count: int) -> None:
        if plugged != self._plugged:
            return
        with contextlib.suppress(BlockingIOError):  # nobody reads: a real line loses the characters, too
            os.write(self._master, self._unsaid[:count])
        del self._unsaid[:count]
        self._say_next()

    async def unplug(self) -> None:
        """Take the terminal away; whoever has it open gets an error."""
        if self._master < 0:
            return
        asyncio.get_running_loop().remove_reader(self._master)
        self._conversation.end()
        self._plugged += 1
        self._saying = False
        self._unsaid.clear()
        self._heard_until = 0.0
        os.close(self._master)
        os.close(self._slave)
        self._master = self._slave = -1
        self.path.unlink(missing_ok=True)
