"""One open serial port or TCP connection: sends a question and reads its answer, on the file descriptor itself.

Serial ports and sockets are used in the same way: both are read and written without blocking, and one answer is
awaited at a time. The streams of asyncio would buffer bytes that cannot be cleared, and need several times the
processor time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import termios
from collections.abc import Callable
from typing import Protocol, TypeAlias

from drivers.driver import Text
from drivers.errors import InstrumentError, Lost, Silent, Unreadable

Measure: TypeAlias = Callable[[bytearray], int]
"""Gives the length of the answer at the start of the buffer, 0 while it is incomplete; raises Unreadable.

It may delete bytes at the start which it can prove to belong to another question.
"""

LARGEST_ANSWER = 65536
_SHOWN = 80


class Device(Protocol):
    """The owner of the descriptor: a socket or a serial port."""

    def fileno(self) -> int:
        """Give the descriptor."""

    def close(self) -> None:
        """Close it."""


class Connection:
    """An open wire; `lost` says why it is no longer open."""

    def __init__(self, device: Device, name: str) -> None:
        self.lost = ""
        self._device = device
        self._name = name
        self._fd = device.fileno()
        self._tty = os.isatty(self._fd)
        self._loop = asyncio.get_running_loop()
        self.last_byte = self._loop.time()
        self._buffer = bytearray()
        self._at_line_start = False
        self._unsent = b""
        self._future: asyncio.Future[bytes] | None = None
        self._measure: Measure = len
        self._listening = False
        self._timeout = self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        os.set_blocking(self._fd, False)
        self._loop.add_reader(self._fd, self._ready)

    def ask(self, command: bytes, measure: Measure, timeout: float) -> asyncio.Future[bytes]:
        """Clear the input, send, give the future of the answer; it fails as Silent, Lost or Unreadable."""
        self._clear_input()
        future = self._expect(measure, timeout)
        self._listening = False
        self._send(command)
        return future

    def listen(self, end: bytes, timeout: float) -> asyncio.Future[bytes]:
        """Give the future of the next line that is sent without a question: a complete line, not the rest of one."""
        self._take_input()
        stale = self._buffer.rfind(end)
        if stale >= 0:
            del self._buffer[: stale + len(end)]
            self._at_line_start = True

        def measure(buffer: bytearray) -> int:
            at = buffer.find(end)
            if at >= 0 and not self._at_line_start:
                self._at_line_start = True
                del buffer[: at + len(end)]
                at = buffer.find(end)
            return at + len(end) if at >= 0 else 0

        self._listening = True
        return self._expect(measure, timeout)

    def tell(self, command: bytes) -> None:
        """Send a command that has no answer."""
        self._clear_input()
        self._raise_if_lost()
        self._send(command)
        self._raise_if_lost()

    def withdraw(self) -> None:
        """Stop waiting for the answer, and do not send the rest of its question later."""
        self._future = None
        self._stop_sending()
        if self._tty and not self.lost:
            _flush(self._fd, termios.TCOFLUSH)  # XOFF may have held the question back

    def lose(self, reason: str) -> None:
        """Close; a question that awaits its answer fails as Lost."""
        if self.lost:
            return
        self.lost = reason
        self._loop.remove_reader(self._fd)
        self._stop_sending()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._tty:
            _flush(self._fd, termios.TCIOFLUSH)  # or close waits up to 30 s for output that flow control holds
        self._device.close()
        self._finish(Lost(f"{self._name}: {reason}"))

    def _expect(self, measure: Measure, timeout: float) -> asyncio.Future[bytes]:
        self._raise_if_lost()
        self._measure = measure
        self._future = future = self._loop.create_future()
        self._timeout = timeout
        self._deadline = self._loop.time() + timeout
        # One timer runs over many questions and is set again only when it expires: setting one for each
        # question would cost a tenth of the whole question.
        if self._timer is None or self._timer.when() > self._deadline:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(self._deadline, self._ring)
        return future

    def _raise_if_lost(self) -> None:
        if self.lost:
            raise Lost(f"{self._name}: {self.lost}")

    def _ring(self) -> None:
        self._timer = None
        if self._future is None or self._future.done():
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._ring)
            return
        within = f"within {self._timeout:g} s"
        if self._buffer:
            count = len(self._buffer)
            self._finish(Silent(f"{self._name}: no whole answer {within}, only {count} bytes: {_show(self._buffer)}"))
        else:
            self._finish(Silent(f"{self._name}: no answer {within}"))

    def _ready(self) -> None:
        if not self._take_input() or self._future is None or self._future.done():
            return
        try:
            length = self._measure(self._buffer)
        except Unreadable as error:
            self._finish(error)
            return
        if length:
            self._answer(length)
        elif len(self._buffer) > LARGEST_ANSWER:
            self._finish(self._unreadable(f"{len(self._buffer)} bytes came without the end of an answer"))

    def _answer(self, length: int) -> None:
        buffer = self._buffer
        answer = bytes(memoryview(buffer)[:length])
        if self._listening:
            del buffer[:length]
        elif len(buffer) > length:
            # Two answers to one question: one of them is old, and nothing shows which.
            self._finish(self._unreadable(f"{len(buffer) - length} bytes came after the end of the answer"))
            return
        self._finish(answer)

    def _finish(self, outcome: bytes | InstrumentError) -> None:
        future, self._future = self._future, None
        if future is None or future.done():
            return
        if isinstance(outcome, bytes):
            future.set_result(outcome)
        else:
            future.set_exception(outcome)

    def _unreadable(self, message: str) -> Unreadable:
        return Unreadable(f"{self._name}: {message}: {_show(self._buffer)}", bytes(self._buffer[:1024]))

    def _take_input(self) -> bool:
        """Read the bytes that have arrived; False where there are none."""
        if self.lost:
            return False
        try:
            data = os.read(self._fd, 65536)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            self.lose(error.strerror or "broken")
            return False
        if not data:
            self.lose("closed by the other side")
            return False
        self.last_byte = self._loop.time()
        if self._future is None and len(self._buffer) > LARGEST_ANSWER:
            self._buffer.clear()
            self._at_line_start = False
        self._buffer += data
        return True

    def _clear_input(self) -> None:
        # Bytes in the kernel are cleared, too: a late answer may have arrived since the loop last read.
        # After 16 reads it stops: if bytes still arrive, they make the answer Unreadable.
        for _ in range(16):
            self._buffer.clear()
            if not self._take_input():
                break
        self._buffer.clear()
        self._at_line_start = False

    def _send(self, data: bytes) -> None:
        try:
            sent = os.write(self._fd, data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self.lose(error.strerror or "broken")
            return
        if sent < len(data):
            if not self._unsent:
                self._loop.add_writer(self._fd, self._send_rest)
            self._unsent = data[sent:]
        elif self._unsent:
            self._stop_sending()

    def _send_rest(self) -> None:
        self._send(self._unsent)

    def _stop_sending(self) -> None:
        if self._unsent:
            self._unsent = b""
            self._loop.remove_writer(self._fd)


def _flush(fd: int, queue: int) -> None:
    with contextlib.suppress(termios.error):  # no OSError; an unplugged device has nothing left to flush
        termios.tcflush(fd, queue)


def _show(raw: bytearray) -> str:
    shown = Text.show(bytes(raw[:_SHOWN]))
    return f'"{shown}"' if len(raw) <= _SHOWN else f'"{shown}" …'
