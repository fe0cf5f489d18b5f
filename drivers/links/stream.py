"""Instruments with text commands on a serial port or a TCP connection."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from drivers.driver import Listen, Text
from drivers.errors import Lost, Silent
from drivers.links.control_order import ANYTHING, answers_to_prove
from drivers.links.ends import length_up_to
from drivers.links.ends import measure_of as _measure
from drivers.links.wire import TALK_GAP, Wire

if TYPE_CHECKING:
    from drivers.links.ends import End
    from drivers.links.open_questions import OpenQuestions, Question
    from drivers.links.place import Place

__all__ = ["StreamLink", "TextEar", "_measure"]

_HEARD = 4096
"""Bytes kept of what nobody asked for, to find whole answers in it."""


class TextEar:
    """Finds late answers, and whole answers that nobody awaited, among the bytes that come between two questions."""

    def __init__(self) -> None:
        self.links: dict[StreamLink, OpenQuestions] = {}
        self.end: End = b""
        self._heard = bytearray()

    def hear(self, data: bytes) -> int:
        """Take bytes; all of them are unasked, for nothing in a text shows whose it is."""
        now = time.monotonic()
        self._heard += data
        del self._heard[:-_HEARD]
        while self._heard:
            owner, late = self._oldest(now)
            end = late.shape if late is not None else self.end
            length = length_up_to(end, self._heard) if end else 0  # type: ignore[arg-type]  # the shape of a text
            if not length:
                break
            del self._heard[:length]
            if owner is not None and late is not None:
                owner.measure(late, now)
            else:
                for questions in self.links.values():
                    questions.note_surplus(ANYTHING, now)
        return len(data)

    def forget(self) -> int:
        """Forget what was heard: a new question goes out."""
        self._heard.clear()
        return 0

    def _oldest(self, now: float) -> tuple[OpenQuestions | None, Question | None]:
        found: tuple[OpenQuestions | None, Question | None] = (None, None)
        for questions in self.links.values():
            one = questions.oldest(now)
            if one is not None and (found[1] is None or one.sent < found[1].sent):
                found = (questions, one)
        return found


LATENESS_KEPT = 30.0
"""Seconds after an answer that did not come in time in which no short quiet is enough."""


class StreamLink:
    """One instrument on a wire of its own, or with others on one line, each with its address in its commands.

    `echo` is for half-duplex adapters that receive what they send: the echo must arrive and be correct, and is no part
    of the answer.

    Nothing in a text shows to which question it belongs. So a question whose answer was not had stays open, and the
    link `suspect`, until `trust` says that control questions were answered, or no answer can come any more.
    """

    def __init__(
        self,
        wire: Wire,
        place: Place,
        *,
        echo: bool = False,
        settle_first: bool = False,
        controls: frozenset[bytes] = frozenset(),
    ) -> None:
        """`settle_first` waits until no bytes come before the first question: for instruments without identity.

        `controls` are the commands of control questions and of the identity: no poll takes their answers for its own.
        """
        self._wire = wire
        self._echo = echo
        self._settle_first = settle_first
        self._within = 0.0
        self._silent_at = -LATENESS_KEPT
        self._doubts = 0
        """Answers that could not be read since control questions were answered."""
        self._place = place
        self._questions = place.questions
        self._last: tuple[Text, float, float] | None = None
        self._controls = controls
        if wire.ear is None:
            wire.ear = TextEar()
        self._ear = wire.ear if isinstance(wire.ear, TextEar) else TextEar()

    @property
    def sent(self) -> float:
        """Monotonic instant at which the last question went out."""
        return self._place.sent

    @property
    def unasked(self) -> int:
        """Bytes that came on this wire although no question waited for them."""
        return self._wire.unasked

    @property
    def waiting(self) -> bool:
        """Whether a question waits for its turn, for quiet or for a connection."""
        return self._place.waiting

    @property
    def suspect(self) -> bool:
        """Whether an answer to an earlier question may still come."""
        return self._questions.any(time.monotonic())

    @property
    def lateness(self) -> str:
        """Say how late answers come, as an addition to a message; empty where none came late."""
        return self._questions.said(self._within, time.monotonic())

    @property
    def reopened(self) -> int:
        """Counts how often the other side closed the wire between two questions and it was opened again."""
        return self._place.reopened

    @property
    def rubbish(self) -> int:
        """Bytes around answers that are no part of one; a text has none."""
        return self._wire.rubbish

    def to_prove(self, query: Text | Listen) -> int | None:
        """Give how many answers to this question, one after the other, show that no late one to a poll can come."""
        if isinstance(query, Listen):
            return 1
        return answers_to_prove(query.command, self._controls, self._questions.forms(time.monotonic()))

    def believe(self) -> None:
        """Note that the last answer could be read: its question was answered, or an older one of its form."""
        if self._last is not None:
            query, sent, _ = self._last
            self._last = None
            self._questions.answered(query.command, sent, self._controls)

    def trust(self) -> None:
        """Note that control questions were answered: no answer to an earlier poll will come any more."""
        self._questions.keep_harmless(self._controls)
        self._doubts = 0

    def distrust(self) -> None:
        """Note that the last answer could not be read: it was perhaps a late one, and its own may still come."""
        if self._last is None:
            self._wire.distrust(self._questions.quiet(time.monotonic()))
            return
        query, sent, answered = self._last
        self._last = None
        if (late := self._questions.oldest(answered)) is not None:
            self._questions.measure(late, answered)
        self._questions.add(query.command, sent, query.end)
        quiet = self._questions.quiet(answered)
        # Where answers were late lately, a gateway may even let one overtake another: then only time helps.
        if self._place.provable and answered - self._silent_at > LATENESS_KEPT:
            self._doubts += 1
            # One that talks by itself is quiet, too, between two of its lines.
            talks = self._doubts > 1 or answered - self._wire.last_stray < TALK_GAP
            quiet = min(quiet, TALK_GAP) if talks else self._place.short_quiet
        self._wire.distrust(quiet, self._place)

    async def open(self) -> None:
        """Open where it is not open."""
        self._ear.links[self] = self._questions
        if self._settle_first:
            self._settle_first = False
            self._wire.distrust(self._questions.quiet(time.monotonic()))
        await self._wire.open(self._place)

    async def ask(self, query: Text | Listen) -> bytes:
        """Give the bytes of the answer with its end; Silent, Lost or Unreadable where there is none."""
        if self._place.opening is None:
            await self.open()
        within = self._within = query.timeout
        try:
            if isinstance(query, Listen):
                return await self._wire.listen(self._place, query.end, within)
            if not query.end:
                await self._wire.tell(self._place, query.command)
                return b""
            return await self._asked(query, within)
        except Lost:
            self._place.opening = None
            raise

    async def close(self) -> None:
        """Release the wire; it closes when no link uses it any more."""
        self._ear.links.pop(self, None)
        self._wire.leave(self._place)

    async def _asked(self, query: Text, within: float) -> bytes:
        questions, place = self._questions, self._place
        before = place.sent
        self._last = None
        answered = False
        try:
            measure = _measure(query.end, query.command if self._echo else b"")
            quiet = questions.quiet(time.monotonic())
            answer = await self._wire.ask(place, lambda: query.command, measure, within, quiet)
            answered = True
        except Silent as error:
            self._silent_at = time.monotonic()
            raise Silent(f"{error}{questions.said(within, time.monotonic())}") from None
        finally:
            self._ear.end = query.end
            if not answered and place.sent != before:
                questions.add(query.command, place.sent, query.end)
        self._last = (query, place.sent, time.monotonic())
        return answer[len(query.command) :] if self._echo else answer
