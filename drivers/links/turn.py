"""Who may use a wire next: links that answer first, the others within a bounded share of its time."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SHARE = 0.16
"""Part of the time of a wire that links whose last question failed may use while others answer."""
_LONGEST_REST = 60.0
_PATIENCE = 2.0
_BLAMED_FOR = 120.0
"""Seconds within which a second answer that cannot be read makes its user one that fails."""

_Row: TypeAlias = "deque[tuple[User, asyncio.Future[None]]]"


class User(Protocol):
    """One who uses the wire; `failing`: its last question failed, None where none was asked yet."""

    failing: bool | None


class _Purse:
    """What failures have used of their share of the time, and until when they rest for it."""

    def __init__(self) -> None:
        self._paid_until = 0.0
        self.rested_at = 0.0
        self.overdue_at = 0.0

    def pay(self, began: float, now: float, *, owed: bool) -> None:
        """Count a failure from `began` to `now`; where no other one could have used that time, nothing is owed."""
        # One failure may follow another at once; then they wait until the others had their part of the time.
        cost = (now - began) / SHARE
        until = max(self._paid_until, began) + cost if owed else now
        self._paid_until = min(until, now + cost + max(_LONGEST_REST, cost))
        self.rested_at = max(now, self._paid_until - cost)
        self.overdue_at = now + _PATIENCE * max(self.rested_at - now, cost)


class Turn:
    """The right to use a wire: one at a time has it, in the order in which they asked.

    While any user answers, those of whom that is not known come after it, and then the failing ones. What fails uses
    about `SHARE` of the time, and what has failed only once since it answered as much again: it pays for none that
    never answers. When a share has been left to the others for long, it is used before them all the same, or a busy
    wire would never find out that somebody answers again. Among the failing ones, one that has failed only once comes
    first. Time that nobody else could have used is owed to nobody.
    """

    def __init__(self) -> None:
        self._holder: User | None = None
        self._began = 0.0
        self._answering: set[User] = set()
        self._failed_once: set[User] = set()
        self._blamed: dict[User, float] = {}
        self._first: _Row = deque()
        self._once_failed: _Row = deque()
        self._unknown: _Row = deque()
        self._failing: _Row = deque()
        self._purse = _Purse()
        self._purse_of_once_failed = _Purse()
        self._neglected_since = 0.0
        self._alarm: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def of(self, user: User, *, asks: bool = True) -> AsyncIterator[None]:
        """Wait for the turn of this user, and give it to the next one at the end; `asks`: it counts for its share."""
        row = self._row(user) if asks else self._first
        nobody_waits = not (self._first or self._others())
        if self._holder is None and nobody_waits and (row is self._first or not self._resting(row)):
            self._take(user, row)
        else:
            await self._wait(user, row)
        try:
            yield
        finally:
            if asks:
                self._count(user, self._began)
            self._holder = None
            self._hand_on()

    def charge(self, seconds: float) -> None:
        """Count the time for which the user that has the turn will still keep the wire from others."""
        self._began -= seconds

    def blame(self, user: User, seconds: float) -> None:
        """Count the last answer of a user, which could not be read, as a failure that keeps the wire for so long."""
        if self._holder is not user:
            now = time.monotonic()
            if now - self._blamed.get(user, -_BLAMED_FOR) < _BLAMED_FOR:  # it answers in time, and to no use
                self._answering.discard(user)
            self._blamed[user] = now
            self._count(user, now - seconds)

    def leave(self, user: User) -> None:
        """Forget one that uses the wire no more."""
        self._answering.discard(user)
        self._failed_once.discard(user)
        self._blamed.pop(user, None)
        self._hand_on()

    def _row(self, user: User) -> _Row:
        if user.failing is False:
            return self._first
        if user in self._failed_once:
            return self._once_failed
        return self._failing if user.failing else self._unknown

    def _others(self) -> _Row:
        """Give the row of those that come after the answering ones: the best one that does not rest."""
        rows = [row for row in (self._once_failed, self._unknown, self._failing) if row]
        return next(iter([row for row in rows if not self._resting(row)] or rows), self._failing)

    async def _wait(self, user: User, row: _Row) -> None:
        place = (user, asyncio.get_running_loop().create_future())
        if row is not self._first and not self._others():
            self._neglected_since = time.monotonic()
        row.append(place)
        self._hand_on()
        try:
            await place[1]
        except asyncio.CancelledError:
            if place[1].done() and not place[1].cancelled():  # it was its turn in the same moment
                self._holder = None
            elif place in row:
                row.remove(place)
            self._hand_on()
            raise

    def _take(self, user: User, row: _Row) -> None:
        self._holder = user
        self._began = time.monotonic()
        if row is not self._first:
            self._neglected_since = self._began

    def _count(self, user: User, began: float) -> None:
        now = time.monotonic()
        if user.failing is False:
            self._answering.add(user)
            self._failed_once.discard(user)
            return
        purse = self._purse
        if user in self._answering:
            purse = self._purse_of_once_failed
            self._answering.discard(user)
            self._failed_once.add(user)
        else:
            self._failed_once.discard(user)
        purse.pay(began, now, owed=bool(self._answering))

    def _purse_for(self, row: _Row) -> _Purse:
        return self._purse_of_once_failed if row is self._once_failed else self._purse

    def _resting(self, row: _Row) -> bool:
        """Whether those of the row have used their share; it is not counted where nobody else answers."""
        return bool(self._answering) and time.monotonic() < self._purse_for(row).rested_at

    def _hand_on(self) -> None:
        while self._holder is None and (row := self._next_row()) is not None:
            user, future = row.popleft()
            if not future.done():  # else it was cancelled, and its task does not know yet
                self._take(user, row)
                future.set_result(None)

    def _next_row(self) -> _Row | None:
        others, now = self._others(), time.monotonic()
        # However often those fail that answer otherwise: one of the others is asked now and then.
        neglected = now >= self._neglected_since + _LONGEST_REST
        if self._first:
            return others if others and (neglected or now >= self._purse_for(others).overdue_at) else self._first
        if not others:
            return None
        if neglected or not self._resting(others):
            return others
        self._set_alarm()
        return None

    def _set_alarm(self) -> None:
        if self._alarm is None:
            rows = (row for row in (self._once_failed, self._unknown, self._failing) if row)
            wait = max(0.0, min(self._purse_for(row).rested_at for row in rows) - time.monotonic())
            self._alarm = asyncio.get_running_loop().call_later(wait + 0.001, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._hand_on()
