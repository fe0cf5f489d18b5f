"""Asks an instrument who it is and how it is set, and says what an answer, or none, means for what is stored."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from daq.host.clock import wait
from daq.road.reading import EventKind
from daq.station.doubts import IDENTITY
from drivers.errors import InstrumentError

if TYPE_CHECKING:
    from daq.station.doubts import Doubts
    from daq.station.records import Station
    from drivers.instrument import Instrument

LAST_PROOF = 1.5
"""Seconds that are waited for the proof of what was stored last."""


@dataclass(slots=True)
class Proofs:
    """The proofs of one instrument; what they leave unproven goes to its `doubts`."""

    station: Station
    instrument: Instrument[Any]
    doubts: Doubts
    announced: bool = field(default=False, init=False)
    """Whether an event says who answers, since the last failure."""
    _serial: str | None = field(default=None, init=False)

    def begin(self) -> None:
        """Doubt what a proof was to prove that ended in an error of the program: it was neither good nor failed."""
        self.catch_up()
        if self.instrument.proving:
            self.doubts.raise_for(IDENTITY, "the proof that was due ended in an error of the program")
            self.instrument.proving = False  # only now: a doubt that could not be recorded is recorded later

    async def connect(self) -> None:
        """Connect, and say who answers."""
        instrument = self.instrument
        try:
            await instrument.connect()
        except InstrumentError as error:
            instrument.proving = False
            self.notice_other_serial()  # before the failure: it may have told another number, and failed then
            self.doubts.failed_to_connect(error, instrument.proofs)
            raise
        self.notice_other_serial()
        self.doubts.proved(instrument.proofs)
        if not self.announced:
            self.announced = True
            identity = f"serial number {instrument.serial}" if instrument.serial is not None else "not identified"
            self.station.event(EventKind.CONNECT, identity, instrument=instrument.name)

    async def prove(self) -> None:
        """Ask who answers and how it is set; what a failure says of stored readings is recorded."""
        try:
            await self.instrument.prove()
        except InstrumentError as error:
            self.failed(error)
            raise
        self.notice_other_serial()
        self.doubts.proved(self.instrument.proofs)

    def catch_up(self) -> None:
        """Note a good proof before a question that then got no answer: what was stored before it is proven."""
        self.notice_other_serial()
        self.doubts.proved_by(self.instrument.proofs)

    async def prove_last(self) -> InstrumentError | None:
        """Prove what was stored last before the reading ends: another one may be on this wire next; gives a failure.

        An error of the program is raised: it belongs to the keeper of the follower.
        """
        self.catch_up()
        if not self.doubts.open:
            return None
        proof = asyncio.ensure_future(self.prove() if self.instrument.connected else self.connect())
        try:
            await wait(self.station.clock, [proof], LAST_PROOF)
        finally:
            proof.cancel()
            await asyncio.wait([proof])
        error = None if proof.cancelled() else proof.exception()
        if error is None or isinstance(error, InstrumentError):
            return error
        raise error

    def failed(self, error: InstrumentError) -> None:
        """Record what a proof that failed says of stored readings."""
        self.instrument.proving = False
        self.announced = False
        self.notice_other_serial()
        self.doubts.failed_proof(error, self.instrument.proofs)

    def notice_other_serial(self) -> None:
        """Doubt what an instrument without an expected serial number gave before another one answered."""
        before, self._serial = self._serial, self.instrument.serial
        if before is not None and before != self._serial and self.instrument.expected_serial is None:
            text = f"serial number {self._serial} answers where {before} answered before"
            self.station.event(EventKind.IDENTITY, text, instrument=self.instrument.name)
            self.doubts.raise_for(IDENTITY, text)
