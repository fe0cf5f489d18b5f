"""Sends the answers of one instrument after their delays, applies faults, and reports each answer to the truth file."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from simulators.gateway import Gateway

if TYPE_CHECKING:
    from simulators.chance import FaultChooser
    from simulators.instrument import Answer
    from simulators.truth import Truth

Write = Callable[[bytes], object]
"""Sends bytes; gives False where nobody is connected any more."""
SWAPPED = "SIM0SWAPPED"


@dataclass(slots=True)
class Speaker:
    """Sends for one instrument; `started` is the monotonic instant at which the lab was started."""

    name: str
    faults: FaultChooser
    truth: Truth
    started: float
    powered: bool = True
    listeners: dict[Write, Callable[[], None]] = field(default_factory=dict)
    """The open connections, and what lets each of them hear again what is sent without a request."""
    _pending: set[asyncio.TimerHandle] = field(default_factory=set)
    _gateway: Gateway = field(init=False)

    def __post_init__(self) -> None:
        self._gateway = Gateway(self.faults.faults, random.Random(f"{self.name}/gateway"))

    @property
    def now(self) -> float:
        """Seconds since the lab was started."""
        return time.monotonic() - self.started

    def forget(self) -> None:
        """Drop all answers that are not sent yet; what is in a gateway still comes."""
        for handle in self._pending:
            handle.cancel()
        self._pending.clear()

    def power_off(self) -> None:
        """Say nothing and hear nothing from now on."""
        self.powered = False
        self.forget()

    def power_on(self, greeting: bytes) -> None:
        """Speak again, and send what an instrument sends after switching on."""
        self.powered = True
        self.shout(greeting)
        self.resume()

    def shout(self, data: bytes) -> None:
        """Send to every open connection, without a fault."""
        for write in list(self.listeners):
            if data:
                write(data)

    def resume(self) -> None:
        """Let every open connection hear what is sent without a request."""
        for resume in list(self.listeners.values()):
            resume()

    def say(self, request: bytes, answer: Answer, write: Write) -> None:
        """Send an answer after its delay, with or without a fault, then its `then`; an empty reply is not sent."""
        if not answer.reply or not self.powered:
            return
        if answer.then is not None:
            self.say(request, replace(answer.then, delay=answer.delay + answer.then.delay), write)
        kind = self.faults.next(self.now)
        delay = answer.delay + (self.faults.faults.late_s if kind == "late" else 0.0)
        heard = time.time_ns()
        if delay <= 0:
            self._leave(request, answer, kind, write, heard)
            return
        loop = asyncio.get_running_loop()

        def send() -> None:
            self._pending.discard(handle)
            self._leave(request, answer, kind, write, heard)

        handle = loop.call_later(delay, send)
        self._pending.add(handle)

    def _leave(self, request: bytes, answer: Answer, kind: str | None, write: Write, heard: int) -> None:
        """Let the answer leave the instrument; a gateway may hold it."""
        hold = self._gateway.hold(self.now)
        if hold > 0:
            asyncio.get_running_loop().call_later(hold, self._send, request, answer, kind, write, heard)
        else:
            self._send(request, answer, kind, write, heard)

    def _send(self, request: bytes, answer: Answer, kind: str | None, write: Write, heard: int) -> None:
        sent = time.time_ns()
        reply = answer.reply if kind in {None, "late"} else self.faults.spoil(kind, request, answer.reply)
        if reply and write(reply) is False:
            kind = "unheard"
        self.truth.note(self.name, request, answer, kind, heard_ns=heard, sent_ns=sent)
