"""One wire and its rules: which link may ask when, what happens after a failure, and when it is opened again."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

from drivers.driver import Text
from drivers.errors import Lost, Silent, Unreadable
from drivers.links.connection import Changed, Connection, Measure, Refusal
from drivers.links.pause import wait_until
from drivers.links.turn import Turn

if TYPE_CHECKING:
    from drivers.links.ear import Ear
    from drivers.links.place import Place

Connect: TypeAlias = Callable[[], Awaitable[Connection]]

SILENT_ROUNDS = 3
"""Questions in a row without one byte, after which the wire is closed and opened again: the session may be dead."""
STILL_ANSWERS = 60.0
"""Seconds for which an instrument that answered its last question shows that the session on its wire is alive."""
TALK_GAP = 2.0
"""Seconds at most between two lines of an instrument that goes on talking."""
_TALKS_FOR = 1.0
_TALKS_OFTEN = 3


class Wire:
    """A serial port or TCP connection that one or several instruments use in turn.

    After a failure the wire is suspect: the next question waits until no byte came for the quiet time of the link that
    failed. Each opening has a number: a link may ask only with the number of the present opening, so every instrument
    identifies itself again after the wire was opened again. Where the other side closed it between two questions,
    it is opened again without a failure, and counts as one unasked byte: that makes every instrument prove itself.
    """

    def __init__(self, name: str, connect: Connect, *, pause: float = 0.0) -> None:
        """`pause` is the time in seconds without bytes that is required between two frames."""
        self.name = name
        self.turn = Turn()
        self.ear: Ear | None = None
        self.unasked = 0
        self.last_stray = -math.inf
        """Monotonic instant at which bytes came last that nobody had asked for."""
        self.rubbish = 0
        self._connect = connect
        self._pause = pause
        self._connection: Connection | None = None
        self._opening = 0
        self._same_since = 0
        """The first opening after which no other than quiet ones followed."""
        self._trouble = True
        self._refused: tuple[float, str] = (0.0, "")
        self._listens = False
        self._silent = (0, 0)
        self._users: set[Place] = set()
        self._quiet = 0.0
        self._suspect_from = 0.0

    async def open(self, place: Place) -> None:
        """Open where it is not open; Lost where that fails."""
        arrived = time.monotonic()
        place.waiting = True
        self._users.add(place)  # before the wait: who is released meanwhile must not come back as a user
        try:
            async with self.turn.of(place, asks=False):
                if place not in self._users:
                    raise Lost(f"{self.name}: closed while it waited to be opened")
                if self._connection is None or self._connection.lost:
                    await self._open_anew(arrived)
                    if place not in self._users:  # released while it was opened
                        self.leave(place)
                        raise Lost(f"{self.name}: closed while it was opened")
                place.opening = self._opening
        finally:
            place.waiting = False

    def leave(self, place: Place) -> None:
        """Release the wire; it closes when no link uses it any more."""
        place.opening = None
        self._users.discard(place)
        self.turn.leave(place)
        if not self._users and self._connection is not None:
            self._connection.lose("closed")
            self._connection = None
            self._trouble = True

    def distrust(self, quiet: float, place: Place | None = None) -> None:
        """Let the next question wait until no byte came for `quiet` seconds, counted from the last byte.

        `place`: whose answer could not be read; the wait counts for its share.
        """
        self._quiet = max(self._quiet, quiet)
        if place is not None:
            place.failing = True
            self.turn.blame(place, quiet)

    async def ask(
        self, place: Place, command: Callable[[], bytes], measure: Measure, within: float, quiet: float
    ) -> bytes:
        """Ask and await the answer; after a failure the wire must be quiet for `quiet` seconds."""
        place.waiting = True
        try:
            async with self.turn.of(place):
                connection, future = await self._sent(place, command, measure, within)
                place.waiting = False
                return await self._answer(place, connection, future, quiet)
        finally:
            place.waiting = False

    async def listen(self, place: Place, end: bytes, within: float) -> bytes:
        """Await the next line that is sent without a question."""
        place.waiting = True
        try:
            async with self.turn.of(place):
                self._listens = True
                connection = await self._opened(place)
                place.waiting = False
                place.sent = time.monotonic()
                try:
                    heard = await connection.listen(end, within)
                finally:
                    connection.withdraw()
                place.failing = False
                return heard
        finally:
            place.waiting = False

    async def tell(self, place: Place, command: bytes) -> None:
        """Send what is not answered."""
        place.waiting = True
        try:
            async with self.turn.of(place):
                place.sent = time.monotonic()
                try:
                    (await self._ready(place)).tell(command)
                except Lost:
                    if not self._closed_between():
                        raise
                    (await self._ready(place)).tell(command)
        finally:
            place.waiting = False

    async def _sent(
        self, place: Place, command: Callable[[], bytes], measure: Measure, within: float
    ) -> tuple[Connection, asyncio.Future[bytes]]:
        try:
            return await self._send(place, command, measure, within)
        except Lost:
            if not self._closed_between():
                raise
        return await self._send(place, command, measure, within)  # it was closed before the question went out

    def _closed_between(self) -> bool:
        """Whether the other side closed the connection, and no question was on its way."""
        return self._connection is not None and not self._trouble and self._connection.idle

    async def _send(
        self, place: Place, command: Callable[[], bytes], measure: Measure, within: float
    ) -> tuple[Connection, asyncio.Future[bytes]]:
        connection = await self._ready(place)
        before, place.sent = place.sent, time.monotonic()
        try:
            future = connection.ask(command(), measure, within)
        except Lost:
            place.sent = before
            raise
        if self.ear is not None:
            self.unasked += self.ear.forget()
        return connection, future

    async def _answer(self, place: Place, connection: Connection, future: asyncio.Future[bytes], quiet: float) -> bytes:
        place.failing = True
        arrivals = connection.arrivals
        try:
            answer = await future
        except Silent:
            self._count_silence(place, connection, arrivals)
            self._suspect(connection, quiet)
            raise
        except Changed:  # it was the answer, whole and in time
            self._suspect(connection, place.short_quiet if place.provable else quiet)
            place.silent_since, place.silences = None, 0
            raise
        except Refusal as refusal:
            if refusal.of_the_unit:  # it was its answer, whole and in time: nobody has to wait for anything
                self._note_answer(place)
            else:
                self._suspect(connection, quiet)
            raise
        except BaseException:  # lost, unreadable or cancelled: a late answer may still come
            self._suspect(connection, quiet)
            raise
        self._note_answer(place)
        return answer

    @staticmethod
    def _note_answer(place: Place) -> None:
        place.failing = False
        place.silent_since, place.silences = None, 0

    async def _ready(self, place: Place) -> Connection:
        self._listens = False
        connection = await self._opened(place)
        if self._quiet:
            await self._wait_for_quiet(connection, place)
            connection = await self._opened(place)  # it may have been closed meanwhile
        if self._pause:
            await wait_until(connection.last_byte + self._pause)
        return connection

    async def _opened(self, place: Place) -> Connection:
        connection = self._connection
        if connection is None or place.opening is None:
            raise Lost(f"{self.name}: not open")
        if connection.lost:
            if self._trouble or not connection.idle:
                raise Lost(f"{self.name}: {connection.lost}")
            await self._open_anew(time.monotonic())
            connection = self._connection or connection
            if place not in self._users:  # released while it was opened
                self.leave(place)
                raise Lost(f"{self.name}: closed while it was opened")
        if place.opening != self._opening:
            if place.opening < self._same_since:
                raise Lost(f"{self.name}: opened anew since; who answers must be asked again")
            place.opening = self._opening
            place.reopened += 1
        return connection

    async def _open_anew(self, arrived: float) -> None:
        failed, why = self._refused
        if arrived <= failed:  # it waited while another one failed to open
            raise Lost(why)
        former = self._connection
        quietly = former is not None and former.idle and not self._trouble
        self._trouble = True
        try:
            connection = await self._connect()
        except Lost as error:
            self._refused = (time.monotonic(), str(error))
            raise
        connection.stray = self._hear
        self._connection = connection
        self._trouble = False
        self._silent = (0, 0)
        self._opening += 1
        if quietly:
            self.unasked += 1
        else:
            self._same_since = self._opening

    def _hear(self, data: bytes) -> None:
        if not self._listens:
            self.last_stray = time.monotonic()
            self.unasked += len(data) if self.ear is None else self.ear.hear(data)

    def _suspect(self, connection: Connection, quiet: float) -> None:
        connection.withdraw()
        self._suspect_from = time.monotonic()
        self._quiet = max(self._quiet, quiet)
        self.turn.charge(quiet)

    def _count_silence(self, place: Place, connection: Connection, arrivals: int) -> None:
        # While another instrument answers the session is not dead: opening it anew might cost that one a reading. One
        # that answered before this one fell silent, and was not asked since, shows that only for some rounds.
        since = place.silent_since = place.silent_since or place.sent
        place.silences += 1
        answered = max((user.sent for user in self._users if user.failing is False), default=-math.inf)
        lately = time.monotonic() - answered < STILL_ANSWERS
        served = lately and answered > since
        if served or connection.arrivals != arrivals:
            self._silent = (0, connection.arrivals)
            return
        rounds, counted_at = self._silent
        rounds = rounds + 1 if counted_at == arrivals else 1
        self._silent = (rounds, arrivals)
        if rounds >= SILENT_ROUNDS and (place.silences >= SILENT_ROUNDS or not lately):
            connection.lose(f"no byte came in {rounds} rounds; opened again")
        elif rounds > 1:
            connection.let_go_on()

    async def _wait_for_quiet(self, connection: Connection, place: Place) -> None:
        quieting = place.quieting
        while not await self._became_quiet(connection, can_end=bool(quieting)):
            if not quieting:
                told = f', even after "{Text.show(b" ".join(place.quieting))}"' if place.quieting else ""
                raise Unreadable(
                    f"{self.name}: talks without being asked and does not become quiet{told}; continuous mode?"
                )
            for command in quieting:
                if not connection.lost:
                    connection.tell(command)
                    await asyncio.sleep(min(self._quiet, 0.2))
            quieting = ()
            if place.provable:  # control questions follow: what matters is that the talking has ended
                self._quiet = min(self._quiet, TALK_GAP)
        if not connection.lost:
            self._quiet = 0.0

    async def _became_quiet(self, connection: Connection, *, can_end: bool) -> bool:
        """Wait until it is quiet; False where it goes on talking. `can_end`: there is a way to end that."""
        began, arrivals = time.monotonic(), connection.arrivals
        while not connection.lost:
            now = time.monotonic()
            wait = max(self._suspect_from, connection.last_byte) + self._quiet - now
            if wait <= 0:
                break
            if now > began + 3 * self._quiet + 1:
                return False
            talks = connection.arrivals - arrivals >= _TALKS_OFTEN and now - connection.last_byte < _TALKS_FOR
            if can_end and talks and now > began + min(_TALKS_FOR, 3 * self._quiet):
                return False
            await asyncio.sleep(min(wait, _TALKS_FOR))
        return True
