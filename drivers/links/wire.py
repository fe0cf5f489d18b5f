"""One wire and its rules: which link may ask when, what happens after a failure, and when it is opened again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from drivers.errors import Lost, Unreadable
from drivers.links.connection import Connection, Measure

Connect: TypeAlias = Callable[[], Awaitable[Connection]]


class Wire:
    """A serial port or TCP connection that one or several instruments use in turn.

    Only the link that holds the lock `turn` asks. After a failure the wire is suspect: the next question waits until
    no byte came for the settle time of the link that failed. Each opening has a number: a link may ask only with the
    number of the present opening, so every instrument identifies itself again after the wire was opened again.
    """

    def __init__(self, name: str, connect: Connect, *, pause: float = 0.0) -> None:
        """`pause` is the time in seconds without bytes that is required between two frames."""
        self.name = name
        self.turn = asyncio.Lock()
        self.sent = 0.0
        self._connect = connect
        self._pause = pause
        self._connection: Connection | None = None
        self._opening = 0
        self._users: set[object] = set()
        self._settle = 0.0
        self._suspect_from = 0.0

    async def open(self, user: object) -> int:
        """Open where it is not open, and give the number of the opening; Lost where that fails."""
        async with self.turn:
            self._users.add(user)
            if self._connection is None or self._connection.lost:
                self._connection = await self._connect()
                self._opening += 1
                if user not in self._users:  # released while it was opened
                    self.leave(user)
                    raise Lost(f"{self.name}: closed while it was opened")
            return self._opening

    def leave(self, user: object) -> None:
        """Release the wire; it closes when no link uses it any more."""
        self._users.discard(user)
        if not self._users and self._connection is not None:
            self._connection.lose("closed")
            self._connection = None

    def distrust(self, settle: float) -> None:
        """Let the next question wait until no byte came for `settle` seconds, counted from the last byte."""
        self._settle = max(self._settle, settle)

    async def ask(self, opening: int, command: bytes, measure: Measure, within: float, settle: float) -> bytes:
        """Ask and await the answer; the caller holds `turn`."""
        connection = await self._ready(opening)
        answered = False
        try:
            self.sent = time.monotonic()  # the clock of uvloop changes only once per iteration, in whole ms
            answer = await connection.ask(command, measure, within)
            answered = True
        finally:
            if not answered:  # silent, lost, unreadable or cancelled: a late answer may still come
                self._suspect(connection, settle)
        return answer

    async def listen(self, opening: int, end: bytes, within: float) -> bytes:
        """Await the next line that is sent without a question; the caller holds `turn`."""
        connection = self._opened(opening)
        try:
            return await connection.listen(end, within)
        finally:
            connection.withdraw()

    async def tell(self, opening: int, command: bytes) -> None:
        """Send what is not answered; the caller holds `turn`."""
        (await self._ready(opening)).tell(command)

    async def _ready(self, opening: int) -> Connection:
        connection = self._opened(opening)
        if self._settle:
            await self._wait_for_quiet(connection)
        if self._pause:
            await self._wait_until(connection.last_byte + self._pause)
        return connection

    def _opened(self, opening: int) -> Connection:
        if self._connection is None:
            raise Lost(f"{self.name}: not open")
        if self._connection.lost:  # before this question: no answer to it can come late, so nothing becomes suspect
            raise Lost(f"{self.name}: {self._connection.lost}")
        if opening != self._opening:
            raise Lost(f"{self.name}: opened anew since; who answers must be asked again")
        return self._connection

    def _suspect(self, connection: Connection, settle: float) -> None:
        connection.withdraw()
        self._suspect_from = asyncio.get_running_loop().time()
        self._settle = max(self._settle, settle)

    async def _wait_for_quiet(self, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        last_moment = loop.time() + 3 * self._settle + 1
        while not connection.lost:
            wait = max(self._suspect_from, connection.last_byte) + self._settle - loop.time()
            if wait <= 0:
                break
            if loop.time() > last_moment:
                raise Unreadable(f"{self.name}: talks without being asked and does not become quiet; continuous mode?")
            await asyncio.sleep(wait)
        self._settle = 0.0

    async def _wait_until(self, moment: float) -> None:
        # The loop sleeps in whole milliseconds, rounded up; at 19200 baud that would waste a tenth of the time
        # of the line, so in the last 1.5 ms it only lets other tasks run, without sleeping.
        loop = asyncio.get_running_loop()
        while (wait := moment - loop.time()) > 0:  # noqa: ASYNC110  # it is time that is awaited, no event
            await asyncio.sleep(wait - 0.001 if wait > 0.0015 else 0)
