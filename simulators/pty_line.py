"""Connects a conversation to a pseudo-terminal that has a stable name and is as slow as its baud rate."""

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
"""A UART delivers its bytes every few milliseconds; smaller steps would only cost processor time."""


def precisely(instant: float, action: Callable[[], None]) -> None:
    """Call `action` at `instant`: the event loop alone rounds up to whole milliseconds, a tenth of an answer's time."""
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

    A pseudo-terminal has no parity: it is opened with eight bits and no parity, and makes no marks for wrong
    characters. It has no DTR and RTS either, so nothing can be seen of them when it is opened. Characters take the
    time of the real line in both directions; `gap` is the pause in seconds before an answer.
    """

    def __init__(self, begin: Begin, path: Path, line: str, greeting: bytes = b"", gap: float = 0.0) -> None:
        self.path = path
        self._begin = begin
        self._greeting = greeting
        self._gap = gap
        self._character_seconds = seconds_per_character(line)
        self._master = self._slave = -1
        self._conversation: Conversation = begin()
        self._received_until = 0.0
        self._sent_until = 0.0
        self._unsent = bytearray()
        self._sending = False
        self._unplug_count = 0
        """Counts how often it was unplugged: bytes that were sent or received before that are dropped."""

    async def plug_in(self) -> None:
        """Make the terminal and the symbolic link to it."""
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(os.ttyname(self._slave))
        self._conversation = self._begin()
        asyncio.get_running_loop().add_reader(self._master, self._read)
        if self._greeting:
            self._write(self._unplug_count, self._greeting)
        self._conversation.start(partial(self._write, self._unplug_count))

    def _read(self) -> None:
        try:
            data = os.read(self._master, 4096)
        except (BlockingIOError, OSError):
            return
        loop = asyncio.get_running_loop()
        # The instrument has a request when the last character has arrived.
        self._received_until = max(self._received_until, loop.time()) + len(data) * self._character_seconds
        precisely(self._received_until + self._gap, partial(self._receive, self._unplug_count, data))

    def _receive(self, unplug_count: int, data: bytes) -> None:
        if unplug_count == self._unplug_count:
            self._conversation.hear(data, partial(self._write, unplug_count))

    def _write(self, unplug_count: int, data: bytes) -> bool:
        if unplug_count != self._unplug_count:
            return False
        self._unsent += data
        if not self._sending:
            self._sent_until = asyncio.get_running_loop().time()
            self._send_next()
        return True

    def _send_next(self) -> None:
        count = min(len(self._unsent), max(1, int(CHUNK_SECONDS / self._character_seconds)))
        self._sending = count > 0
        if self._sending:
            self._sent_until += count * self._character_seconds
            precisely(self._sent_until, partial(self._chunk_sent, self._unplug_count, count))

    def _chunk_sent(self, unplug_count: int, count: int) -> None:
        if unplug_count != self._unplug_count:
            return
        with contextlib.suppress(BlockingIOError):  # no program reads: a real line loses the characters, too
            os.write(self._master, self._unsent[:count])
        del self._unsent[:count]
        self._send_next()

    async def unplug(self) -> None:
        """Remove the terminal; a program that has it open gets an error."""
        if self._master < 0:
            return
        asyncio.get_running_loop().remove_reader(self._master)
        self._conversation.end()
        self._unplug_count += 1
        self._sending = False
        self._unsent.clear()
        self._received_until = 0.0
        os.close(self._master)
        os.close(self._slave)
        self._master = self._slave = -1
        self.path.unlink(missing_ok=True)
