"""A Driver on a Link: connect and identify, then read; nothing counts that a stranger or a suspect wire said."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from drivers.driver import Driver, Poll, Q
from drivers.errors import Impostor, Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable

    from drivers.sample import Sample

Asked_contra = TypeVar("Asked_contra", contravariant=True)


class Link(Protocol[Asked_contra]):
    """One wire to one instrument.

    `open` on a link that is open already says that its last answer was not believed: the next question then waits
    until no late answer can come. `ask` never has two requests in flight, clears old input before each question, and
    after a failure first waits until the wire is quiet. It raises Silent (no whole answer in time), Lost (the wire is
    gone, or another instrument on it has opened it anew since) or Unreadable (bytes that cannot be one answer); after
    Lost the next `ask` opens again. `close` is safe at any time and more than once. `sent` is the monotonic instant at
    which the last question really went out: the wait for a shared wire, or for a suspect one, is no part of a reading.
    """

    @property
    def sent(self) -> float:
        """Monotonic instant at which the last question went out."""

    async def open(self) -> None:
        """Open where it is not open; Lost where that fails."""

    async def ask(self, query: Asked_contra) -> bytes:
        """Give the answer to one question."""

    async def close(self) -> None:
        """Give the wire back."""


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
    """Tells what is plugged in: another value where it was plugged in anew, None where nothing is or none can tell."""
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
        """Open the link, check who answers, then tell it what reading needs.

        The identity comes first: nothing is ever sent to set up a stranger.
        """
        self._trusted = False
        await self.link.open()
        if self.driver.identity is not None:
            self.serial = self.driver.identity.decode(await self.link.ask(self.driver.identity.query))
            if self.expected_serial is not None and self.serial != self.expected_serial:
                await self.link.close()  # the name of the port may lead to the right one by now
                raise Impostor(
                    f"{self.name}: serial number {self.serial!r} answers where {self.expected_serial!r} is expected; "
                    "no reading is stored under the wrong name"
                )
        for step in self.driver.setup:
            step.check(await self.link.ask(step.query))
        self._trusted = True

    async def read(self, poll: Poll[Q]) -> Answer:
        """Take one reading; connects first when the wire is new or was suspect.

        Raises Silent, Lost, Unreadable or Impostor, and then trusts nothing until the instrument has
        identified itself again.
        """
        if not self._trusted:
            await self.connect()
        self._trusted = False  # a cancelled question leaves the wire suspect, too
        raw = await self.link.ask(poll.query)
        answered = self.monotonic()
        asked = self.link.sent
        samples = _checked(poll, raw)
        self._trusted = True
        return Answer(samples, raw, poll.query.show(raw), asked, answered)

    async def close(self) -> None:
        """Give the wire back."""
        self._trusted = False
        await self.link.close()


def _checked(poll: Poll[Q], raw: bytes) -> tuple[Sample, ...]:
    """Decode a reply and hold it against the channels that the config promised to the database."""
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
