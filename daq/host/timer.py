"""Wakes tasks at exact instants by one timer of the kernel; event loops count in whole milliseconds, and round up."""

from __future__ import annotations

import ctypes
import heapq
import itertools
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

_MONOTONIC = 1  # CLOCK_MONOTONIC, the clock of time.monotonic() and of the event loop; time.h
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC  # TFD_NONBLOCK and TFD_CLOEXEC have the same values; timerfd_create(2)
_LONGEST = 86_400.0
"""Seconds after which the timer rings at the latest; who waits for longer waits on."""
_CROWD = 1_000
"""Entries from which on cancelled ones are looked for."""
_libc = ctypes.CDLL(None, use_errno=True)


class _Times(ctypes.Structure):
    """struct itimerspec: interval and first expiry, each in seconds and nanoseconds."""

    _fields_ = [(name, ctypes.c_long) for name in ("every_s", "every_ns", "at_s", "at_ns")]


class Timer:
    """One timerfd of one event loop, for any number of waiting tasks; OSError where the kernel gives none."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._fd = _libc.timerfd_create(_MONOTONIC, _FLAGS)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._crowd = _CROWD
        loop.add_reader(self._fd, self._ring)

    async def sleep_until(self, instant: float) -> None:
        """Return at or after the monotonic `instant`; late by some hundredths of a millisecond on an idle machine."""
        future: asyncio.Future[None] = self.loop.create_future()
        heapq.heappush(self._waiting, (instant, next(self._order), future))
        if self._waiting[0][2] is future:
            self._set(instant)
        if len(self._waiting) > self._crowd:
            self._waiting = [one for one in self._waiting if not one[2].done()]
            heapq.heapify(self._waiting)
            self._crowd = max(_CROWD, 2 * len(self._waiting))
        await future

    def close(self) -> None:
        """Give the descriptor back; who still waits is not woken."""
        if not self.loop.is_closed():
            self.loop.remove_reader(self._fd)
        os.close(self._fd)

    def _ring(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return
        now = time.monotonic()
        while self._waiting and self._waiting[0][0] <= now:
            _, _, future = heapq.heappop(self._waiting)
            if not future.done():
                future.set_result(None)
        while self._waiting and self._waiting[0][2].done():
            heapq.heappop(self._waiting)
        if self._waiting:
            self._set(self._waiting[0][0])

    def _set(self, instant: float) -> None:
        left = max(1, round(min(instant - time.monotonic(), _LONGEST) * 1e9))  # zero would stop the timer
        times = _Times(0, 0, *divmod(left, 1_000_000_000))
        _libc.timerfd_settime(self._fd, 0, ctypes.byref(times), None)
