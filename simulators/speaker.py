"""Sends the answers of one instrument after their delays, applies faults, and reports each answer to the truth file."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulators.faults import FaultChooser
    from simulators.instrument import Answer
    from simulators.truth import Truth

Write = Callable[[bytes], None]
SWAPPED = "SIM0SWAPPED"


@dataclass(slots=True)
class Speaker:
    """Sends for one instrument; `started` is the monotonic instant at which the lab was started."""

    name: str
    faults: FaultChooser
    truth: Truth
    started: float
    _pending: set[asyncio.TimerHandle] = field(default_factory=set)

    @property
    def now(self) -> float:
        """Seconds since the lab was started."""
        return time.monotonic() - self.started

    def forget(self) -> None:
        """Drop all answers that are not sent yet."""
        for handle in self._pending:
            handle.cancel()
        self._pending.clear()

    def say(self, request: bytes, answer: Answer, write: Write) -> None:
        """Send an answer after its delay, with or without a fault, then its `then`; an empty reply is not sent."""
        if not answer.reply:
            return
        if answer.then is not None:
            self.say(request, replace(answer.then, delay=answer.delay + answer.then.delay), write)
        kind = self.faults.next(self.now)
        delay = answer.delay + (self.faults.faults.late_s if kind == "late" else 0.0)
        if delay <= 0:
            self._send(request, answer, kind, write)
            return
        loop = asyncio.get_running_loop()

        def send() -> None:
            self._pending.discard(handle)
            self._send(request, answer, kind, write)

        handle = loop.call_later(delay, send)
        self._pending.add(handle)

    def _send(self, request: bytes, answer: Answer, kind: str | None, write: Write) -> None:
        self.truth.note(self.name, request, answer.reply, answer.values, kind)
        if kind is None or kind == "late":
            write(answer.reply)
        elif spoiled := self.faults.spoil(kind, request, answer.reply):
            write(spoiled)
