"""A Driver on a Link: connects, identifies the instrument, then reads; after a failure it identifies again."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from drivers.driver import Driver, Poll, Q
from drivers.errors import Impostor, Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable

    from drivers.sample import Sample

T = TypeVar("T")
Asked_contra = TypeVar("Asked_contra", contravariant=True)


class Link(Protocol[Asked_contra]):
    """One wire to one instrument.

    `distrust` says that the last answer was not believed: the next question then waits until no late answer can
    come. `ask` never has two requests in flight, clears old input before each question, and
    after a failure first waits until the wire is quiet. It raises Silent (no whole answer in time), Lost (the wire is
    lost, or opened again since by another instrument on it) or Unreadable (bytes that cannot be one answer); after
    Lost the next `ask` opens again. `close` is safe at any time and more than once. `sent` is the monotonic instant at
    which the last question really went out: the wait for a shared wire, or for a suspect one, is no part of a reading.
    """

    @property
    def sent(self) -> float:
        """Monotonic instant at which the last question went out."""

    async def open(self) -> None:
        """Open where it is not open; Lost where that fails."""

    def distrust(self) -> None:
        """Believe nothing that may still be under way; the next question waits for it."""

    async def ask(self, query: Asked_contra) -> bytes:
        """Give the answer to one question."""

    async def close(self) -> None:
        """Close the link."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One reply: its samples (one for each channel of the poll), its bytes, and when it was asked and got.

    `asked` and `answered` are seconds of the monotonic clock.
    """

    samples: tuple[Sample, ...]
    raw: bytes
    text: str
    asked: float
    answered: float


@dataclass(slots=True)
class Instrument(Generic[Q]):
    """An identified instrument; `expected_serial` is None only where the driver has no identity command."""

    name: str
    driver: Driver[Q]
    link: Link[Q]
    expected_serial: str | None = None
    monotonic: Callable[[], float] = time.monotonic
    plugged: Callable[[], object] = lambda: None
    """Gives a value that changes when the wire is plugged in again; None if nothing is plugged in, or if unknown."""
    serial: str | None = field(default=None, init=False)
    _trusted: bool = field(default=False, init=False)

    @property
    def identified(self) -> bool:
        """Whether the serial number of this connection was read from the wire and is the expected one."""
        return self._trusted and self.serial is not None

    @property
    def connected(self) -> bool:
        """Whether the next reading may be taken without asking for the identity again."""
        return self._trusted

    async def connect(self) -> None:
        """Open the link, check the serial number, then send the settings that reading needs.

        The identity is checked first: no setting is ever sent to another instrument.
        """
        self._trusted = False
        await self.link.open()
        if self.driver.identity is not None:
            self.serial = self._believed(self.driver.identity.decode, await self.link.ask(self.driver.identity.query))
            if self.expected_serial is not None and self.serial != self.expected_serial:
                await self.link.close()  # the name of the port may belong to the right instrument by now
                raise Impostor(
                    f"{self.name}: serial number {self.serial!r} answers where {self.expected_serial!r} is expected; "
                    "no reading is stored under the wrong name"
                )
        for step in self.driver.setup:
            self._believed(step.check, await self.link.ask(step.query))
        self._trusted = True

    async def read(self, poll: Poll[Q]) -> Answer:
        """Take one reading; connects first where the instrument is not identified or the last answer failed.

        Raises Silent, Lost, Unreadable or Impostor, and then trusts nothing until the instrument has
        identified itself again.
        """
        if not self._trusted:
            await self.connect()
        self._trusted = False  # also after a cancelled question the instrument must identify itself again
        raw = await self.link.ask(poll.query)
        answered = self.monotonic()
        asked = self.link.sent
        samples = self._believed(partial(_checked, poll), raw)
        self._trusted = True
        return Answer(samples, raw, poll.query.show(raw), asked, answered)

    def _believed(self, decode: Callable[[bytes], T], raw: bytes) -> T:
        """Decode an answer; where it cannot be read, its own right answer may still be under way."""
        try:
            return decode(raw)
        except Unreadable:
            self.link.distrust()
            raise

    async def close(self) -> None:
        """Close the link."""
        self._trusted = False
        await self.link.close()


def _checked(poll: Poll[Q], raw: bytes) -> tuple[Sample, ...]:
    """Decode a reply and check that its values and units fit the channels of the poll."""
    try:
        samples = poll.decode(raw)
    except Unreadable as error:
        raise Unreadable(str(error), error.raw or raw) from error
    if len(samples) != len(poll.channels):
        raise Unreadable(f"{len(samples)} values for {len(poll.channels)} channels", raw)
    for channel, sample in zip(poll.channels, samples, strict=True):
        if sample.value is not None and sample.unit != channel.unit:
            raise Unreadable(f'{channel.name}: the instrument shows "{sample.unit}", expected "{channel.unit}"', raw)
    return samples
