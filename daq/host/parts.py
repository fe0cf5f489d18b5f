"""The keeper of one part of a service: what goes wrong in it is told, counted, begun again, and costs no other part.

Besides the supervisor, which keeps the followers of a station, this is where every Exception is caught.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from daq.host.clock import Clock

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
RESET_AFTER = 600.0
"""Seconds without a failure after which the next pause is `FIRST_PAUSE`, and the next traceback is told, again."""


class Failures:
    """Counts what went wrong in one part; tells each kind of it with its traceback once, and gives growing pauses."""

    def __init__(self, name: str, clock: Clock, longest_pause: float = LONGEST_PAUSE) -> None:
        self.name = name
        self.count = 0
        self.last = ""
        """Words of the last failure."""
        self.pause = 0.0
        self._clock = clock
        self._longest = longest_pause
        self._at = -RESET_AFTER
        self._told: set[str] = set()

    def note(self, error: BaseException) -> bool:
        """Count a failure; gives whether it is of a new kind, which is then told with its traceback."""
        self.count += 1
        self.last = in_words(error)
        self.next_pause()
        kind = _kind(error)
        if kind in self._told:
            log.debug("%s: %s, again", self.name, self.last)
            return False
        self._told.add(kind)
        log.error("%s failed: %s", self.name, self.last, exc_info=error)
        return True

    def next_pause(self) -> float:
        """Give the seconds to wait before the next attempt: each is twice the one before, up to a longest one."""
        now = self._clock.monotonic()
        if now - self._at > RESET_AFTER:
            self.pause = FIRST_PAUSE
            self._told.clear()
        else:
            self.pause = min(2 * self.pause, self._longest)
        self._at = now
        return self.pause


def in_words(error: BaseException) -> str:
    """Name the error and where it arose, in one line: "IndexError: list index out of range (mt_sics.py, line 48)"."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename.rpartition('/')[2]}, line {frames[-1].lineno})" if frames else ""
    return " ".join(f"{type(error).__name__}: {_said(error)}".removesuffix(": ").split())[:300] + where


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  # an error of a third party may fail even here: its keeper must not end by that
        return "an error that cannot be written in words"


def _kind(error: BaseException) -> str:
    """Tell failures apart by their type and by the line that raised them; words may hold a number that changes."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} {frames[-1].filename}:{frames[-1].lineno}" if frames else type(error).__name__


def is_own_end() -> bool:
    """Whether this task itself was told to end; else a CancelledError came out of something that it awaited."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class Part:
    """One part of a service beside the instruments: the publisher, the control socket, the road of a bridge."""

    def __init__(self, name: str, clock: Clock, longest_pause: float = 10.0) -> None:
        self.failures = Failures(name, clock, longest_pause)
        self._clock = clock
        self._failed = False
        self._begun: float | None = None

    @property
    def state(self) -> str:
        """Say "working", "failing", or "running again" where an attempt runs for longer than the pause before it."""
        if not self._failed:
            return "working"
        begun = self._clock.monotonic() if self._begun is None else self._begun
        return "running again" if self._clock.monotonic() - begun > self.failures.pause else "failing"

    async def keep(self, work: Callable[[], Awaitable[None]]) -> None:
        """Let `work` run until it returns; where it fails, begin it again after a pause."""
        while await self.once(work):
            await self._clock.sleep_until(self._clock.monotonic() + self.failures.pause)

    async def once(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Let `work` run once; gives whether it failed."""
        self._begun = self._clock.monotonic()
        try:
            await work()
        except asyncio.CancelledError as error:
            if is_own_end():
                raise
            self.failures.note(error)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001  # the one keeper of this part: told, counted, shown in the status
            self.failures.note(error)
        else:
            self._failed = False
            return False
        finally:
            self._begun = None
        self._failed = True
        return True

    def guarded(self, call: Callable[P, T], instead: T) -> Callable[P, T]:
        """Give a call that fails for this part only: where it does, its result is `instead`."""

        def guard(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                result = call(*args, **kwargs)
            except Exception as error:  # noqa: BLE001  # as above
                self.failures.note(error)
                self._failed = True
                return instead
            self._failed = False
            return result

        return guard


class Parts:
    """The parts of one service by name, with what went wrong in each."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._parts: dict[str, Part] = {}

    def __getitem__(self, name: str) -> Part:
        """Give the part of this name, a new one where there is none yet."""
        return self._parts.setdefault(name, Part(name, self._clock))

    def status(self) -> dict[str, dict[str, object]]:
        """Give the parts in which something went wrong since the start."""
        return {
            name: {
                "state": one.state,
                "failures": one.failures.count,
                "last_error": one.failures.last,
            }
            for name, one in self._parts.items()
            if one.failures.count
        }
