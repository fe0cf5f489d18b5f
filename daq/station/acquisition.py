"""Reads every instrument on its grid; what was read goes to the spool, and so does why something was not.

A failing instrument does not delay the others, and a poll that cannot be read does not cost the other polls of its
instrument anything.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from daq.host.clock import STEP
from daq.road.reading import EventKind
from daq.station.doubts import Doubts
from daq.station.grid import Grid
from daq.station.missed import THE_STOP, Missed
from daq.station.patience import Patience
from daq.station.proofs import Proofs
from daq.station.readings import Readings
from drivers.errors import Impostor, InstrumentError, Silent, Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from daq.station.records import Station
    from drivers.driver import Poll
    from drivers.instrument import Answer, Instrument

PLUG_CHECK = 0.5
"""Seconds between two checks whether an instrument that is asked less often was plugged in again."""


class _OnePoll(Exception):
    """One poll of an instrument could not be read, which says nothing of its others."""

    def __init__(self, cause: Unreadable) -> None:
        super().__init__(str(cause))
        self.cause = cause


@dataclass(slots=True)
class Follower:
    """Follows one instrument for as long as the station runs.

    `period` is in seconds; 0.0 asks again as soon as the instrument has answered.
    """

    station: Station
    instrument: Instrument[Any]
    period: float
    simulated: bool = False
    readings: int = 0
    errors: int = 0
    last_at: int | None = None
    last_error: str = ""
    restarts: int = 0
    stopping: bool = False
    ending: str = THE_STOP
    """Why this follower ends: text for a gap that is still open then."""
    for_good: bool = field(default=False, init=False)
    """Whether nobody goes on with this instrument when this follower has ended."""
    asking: bool = field(default=False, init=False)
    proving_last: bool = field(default=False, init=False)
    _tick: float | None = field(default=None, init=False)
    """Tick that is being served."""
    _missing: set[int] = field(default_factory=set, init=False)
    """Polls of that tick that are neither taken nor counted."""
    left_alone: bool = field(default=False, init=False)
    """It could not be ended, and its accounts were closed from outside."""
    expected_by: float = math.inf
    """Monotonic instant by which this follower must have made progress; after it, it counts as stuck."""
    account: Missed = field(init=False)
    grid: Grid = field(init=False)
    doubts: Doubts = field(init=False)
    _proofs: Proofs = field(init=False)
    _made: Readings = field(init=False)
    longest_wait: float = field(default=0.0, init=False)
    """Seconds from a tick within which a healthy instrument has been read, or has failed."""
    _told: str = field(default="", init=False)
    """Cause of the last failure that was told, until something is read again."""
    _patience: Patience = field(init=False)

    def __post_init__(self) -> None:
        name, driver = self.instrument.name, self.instrument.driver
        self.longest_wait = 30.0 + self.period + self.instrument.longest_round
        self.account = Missed(self.station, name, len(driver.polls))
        self.grid = Grid(self.station.clock, self.period, self.account, self.instrument.expire_proof)
        identity = driver.identity
        provable = identity is not None and not identity.disturbs
        self.doubts = Doubts(self.station, name, provable=provable)
        self._patience = Patience(self.period)
        self._proofs = Proofs(self.station, self.instrument, self.doubts)
        self._made = Readings(self.station, self.instrument, self.grid, self.simulated)

    @property
    def state(self) -> str:
        """Say "reading", "failing" or "waiting" (nothing read yet)."""
        return "failing" if self.account.failing else "reading" if self.readings else "waiting"

    @property
    def missed(self) -> int:
        """Polls that were due and not taken."""
        return self.account.total

    def overdue(self, now: float) -> float:
        """Give the seconds by which this follower should have made progress; 0.0 while it only waits for its wire."""
        if self.instrument.link.waiting:
            self.expected_by = max(self.expected_by, now + self.longest_wait)
        return max(0.0, now - self.expected_by)

    async def run(self) -> None:
        """Read until cancelled or told to stop; then tell what is still untold and close the instrument."""
        self._proofs.begin()
        try:
            if self.period:
                while not self.stopping:
                    await self._follow_grid()
            else:
                await self._ask_continuously()
        finally:
            self.expected_by = self.station.clock.monotonic() + self.longest_wait
            try:
                self.grid.end(self.ending)
                self.proving_last = self.stopping
                if self.stopping and (error := await self._proofs.prove_last()) is not None:
                    self._tell_failure(error)
            finally:
                self.proving_last = False
                if not self.left_alone:
                    self._tell_accounts()
                self.asking = False
                await self.instrument.close()
                self.expected_by = math.inf

    def end_in_pause(self) -> None:
        """Tell what is untold and unproven, where it ends while it waits to be started again: nobody will ask again."""
        self.stopping = True
        self.grid.end(self.ending)
        self._tell_accounts()

    def leave_alone(self) -> None:
        """Do the same where it cannot be ended: whatever it does later is not stored, and not counted again."""
        try:
            if self._missing:
                self.account.failed(sorted(self._missing), self.ending)
            if self._tick is not None:
                self.grid.leave(self._tick)
            self.end_in_pause()
        finally:
            self.left_alone = True
            self.station = self.doubts.station = self._proofs.station = self.station.silenced()
            self.account.close_for_good(self.ending)

    def _tell_accounts(self) -> None:
        try:
            if self.stopping:
                self._proofs.catch_up()
                if self.for_good:
                    self.doubts.end_for_good()
                else:
                    self.doubts.end()
        finally:
            self.account.close(self.ending)

    # -- when

    async def _follow_grid(self) -> None:
        """Read at every tick until the wall clock is set or the machine sleeps: then the grid is aligned again."""
        grid = self.grid
        tick = grid.align("it was started again" if self.restarts else "nobody followed it yet")
        while not self.stopping:
            self.expected_by = tick + self.longest_wait
            if not await grid.reach(tick):
                if grid.realign(tick):
                    await self._take_and_tell(tick)
                return
            tick = grid.follow(await self._take_and_tell(tick))

    async def _take_and_tell(self, tick: float) -> float:
        """Read at this tick, and count the ticks that pass meanwhile; gives the next one."""
        self._tick = tick
        try:
            self.asking = True
            pause = await self._take()
            await self._prove_before(tick + (self.grid.passed(tick) + 1) * self.period)
            self.asking = False
            if pause:
                await self._pause(pause)
        finally:
            self._tick = None
            tick = self.grid.leave(tick)
        return tick

    async def _ask_continuously(self) -> None:
        clock = self.station.clock
        while not self.stopping:
            self.expected_by = clock.monotonic() + self.longest_wait
            self.asking = True
            pause = await self._take()
            self.asking = False
            if pause:
                await self._pause(pause)

    async def _pause(self, pause: float) -> None:
        """Wait for so many seconds before a failing instrument is asked again, or until it is plugged in again."""
        clock = self.station.clock
        end, port = clock.monotonic() + pause, self.instrument.plugged()
        self.expected_by = end + self.longest_wait
        while (left := end - clock.monotonic()) > 0:
            await clock.sleep_until(clock.monotonic() + min(left, PLUG_CHECK))
            before, port = port, self.instrument.plugged()
            if port != before and port is not None:
                self._patience.begin_anew()
                break

    # -- what

    async def _take(self) -> float:
        """Ask every poll once; gives the seconds to pause beyond the next tick."""
        missing = self._missing = set(range(len(self.instrument.driver.polls)))
        unreadable: list[int] = []
        taken = 0
        try:
            for number, poll in self._due_polls(missing):
                try:
                    if not self.instrument.connected:
                        await self._proofs.connect()
                    answer = await self._read(poll)
                except _OnePoll as error:
                    self._failed([number], error.cause)
                    missing.discard(number)
                    unreadable.append(number)
                except InstrumentError as error:  # the wire or the instrument itself: no other poll could be read
                    self._proofs.notice_other_serial()
                    self._failed(sorted(missing), error)
                    missing.clear()
                    self._proofs.announced = False
                    break
                else:
                    self._keep(number, poll, answer)
                    missing.discard(number)
                    taken += 1
        finally:
            if missing:  # ended in the middle
                self.account.failed(sorted(missing), self.ending)
                missing.clear()
        if not taken:
            return self._patience.none_read()
        self._told = ""
        self._patience.some_read(unreadable, self.station.clock.monotonic())
        return 0.0

    def _due_polls(self, missing: set[int]) -> Iterator[tuple[int, Poll[Any]]]:
        """Give the polls to be asked at this tick; one that failed again and again is left out for some time."""
        for number, poll in enumerate(self.instrument.driver.polls):
            if self._patience.due(number, self.station.clock.monotonic()):
                yield number, poll
            else:
                missing.discard(number)
                if self.period:  # else nothing is due at any instant
                    self.account.failed([number], self.last_error)

    async def _read(self, poll: Poll[Any]) -> Answer:
        """Read one poll; an answer that was awaited while the machine slept is no reading of either instant."""
        clock, instrument = self.station.clock, self.instrument
        asleep = self.grid.asleep_before()
        try:
            answer = await instrument.read(poll)
        except InstrumentError as error:
            if instrument.proving:  # it was due, or bytes came that nobody asked for
                self._proofs.failed(error)
                raise
            if isinstance(error, Unreadable):
                raise _OnePoll(error) from error
            raise
        if clock.asleep() - asleep > STEP:
            instrument.expire_proof()
            raise Silent(f"{instrument.name}: the machine was suspended while the answer was awaited")
        self._proofs.notice_other_serial()
        return answer

    async def _prove_before(self, next_tick: float) -> None:
        """Use the time until the next tick for a proof that would be due then, so that no reading waits for it."""
        if self.period < self.instrument.prove_every and self.instrument.proof_due(next_tick):
            try:
                await self._proofs.prove()
            except InstrumentError as error:
                self._tell_failure(error)

    def _keep(self, number: int, poll: Poll[Any], answer: Answer) -> None:
        if self.left_alone:
            return
        self._patience.read(number)
        self.account.read(number)
        readings = self._made.of(poll, answer)
        for reading, sample in zip(readings, answer.samples, strict=True):
            shown = None if sample.value is None else sample.unit is not None
            self.doubts.stored(reading.series.channel, reading.at, answer.proofs, unit_shown=shown)
            self.last_at = reading.at
        self.readings += self.station.keep_answer(readings)

    def _failed(self, numbers: Sequence[int], error: InstrumentError) -> None:
        """Tell why these polls could not be taken, and count them."""
        self._tell_failure(error, numbers)
        self.account.failed(numbers, str(error))

    def _tell_failure(self, error: InstrumentError, polls: Sequence[int] = ()) -> None:
        self.errors += 1
        cause = str(error)
        name = self.instrument.name
        if isinstance(error, Unreadable):
            raw = error.raw.decode("latin-1").encode("unicode_escape").decode()
            self.station.event(EventKind.UNREADABLE, cause, instrument=name, raw=raw[:1000])
        elif cause != self._told or not all(self.account.is_failing(number) for number in polls):
            kind = EventKind.IDENTITY if isinstance(error, Impostor) else EventKind.DISCONNECT
            self.station.event(kind, cause, instrument=name)
        self.doubts.other_unit(error)
        self.last_error = self._told = cause
