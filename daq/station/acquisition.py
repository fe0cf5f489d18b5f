"""Reads every instrument on its grid; what was read goes to the spool, and so does why something was not.

Instants lie on an absolute grid of the monotonic clock, aligned to multiples of the period on the wall clock. A tick
that was missed is counted and never made up. A failing instrument does not delay the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from daq.host.clock import first_tick, utc_ns_at
from daq.road.reading import EventKind, Reading, Series
from drivers.errors import Impostor, InstrumentError, Unreadable

if TYPE_CHECKING:
    from daq.station.records import Station
    from drivers.driver import Poll
    from drivers.instrument import Answer, Instrument

FAILURES_ALLOWED = 3
"""Failures in a row before an instrument is asked less often."""
LONGEST_PAUSE = 30.0
"""Seconds at most between two attempts then."""
PLUG_CHECK = 0.5
"""Seconds between two checks whether an instrument that is asked less often was plugged in again."""
MISSED_REPORT = 60.0
"""Seconds between two events that say how many ticks a slow instrument missed."""


@dataclass(slots=True)
class Follower:
    """Follows one instrument for as long as the station runs."""

    station: Station
    instrument: Instrument[Any]
    period: float
    simulated: bool = False
    readings: int = 0
    errors: int = 0
    missed: int = 0
    last_at: int | None = None
    last_error: str = ""
    restarts: int = 0
    stopping: bool = False
    ending: str = "the station stops"
    """Why this follower ends: text for a gap that is still open then."""
    asking: bool = field(default=False, init=False)
    expected_by: float = math.inf
    """Monotonic instant by which this follower must have made progress; after it, it counts as stuck."""
    _series: dict[str, Series] = field(default_factory=dict, init=False)
    _stamps: dict[str, int] = field(default_factory=dict, init=False)
    _failures: int = field(default=0, init=False)
    _gap: tuple[int, str, int] | None = field(default=None, init=False)  # since (UTC ns), cause, ticks missed before it
    _unreported: tuple[float, int] = field(default=(0.0, 0), init=False)

    def __post_init__(self) -> None:
        for channel in self.instrument.driver.channels:
            self._series[channel.name] = Series(
                self.station.name, self.instrument.name, channel.name, channel.quantity, channel.unit
            )

    @property
    def state(self) -> str:
        """Say "reading", "failing" or "waiting" (nothing read yet)."""
        return "failing" if self._gap else "reading" if self.readings else "waiting"

    async def run(self) -> None:
        """Read at every tick until cancelled; then end a gap that is still open and close the instrument."""
        clock = self.station.clock
        try:
            while not self.stopping:
                steps, start, count = self.station.clock_steps, first_tick(clock, self.period), 0
                while steps == self.station.clock_steps and not self.stopping:
                    tick = start + count * self.period
                    self.expected_by = tick + self.longest_wait
                    await clock.sleep_until(tick)
                    self.asking = True
                    pause = await self._take()
                    self.asking = False
                    try:
                        if pause:
                            await self._pause(pause)
                    finally:
                        due = math.floor((clock.monotonic() - start) / self.period) + 1
                        self._count_missed(due - count - 1)
                        count = max(due, count + 1)
        finally:
            self.expected_by = math.inf
            if self._gap:
                self._end_gap(self.ending)
            self.asking = False
            await self.instrument.close()

    def note_stuck(self, since: int, missed: int) -> None:
        """Begin a gap at `since` (UTC ns): this follower hung, and is started again."""
        if self._gap is None:
            self._gap = (since, "it made no progress and was started again", self.missed)
        self.missed += missed

    @property
    def longest_wait(self) -> float:
        """Seconds from a tick within which a healthy instrument has been read, or has failed."""
        driver = self.instrument.driver
        polls = sum(poll.query.timeout for poll in driver.polls)
        setup = sum(step.query.timeout for step in driver.setup)
        return float(30.0 + self.period + driver.settle + polls + setup)

    async def _take(self) -> float:
        """Ask every poll once; gives the seconds to pause beyond the next tick."""
        new_connection = not self.instrument.connected
        try:
            for poll in self.instrument.driver.polls:
                self._keep(poll, await self.instrument.read(poll))
        except InstrumentError as error:
            return self._failed(error)
        if new_connection:
            if self._gap:
                self._end_gap("read again")
            identity = f"serial number {self.instrument.serial}" if self.instrument.identified else "not identified"
            self.station.event(EventKind.CONNECT, identity, instrument=self.instrument.name)
        self._failures = 0
        return 0.0

    async def _pause(self, pause: float) -> None:
        """Wait for so many seconds before a failing instrument is asked again, or until it is plugged in again."""
        clock = self.station.clock
        end, port = clock.monotonic() + pause, self.instrument.plugged()
        self.expected_by = end + self.longest_wait
        while (left := end - clock.monotonic()) > 0:
            await clock.sleep_until(clock.monotonic() + min(left, PLUG_CHECK))
            before, port = port, self.instrument.plugged()
            if port != before and port is not None:
                self._failures = 0
                break

    def _keep(self, poll: Poll[Any], answer: Answer) -> None:
        clock = self.station.clock
        middle = utc_ns_at(clock, (answer.asked + answer.answered) / 2)
        rtt = (answer.answered - answer.asked) * 1000
        serial = self.instrument.serial or ""
        simulated = self.simulated or serial.startswith("SIM")
        clock_state = "unsynchronised" if self.station.synchronised is False else ""
        for channel, sample in zip(poll.channels, answer.samples, strict=True):
            # Two readings of a channel never share a stamp.
            at = max(middle, self._stamps.get(channel.name, self.station.last_run_stamp) + 1)
            self._stamps[channel.name] = self.last_at = at
            reading = Reading(
                self._series[channel.name],
                at,
                sample.value,
                sample.status,
                answer.text,
                rtt,
                self.instrument.identified,
                simulated,
                "held" if at != middle else clock_state,
                middle if at != middle else None,
            )
            if self.station.keep(reading):
                self.readings += 1
            else:
                self.missed += 1
            self.station.on_reading(reading)

    def _failed(self, error: InstrumentError) -> float:
        self.errors += 1
        self._failures += 1
        cause = str(error)
        name = self.instrument.name
        if isinstance(error, Unreadable):
            raw = error.raw.decode("latin-1").encode("unicode_escape").decode()
            self.station.event(EventKind.UNREADABLE, cause, instrument=name, raw=raw[:1000])
        elif self._gap is None or cause != self.last_error:
            kind = EventKind.IDENTITY if isinstance(error, Impostor) else EventKind.DISCONNECT
            self.station.event(kind, cause, instrument=name)
        self.last_error = cause
        if self._gap is None:
            self._gap = (self.station.clock.utc_ns(), cause, self.missed)
        self.missed += 1
        excess = self._failures - FAILURES_ALLOWED
        return min(LONGEST_PAUSE, max(self.period, 1.0) * 2.0 ** min(excess, 10)) if excess > 0 else 0.0

    def _end_gap(self, how: str) -> None:
        if self._gap is None:
            return
        since, cause, before = self._gap
        self._gap = None
        self._unreported = (self._unreported[0], 0)
        missed = self.missed - before
        self.station.event(
            EventKind.GAP,
            f"{missed} readings not taken: {cause}; {how}",
            instrument=self.instrument.name,
            at=since,
            until=self.station.clock.utc_ns(),
            missed=missed,
        )

    def _count_missed(self, ticks: int) -> None:
        if ticks <= 0:
            return
        self.missed += ticks
        if self._gap:
            return  # the event that ends the gap counts them
        now = self.station.clock.monotonic()
        reported, unreported = self._unreported
        unreported += ticks
        if now - reported >= MISSED_REPORT:
            text = f"{unreported} ticks of {self.period:g} s passed while an answer was awaited"
            self.station.event(EventKind.MISSED, text, instrument=self.instrument.name, missed=unreported)
            reported, unreported = now, 0
        self._unreported = (reported, unreported)
