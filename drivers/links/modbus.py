"""Modbus instruments: one link for each unit on a bus."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from drivers.errors import InstrumentError, Lost, Silent, Unreadable
from drivers.links.control_counts import ControlCounts
from drivers.links.modbus_frames import Frame, Refused, form_of, is_of_the_unit, is_refusal
from drivers.links.open_questions import OpenQuestions
from drivers.links.place import SHORT_QUIET, Place

if TYPE_CHECKING:
    from drivers.driver import Registers
    from drivers.links.modbus_bus import ModbusBus
    from drivers.links.modbus_frames import Form

CONTROLS = 2
"""Control questions that a unit must answer after a failure, each in time and alone."""
UNANSWERED = 2
"""Control questions in a row that nothing has followed, after which it is asked whether it knows any other number."""
_MOST_BEHIND = 8
"""Answers that a gateway may be behind; so many refusals prove nothing of a unit that owes as many answers."""
_MOST_CONTROLS = _MOST_BEHIND + 4
_GARBAGE_GAP = 0.05


class ModbusUnit:
    """One unit on a bus.

    After a failure the unit is not asked for its quiet time, longer than its slowest answer. On RTU only the length of
    an answer shows to which question it belongs. So while a question of the length of a poll is open, the unit must
    first answer two control questions: the same registers, in other numbers than in any question that is open. The
    other units lose nothing: a frame contains the address of its unit.
    """

    suspect = False

    def __init__(
        self,
        bus: ModbusBus,
        unit: int,
        settle: float,
        *,
        settle_first: bool = False,
        short_quiet: float = SHORT_QUIET,
    ) -> None:
        self._bus = bus
        self._unit = unit
        self._settle = settle
        self._settle_first = settle_first
        self._within = 0.0
        self._questions = OpenQuestions(settle, provable=True)
        self._place = Place(self._questions, provable=True, short_quiet=short_quiet)
        self._counts = ControlCounts()
        self._last: tuple[Registers, Form, float] | None = None
        self._not_before = 0.0
        self._waits = False
        self._unasked = 0
        self._overheard = 0
        self._unanswered = 0
        """Control questions in a row that nothing has followed, also no answer to another question."""
        self._owed = 0  # answers that have not come, as far as frames can be counted: some of them never will
        self._refusals = False  # some counted as answers to control questions since values came last
        self._proven = False  # control questions were answered since this link was made
        self._expected: set[Form] = set()
        self._frames: dict[Registers, Frame] = {}

    @property
    def sent(self) -> float:
        """Monotonic instant at which the last question went out."""
        return self._place.sent

    @property
    def unasked(self) -> int:
        """Bytes that no question waited for: those of this unit, and those of which nothing shows whose they are."""
        return self._bus.wire.unasked + self._unasked

    @property
    def waiting(self) -> bool:
        """Whether a question waits for its turn, for quiet or for a connection."""
        return self._waits or self._place.waiting

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
        """Bytes around the frames of this bus that are no part of one."""
        return self._bus.wire.rubbish

    def to_prove(self, query: Registers) -> int | None:
        """Give 1: an answer to this question can only be its own, `ask` sees to that."""
        del query
        return 1

    def believe(self) -> None:
        """Note that the last answer could be read; `ask` asks its own control questions."""

    def trust(self) -> None:
        """Note that control questions were answered; `ask` asks its own."""

    def distrust(self) -> None:
        """Note that the last answer could not be read: its own right answer may still come."""
        if self._last is None:
            return
        _, form, sent = self._last
        self._last = None
        self._questions.add(form, sent)
        self._not_before = max(self._not_before, time.monotonic() + self._place.short_quiet)

    def overhear(self, form: Form | int, length: int) -> bool:
        """Take a whole frame of this unit that no question awaits; False where it is the answer to no open question."""
        now = time.monotonic()
        self._unasked += length
        self._overheard += 1
        if isinstance(form, int):
            return self._questions.recognise_number(form, now)
        if not is_of_the_unit(form):  # behind the word of a gateway the answer may still come
            return True
        self._owed = max(0, self._owed - 1)
        if self._questions.recognise(form, now):
            return True
        if is_refusal(form) and (late := self._questions.oldest(now)) is not None:
            self._questions.measure(late, now)  # it refuses one of the open questions
            return True
        self._questions.note_surplus(form, now)
        return False

    async def open(self) -> None:
        """Open the bus where it is not open."""
        self._bus.join(self, self._unit)
        if self._settle_first:
            self._settle_first = False
            self._not_before = time.monotonic() + self._settle
        await self._bus.wire.open(self._place)

    async def ask(self, query: Registers) -> bytes:
        """Give the bytes of the registers, two for each, high byte first; Silent, Lost or Unreadable."""
        if self._place.opening is None:
            await self.open()
        frame = self._frame(query)
        if not self._proven and frame.form not in self._expected:
            # The link before this one, in this process or in another, may have asked: a gateway keeps the answer.
            self._expected.add(frame.form)
            self._questions.note_surplus(frame.form, time.monotonic())
        if self._questions.holds(frame.form, time.monotonic()):
            outlived = self._questions.outlived(frame.form, time.monotonic())
            if outlived and self._unanswered >= UNANSWERED and await self._knows_the_poll_alone(query, frame):
                self._questions.clear()  # nothing but time can show anything
                self._proven = True
            else:
                await self._control(query)
        if self._bus.rtu and self._last is not None and self._last[0] != query and self._last[1] == frame.form:
            # An answer that comes twice would look like that to this question.
            self._not_before = max(self._not_before, self._bus.answered + SHORT_QUIET)
        answer = await self._asked(query, frame)
        self._refusals, self._owed = False, 0
        return answer

    async def close(self) -> None:
        """Release the bus; it closes when no unit uses it any more."""
        self._bus.part(self._unit, self)
        self._bus.wire.leave(self._place)

    async def _control(self, poll: Registers) -> None:
        """Ask for other numbers of registers until none of the answers of before can come any more."""
        proved, needed = 0, CONTROLS
        used = {poll.count}
        for _ in range(_MOST_CONTROLS):
            question = self._control_question(poll, used)
            if question is None:
                break
            used.add(question.count)
            overheard, owed = self._overheard, self._owed
            self._counts.note(question, answered=False)
            try:
                await self._asked(question, self._frame(question))
            except Silent:
                self._unanswered = self._unanswered + 1 if self._overheard == overheard else 0
                raise
            except Refused as refusal:
                if not refusal.of_the_unit:
                    raise
                self._refusals = True
                # Nothing in it shows which question it refuses. It may be one of those that are owed, and a wire keeps
                # the order of answers: when more have come than are owed, what was asked before is answered.
                needed = max(needed, min(owed, _MOST_BEHIND) + 1)
            else:
                self._counts.note(question, answered=True)
            self._unanswered = 0
            if self._overheard == overheard:  # alone: no late answer came beside it
                proved += 1
            if proved >= needed:
                self._questions.clear()
                self._proven = True
                return
        raise Silent(
            f"{self._bus.wire.name}: answers to earlier questions still come (unit {self._unit}){self.lateness}"
        )

    async def _knows_the_poll_alone(self, poll: Registers, frame: Frame) -> bool:
        """Find out whether a unit that answers no control question is off, or knows no other number.

        Its answer to the poll is no value: it may be that to an earlier one. But it is there, and if it then answers no
        other number, it never will. It is asked each time: one that was off may have been taken for such a one.
        """
        await self._asked(poll, frame)
        self._questions.add(frame.form, self._place.sent, frame.number)
        for _ in range(CONTROLS):
            with contextlib.suppress(Silent):
                await self._control(poll)
                return False
            if self._unanswered < UNANSWERED:
                return False
        return True

    def _control_question(self, poll: Registers, used: set[int]) -> Registers | None:
        now = time.monotonic()
        asked = (replace(poll, count=count) for count in self._counts.in_turn(poll))
        free = (one for one in asked if one.count not in used)
        return next((one for one in free if not self._questions.holds(form_of(one), now)), None)

    async def _asked(self, query: Registers, frame: Frame) -> bytes:
        await self._wait_until_quiet()
        wire, place, questions = self._bus.wire, self._place, self._questions
        within = self._within = query.timeout
        before = place.sent
        self._last = None
        answered = came = False
        try:
            answer = await wire.ask(place, frame.next, frame.measure, within, _GARBAGE_GAP)
            answered = came = True
        except Refused as refusal:
            # In time: nothing of it can come late, unless this was the refusal of an earlier question, or a gateway's
            # own word, behind which the unit's answer may still come.
            may_be_older = self._refusals or questions.any(time.monotonic())
            came = refusal.of_the_unit
            answered = came and not may_be_older and (self._bus.rtu or not refusal.may_be_a_gateway)
            raise self._with_name(refusal, within) from None
        except InstrumentError as error:
            raise self._with_name(error, within) from None
        finally:
            self._bus.answered = time.monotonic()
            if not answered and place.sent != before:
                now = time.monotonic()
                questions.add(frame.form, place.sent, frame.number)
                self._owed += not came
                self._not_before = now + questions.quiet(now)
        self._last = (query, frame.form, place.sent)
        return frame.payload(answer)

    async def _wait_until_quiet(self) -> None:
        self._waits = True
        try:
            while (wait := self._not_before - time.monotonic()) > 0:  # noqa: ASYNC110  # it is time that is awaited
                await asyncio.sleep(wait)
        finally:
            self._waits = False

    def _frame(self, query: Registers) -> Frame:
        frame = self._frames.get(query)
        if frame is None:
            frame = self._frames[query] = self._bus.frame(self._unit, query)
        return frame

    def _with_name(self, error: InstrumentError, within: float) -> InstrumentError:
        if isinstance(error, Lost):
            self._place.opening = None
            return error
        if isinstance(error, Refused):
            return Refused(f"{self._bus.wire.name}: {error}", error.raw, error.code)
        if isinstance(error, Unreadable):
            return Unreadable(f"{self._bus.wire.name}: {error}", error.raw)
        return type(error)(f"{error} (unit {self._unit}){self._questions.said(within, time.monotonic())}")
