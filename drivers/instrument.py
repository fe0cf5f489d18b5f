"""A Driver on a Link: connects, identifies the instrument, then reads; after a failure it identifies again."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from drivers.driver import Control, Driver, Poll, Q, Setup
from drivers.errors import Altered, Impostor, Unreadable, Unsettled, WrongSetting
from drivers.nature import judged
from drivers.sample import Sample, Status
from drivers.serial_number import ANONYMOUS, identifies

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
Asked_contra = TypeVar("Asked_contra", contravariant=True)

PROVE_EVERY = 5.0
"""Seconds after which the last proof of who answers is too old for one more reading."""
EARLY = 0.1
"""Seconds (or a tenth of `prove_every`) that a proof may be younger: who wakes late at every tick is late by less."""
CONTROLS = 2
"""Control questions that must be answered after a failure, where the command set has so many."""
MOST_AT_ONCE = 8
"""Times one of them is asked in one attempt: the answers of those asked before still count at the next one."""


class Link(Protocol[Asked_contra]):
    """One wire to one instrument.

    `ask` never has two requests in flight and clears old input before each question. It raises Silent (no complete
    answer in time), Lost (the wire is lost, or opened again since by another instrument on it) or Unreadable (bytes
    that cannot be one answer); after Lost the next `ask` opens again. After a failure the answer to the question that
    failed may still come: the link is `suspect` until `trust` is called.
    """

    @property
    def sent(self) -> float:
        """Monotonic instant at which the last question went out: waiting for a shared wire is no part of a reading."""

    @property
    def unasked(self) -> int:
        """Bytes that have come although no question waited for them; only rises, whoever sent them."""

    @property
    def waiting(self) -> bool:
        """Whether a question waits for its turn on a shared wire, for silence or for a connection: it does not hang."""

    @property
    def suspect(self) -> bool:
        """Whether an answer to an earlier question may still come; False where the link itself can tell them apart."""

    def to_prove(self, query: Asked_contra) -> int | None:
        """How many answers to this question, asked from now on, show that no late one to a poll can come.

        1 where its answer can only be its own; None where no number of them shows it.
        """

    def believe(self) -> None:
        """Note that the last answer could be read."""

    def trust(self) -> None:
        """Note that control questions were answered: no answer to an earlier question will come any more."""

    def distrust(self) -> None:
        """Note that the last answer could not be read: its own right answer may still come."""

    async def open(self) -> None:
        """Open where it is not open; Lost where that fails."""

    async def ask(self, query: Asked_contra) -> bytes:
        """Give the answer to one question."""

    async def close(self) -> None:
        """Close the link; safe at any time and more than once."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One reply: its samples (one for each channel of the poll), its bytes, and when it was asked and got.

    `asked` and `answered` are seconds of the monotonic clock. `proofs` counts the proofs of identity that the
    instrument had given when this was asked: the next one proves this answer, too. A value whose unit the
    reply did not show has the unit None.
    """

    samples: tuple[Sample, ...]
    raw: bytes
    text: str
    asked: float
    answered: float
    proofs: int = 0


@dataclass(slots=True)
class Instrument(Generic[Q]):
    """An instrument that proves who it is; `expected_serial` is None where its readings are stored unidentified.

    `prove_every` are the seconds after which the identity is asked again before one more reading counts; infinite:
    only at the connection, after trouble and after bytes that nobody asked for.
    """

    name: str
    driver: Driver[Q]
    link: Link[Q]
    expected_serial: str | None = None
    monotonic: Callable[[], float] = time.monotonic
    plugged: Callable[[], object] = lambda: None
    """Identifies the device at the port: another value after it was plugged in again, None where that is not known."""
    prove_every: float = PROVE_EVERY
    serial: str | None = field(default=None, init=False)
    proofs: int = field(default=0, init=False)
    """Counts how often the instrument has proved who it is and how it is set."""
    proving: bool = field(default=False, init=False)
    """Whether a proof was begun and has not been good; who was told of its failure sets it back."""
    _proved_at: float = field(default=-math.inf, init=False)
    _unasked: int = field(default=0, init=False)
    _trusted: bool = field(default=False, init=False)
    _shown: set[str] = field(default_factory=set, init=False)
    """Channels whose unit this connection has shown, and no other unit since."""

    @property
    def identified(self) -> bool:
        """Whether the serial number of this connection was read from the wire and is the expected one."""
        return self._trusted and self.expected_serial is not None and self.serial == self.expected_serial

    @property
    def connected(self) -> bool:
        """Whether the next reading may be taken without connecting again."""
        return self._trusted

    @property
    def longest_round(self) -> float:
        """Seconds that connecting, a proof and every poll take at most, without the time that others use the wire."""
        driver = self.driver
        identity = [driver.identity.query] if driver.identity is not None else []
        controls = max((query.timeout for query in [*identity, *(one.query for one in driver.controls)]), default=0.0)
        proof = sum(query.timeout for query in [*identity, *(step.query for step in driver.setup)])
        polls = sum(poll.query.timeout for poll in driver.polls)
        return float(2 * driver.settle + CONTROLS * MOST_AT_ONCE * controls + 2 * proof + polls)

    def proof_due(self, at: float) -> bool:
        """Whether the last proof will be too old for a reading at the monotonic instant `at`."""
        age = at - self._proved_at + min(EARLY, self.prove_every / 10)
        return self._trusted and self._can_prove and age >= self.prove_every

    def expire_proof(self) -> None:
        """Believe no more that it is the same instrument: the machine has slept, and who knows how long."""
        self._trusted = False

    @property
    def _can_prove(self) -> bool:
        """Whether there is a question that proves something and may be asked between readings."""
        identity = self.driver.identity
        if identity is not None:
            return not identity.disturbs
        return any(step.proves for step in self.driver.setup)

    async def connect(self) -> None:
        """Open the link, check who answers, then tell it what reading needs.

        The identity comes first: nothing is ever sent to set up another instrument.
        """
        self._trusted = False
        self.proving = True
        self._shown.clear()
        await self.link.open()
        if self.link.suspect:
            await self._control()
        unasked, asked = self.link.unasked, self.monotonic()
        await self._identify()
        for step in self.driver.setup:
            await self._set_up(step)
        self._proved(asked, unasked)

    async def prove(self) -> None:
        """Ask again who answers and how it is set; Impostor or WrongSetting where that has changed."""
        self._trusted = False
        self.proving = True
        unasked, asked = self.link.unasked, self.monotonic()
        await self._identify()
        for step in self.driver.setup:
            if step.proves:
                await self._set_up(step)
        self._proved(asked, unasked)

    async def read(self, poll: Poll[Q]) -> Answer:
        """Take one reading; connects first when the wire is new or was suspect, and proves first where that is due.

        Raises Silent, Lost, Unreadable or Impostor, and then trusts nothing until the instrument has
        identified itself again.
        """
        if not self._trusted or self.link.suspect:  # an answer came that nobody awaited: this one could be such, too
            await self.connect()
        elif self.proof_due(self.monotonic()):
            await self.prove()
        self._trusted = False  # a cancelled question leaves the wire suspect, too
        proofs = self.proofs
        raw = await self.link.ask(poll.query)
        answered = self.monotonic()
        asked = self.link.sent
        if self.link.unasked != self._unasked:  # it may have been switched off and on: its unit is the factory's again
            self._shown.clear()
        samples = self._believed(lambda answer: self._checked(poll, answer), raw)
        if self.link.unasked != self._unasked:  # another instrument may have been switched on, and this be its answer
            await self.prove()
            proofs = self.proofs
        self._trusted = True
        return Answer(samples, raw, poll.query.show(raw), asked, answered, proofs)

    async def close(self) -> None:
        """Close the link."""
        self._trusted = False
        await self.link.close()

    async def _control(self) -> None:
        """Ask what only the right answer can answer, until no answer to an earlier question can come any more."""
        unsettled = f"{self.name}: answers to earlier questions may still come; it is asked again when none can"
        controls = list(self.driver.controls)
        if (identity := self.driver.identity) is not None:
            controls.append(Control(identity.query, identity.decode))
        if not controls:
            raise Unsettled(unsettled)
        for _ in range(min(CONTROLS, len(controls))):
            times = {place: self.link.to_prove(control.query) for place, control in enumerate(controls)}
            place, least = min(times.items(), key=lambda one: one[1] or math.inf)
            if least is None:
                raise Unsettled(unsettled)
            control = controls.pop(place)
            for _ in range(min(least, MOST_AT_ONCE)):
                self._believed(control.check, await self.link.ask(control.query))
            if least > MOST_AT_ONCE:
                raise Unsettled(unsettled)
        self.link.trust()

    async def _identify(self) -> None:
        """Read the serial number from the wire; Impostor where it is not the expected one."""
        identity = self.driver.identity
        if identity is None:
            return
        serial = self._believed(identity.decode, await self.link.ask(identity.query))
        named = identifies(serial)
        if not named and self.expected_serial is not None:
            raise Unreadable(f"{self.name}: {serial!r} is no serial number: {ANONYMOUS}")
        if serial != self.serial:
            self._shown.clear()
        self.serial = serial if named else None
        if self.expected_serial is not None and serial != self.expected_serial:
            await self.link.close()  # the name of the port may lead to the right one by now
            raise Impostor(
                f"{self.name}: serial number {serial!r} answers where {self.expected_serial!r} is expected; "
                "no reading is stored under the wrong name"
            )

    async def _set_up(self, step: Setup[Q]) -> None:
        """Send one step of the set-up; Altered where a question that proves the setting shows another one."""
        try:
            self._believed(step.check, await self.link.ask(step.query))
        except WrongSetting as error:
            if step.proves:
                raise Altered(str(error), error.raw) from error
            raise
        except Unreadable as error:
            raise Unreadable("; ".join(filter(None, (str(error), step.advice))), error.raw) from error

    def _proved(self, asked: float, unasked: int) -> None:
        """Note a good proof that was asked for at `asked`, when so many unasked bytes had come."""
        self._proved_at = asked
        self._unasked = unasked
        self.proofs += 1
        self.proving = False
        self._trusted = True

    def _believed(self, decode: Callable[[bytes], T], raw: bytes) -> T:
        """Decode an answer; where it cannot be read, its own right answer may still come."""
        try:
            answer = decode(raw)
        except WrongSetting:
            self.link.believe()  # it could be read, and came in time
            raise
        except Unreadable:
            self.link.distrust()
            raise
        self.link.believe()
        return answer

    def _checked(self, poll: Poll[Q], raw: bytes) -> tuple[Sample, ...]:
        """Decode a reply; a value without its unit counts only where this connection has shown the right one."""
        try:
            samples = decoded(poll, raw)
        except WrongSetting:
            self._shown.clear()
            raise
        checked = []
        for channel, sample in zip(poll.channels, samples, strict=True):
            if sample.value is not None and sample.unit is not None:
                self._shown.add(channel.name)
            elif sample.value is not None and channel.name not in self._shown:
                checked.append(Sample.missing(Status.INVALID))
                continue
            checked.append(sample)
        return tuple(checked)


def decoded(poll: Poll[Q], raw: bytes) -> tuple[Sample, ...]:
    """Decode a reply and compare it with the channels of its poll: one sample for each, of its unit and judged."""
    try:
        samples = poll.decode(raw)
    except Unreadable as error:
        raise type(error)(str(error), error.raw or raw) from error
    if len(samples) != len(poll.channels):
        raise Unreadable(f"{len(samples)} values for {len(poll.channels)} channels", raw)
    for channel, sample in zip(poll.channels, samples, strict=True):
        if sample.value is not None and sample.unit not in {channel.unit, None}:
            found = f'{channel.name}: the instrument shows "{sample.unit}", expected "{channel.unit}"'
            raise WrongSetting(found, raw)
    return tuple(judged(channel, sample) for channel, sample in zip(poll.channels, samples, strict=True))
