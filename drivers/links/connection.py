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
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias

from drivers.errors import InstrumentError, Lost, Silent, Unreadable
from drivers.links.words import held_up, places, show

if TYPE_CHECKING:
    from drivers.links.parity import Marks

Measure: TypeAlias = Callable[[bytearray], int]
"""Gives the length of the answer at the start of the buffer, 0 while it is incomplete; raises Unreadable.

It may delete bytes at the start which it can prove to belong to another question, and rubbish at both ends.
"""

LARGEST_ANSWER = 65536
_HELD_UP = 0.05
"""Seconds behind its time at which a timer shows that the process was held up, and not only that a loop is busy."""


class Device(Protocol):
    """The owner of the descriptor: a socket or a serial port."""

    def fileno(self) -> int:
        """Give the descriptor."""

    def close(self) -> None:
        """Close it."""


class Changed(Unreadable):
    """A whole answer came in time, and the line changed bytes of it."""


class Refusal(Unreadable):
    """A whole answer that gives no values; `of_the_unit`: the instrument itself has given it, and no other follows."""

    def __init__(self, message: str, raw: bytes = b"", *, of_the_unit: bool) -> None:
        super().__init__(message, raw)
        self.of_the_unit = of_the_unit


class Connection:
    """An open wire; `lost` says why it is no longer open, and `idle` whether that happened between two questions.

    All instants are seconds of the monotonic clock: that of a loop stands still while it works. Bytes that no
    question awaits go to `stray`.
    """

    def __init__(self, device: Device, name: str, marks: Marks | None = None) -> None:
        """Begin to read; `marks` takes out the marks of changed bytes, where the kernel was told to set them."""
        self.lost = ""
        self.idle = True
        self.arrivals = 0
        self.stray: Callable[[bytes], object] = len
        self._device = device
        self._name = name
        self._marks = marks
        self._changed: list[int] = []
        self._fd = device.fileno()
        self._tty = os.isatty(self._fd)
        self._loop = asyncio.get_running_loop()
        self.last_byte = time.monotonic()
        self._buffer = bytearray()
        self._at_line_start = False
        self._unsent = b""
        self._future: asyncio.Future[bytes] | None = None
        self._measure: Measure = len
        self._listening = False
        self._timeout = self._deadline = self._rings_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        os.set_blocking(self._fd, False)
        self._loop.add_reader(self._fd, self._ready)

    def ask(self, command: bytes, measure: Measure, timeout: float) -> asyncio.Future[bytes]:
        """Clear the input, send, give the future of the answer; it fails as Silent, Lost or Unreadable.

        Lost at once, and `idle`, where the connection was closed before the question went out.
        """
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
            self._drop(stale + len(end))
            self._at_line_start = True

        def measure(buffer: bytearray) -> int:
            at = buffer.find(end)
            if at >= 0 and not self._at_line_start:
                self._at_line_start = True
                self._drop(at + len(end))
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

    def let_go_on(self) -> None:
        """Let a serial line send again that a stray XOFF has stopped."""
        if self._tty and not self.lost:
            with contextlib.suppress(termios.error):
                termios.tcflow(self._fd, termios.TCOOFF)  # Linux ends only a stop of its own: so first that
                termios.tcflow(self._fd, termios.TCOON)

    def lose(self, reason: str) -> None:
        """Close; a question that awaits its answer fails as Lost."""
        if self.lost:
            return
        self.lost = reason
        self.idle = self._future is None or self._future.done()
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
        self._deadline = time.monotonic() + timeout
        # One timer runs over many questions and is set again only when it expires: setting one for each
        # question would cost a tenth of the whole question.
        if self._timer is None or self._rings_at > self._deadline:
            if self._timer is not None:
                self._timer.cancel()
            self._set_timer(timeout)
        return future

    def _set_timer(self, seconds: float) -> None:
        self._rings_at = self._deadline
        self._timer = self._loop.call_later(seconds, self._ring)

    def _raise_if_lost(self) -> None:
        if self.lost:
            raise Lost(f"{self._name}: {self.lost}")

    def _ring(self) -> None:
        self._timer = None
        if self._future is None or self._future.done():
            return
        late = time.monotonic() - self._deadline
        if late < 0:
            self._set_timer(-late)
            return
        within = f"within {self._timeout:g} s" + (held_up(late) if late > _HELD_UP else "")
        if self._changed:
            self._finish(self._was_changed())
        elif self._buffer:
            count = len(self._buffer)
            self._finish(Silent(f"{self._name}: no whole answer {within}, only {count} bytes: {show(self._buffer)}"))
        else:
            self._finish(Silent(f"{self._name}: no answer {within}"))

    def _ready(self) -> None:
        if not self._take_input() or self._future is None or self._future.done():
            return
        try:
            length = self._measure(self._buffer)
        except Unreadable as error:
            self._finish(self._was_changed() if self._changed else error)
            return
        if length:
            self._answer(length)
        elif len(self._buffer) > LARGEST_ANSWER:
            self._finish(self._unreadable(f"{len(self._buffer)} bytes came without the end of an answer"))

    def _answer(self, length: int) -> None:
        buffer = self._buffer
        if (late := self.last_byte - self._deadline) > 0:  # it may have come in time: nothing shows when it did
            said = f"the answer was seen {late:.3g} s after the time-out of {self._timeout:g} s"
            self._finish(Silent(f"{self._name}: {said}{held_up(late)}"))
            return
        if self._changed and (not self._listening or self._changed[0] < length):
            self._finish(self._was_changed())
            self._drop(length)
            return
        answer = bytes(memoryview(buffer)[:length])
        if self._listening:
            self._drop(length)
        elif len(buffer) > length:
            # Two answers to one question: one of them is old, and nothing shows which.
            self._finish(self._unreadable(f"{len(buffer) - length} bytes came after the end of the answer"))
            self.stray(bytes(memoryview(buffer)[length:]))
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
        return Unreadable(f"{self._name}: {message}: {show(self._buffer)}", bytes(self._buffer[:1024]))

    def _was_changed(self) -> Changed:
        message = f"{self._name}: the wire changed a byte: parity error, at {places(self._changed)} of the answer"
        return Changed(f"{message}: {show(self._buffer)}", bytes(self._buffer[:1024]))

    def _drop(self, length: int) -> None:
        del self._buffer[:length]
        self._changed = [place - length for place in self._changed if place >= length]

    def _take_input(self) -> bool:
        """Read the bytes that have arrived; False where there are none."""
        if self.lost:
            return False
        try:
            data = os.read(self._fd, LARGEST_ANSWER)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            self.lose(error.strerror or "broken")
            return False
        if not data:
            self.lose("closed by the other side")
            return False
        self.last_byte = time.monotonic()
        self.arrivals += 1
        awaited = self._future is not None and not self._future.done()
        if not awaited and len(self._buffer) > LARGEST_ANSWER:
            self._empty()
            self._at_line_start = False
        if self._marks is not None:
            data, changed = self._marks.take_out(data)
            if changed:
                self._changed += [len(self._buffer) + place for place in changed[:16]]
        self._buffer += data
        if not awaited:
            self.stray(data)
        return True

    def _empty(self) -> None:
        self._buffer.clear()
        self._changed = []

    def _clear_input(self) -> None:
        # Bytes in the kernel are cleared, too: a late answer may have arrived since the loop last read.
        # After 16 reads it stops: if bytes still arrive, they make the answer Unreadable.
        for _ in range(16):
            self._empty()
            if not self._take_input():
                break
        self._empty()
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
