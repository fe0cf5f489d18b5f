"""A thread for the calls of a VISA library, which block."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING

from drivers.errors import InstrumentError

if TYPE_CHECKING:
    from collections.abc import Callable


class VisaThread:
    """One thread that executes calls in their order.

    Not an executor: the interpreter waits for executors at exit, and a library may block a thread for a whole
    time-out.
    """

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[tuple[Callable[[], bytes], Future[bytes]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"visa {name}", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._thread.is_alive()

    def submit(self, work: Callable[[], bytes]) -> Future[bytes]:
        """Execute a call after those before it."""
        future: Future[bytes] = Future()
        self._calls.put((work, future))
        return future

    def stop(self) -> None:
        """End after the calls that were submitted."""
        self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            _carry_out(*call)
            del call  # otherwise a failed session is not freed until the next call


def _carry_out(work: Callable[[], bytes], future: Future[bytes]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(work())
    except InstrumentError as error:
        error.__context__ = None  # its stack frames would keep the sockets of the library open
        future.set_exception(error.with_traceback(None))
