"""The questions of one link whose answers were not had: each may still come, and tells then how late answers are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection

Form: TypeAlias = object
"""What an answer can be told by: answers of equal forms cannot be told apart."""

LONGEST_QUIET = 60.0
"""Seconds that are waited for at most after a failure, however late answers come."""
_SHORTEST_LIFE = 30.0
_DELAY_KEPT = 120.0
_MOST = 256
_KEPT = 16
"""So many of the youngest questions are kept however old, where control questions can prove that no answer will come:
a gateway may hold an answer back until the next question, however much later that is asked."""
_LEAP = 4.0
"""How many times longer than the longest delay known before (or than `settle`) one late answer shows it to be."""


@dataclass(slots=True)
class Question:
    """One question that went out at `sent` (monotonic, in s); `shape` shows where its answer ends."""

    form: Form
    sent: float
    shape: object = None
    seen: bool = False
    """What seems to be its late answer has come; it stays open until something proves that it was."""
    harmless: bool = False
    """No poll would take its late answer: it matters only for what another control question proves."""


class OpenQuestions:
    """The questions of one link that are open, oldest first.

    `settle` is the time in seconds after which, by its manual, no answer comes any more.
    """

    def __init__(self, settle: float, *, provable: bool = False) -> None:
        """`provable`: control questions can show that none of the answers will come, so time need not."""
        self._settle = settle
        self._kept = _KEPT if provable else 0
        self._open: list[Question] = []
        self._delay = 0.0
        self._measured = 0.0

    def add(self, form: Form, sent: float, shape: object = None) -> None:
        """Note a question whose answer was not had."""
        self._open.append(Question(form, sent, shape))
        del self._open[:-_MOST]

    def note_surplus(self, form: Form, at: float) -> None:
        """Note a whole answer that nobody awaited: there may be another one of that form."""
        self._open.append(Question(form, at, seen=True))
        del self._open[:-_MOST]

    def clear(self) -> None:
        """Forget all: something proved that none of their answers will come any more."""
        self._open.clear()

    def answered(self, form: Form, sent: float, controls: Collection[Form]) -> None:
        """Note that a question, sent last, was answered, perhaps by the answer to an older one.

        Where an older control question is open, that one counts as answered and this one as open: the answers to two
        of them may look alike. The answer to a poll, where none to an earlier one can come, shows that no answer to a
        control question will come that was sent before, for a wire keeps the order of answers. One whose answer was
        lost would otherwise count as open for ever.
        """
        if form not in controls:
            if all(one.harmless for one in self._open):
                self._open = [one for one in self._open if one.sent > sent]
            return
        older = min((one for one in self._open if one.form in controls), key=lambda one: one.sent, default=None)
        if older is not None:
            self._open.remove(older)
            self._open.append(Question(form, sent, harmless=True))

    def keep_harmless(self, forms: Collection[Form]) -> None:
        """Forget all but the control questions, of these forms: something proved that nothing else will come."""
        self._open = [replace(one, harmless=True) for one in self._open if one.form in forms]

    def any(self, at: float) -> bool:
        """Whether an answer may still come that could be taken for another one."""
        self._expire(at)
        return any(not one.harmless for one in self._open)

    def holds(self, form: Form, at: float) -> bool:
        """Whether an answer of this form may still come."""
        self._expire(at)
        return any(one.form == form for one in self._open)

    def forms(self, at: float) -> list[Form]:
        """Give the forms of the answers that may still come, in the order of their questions."""
        self._expire(at)
        return [one.form for one in sorted(self._open, key=lambda one: one.sent)]

    def oldest(self, at: float) -> Question | None:
        """Give the oldest question whose late answer has not been seen."""
        self._expire(at)
        return next((one for one in self._open if not one.seen and not one.harmless), None)

    def recognise(self, form: Form, at: float) -> bool:
        """Take what came at `at` for the late answer to the oldest open question of its form, if there is one."""
        self._expire(at)
        for one in self._open:
            if one.form == form and not one.seen:
                self.measure(one, at)
                return True
        return False

    def recognise_number(self, number: int, at: float) -> bool:
        """Do the same where an answer has the number of its question, which is the `shape` of that."""
        for one in self._open:
            if one.shape == number and not one.seen:
                self.measure(one, at)
                return True
        return False

    def measure(self, question: Question, at: float) -> None:
        """Note that the late answer to a question came at `at`."""
        question.seen = True
        # One line alone may be none: a balance that was off greets, and all that was asked meanwhile is open.
        delay = min(at - question.sent, _LEAP * max(self._settle, self.delay(at)))
        if delay >= self.delay(at):
            self._delay = delay
        self._measured = at

    def delay(self, at: float) -> float:
        """Give the longest delay of late answers in s, 0 where none came lately."""
        if at - self._measured > _DELAY_KEPT + 4 * self._delay:
            self._delay = 0.0
        return self._delay

    def quiet(self, at: float) -> float:
        """Give the seconds without a byte after which no late answer comes any more, as far as is known."""
        return max(self._settle, min(LONGEST_QUIET, 1.5 * self.delay(at)))

    def said(self, timeout: float, at: float) -> str:
        """Say how late answers come, as an addition to a message; empty where none was seen."""
        delay = self.delay(at)
        if delay <= timeout:
            return ""
        enough = f"{1.5 * delay:.1f} s"
        return (
            f"; answers come {delay:.1f} s after the question, longer than the time-out of {timeout:g} s: "
            f'set timeout = "{enough}"'
        )

    def outlived(self, form: Form, at: float) -> bool:
        """Whether, as far as time can show it, no answer of this form will come any more."""
        life = self._life(at)
        return all(at - one.sent > life for one in self._open if one.form == form)

    def _life(self, at: float) -> float:
        return max(_SHORTEST_LIFE, 4 * self._settle, 4 * self.delay(at))

    def _expire(self, at: float) -> None:
        if not self._open:
            return
        life = self._life(at)
        if at - self._open[0].sent > life:
            old = len(self._open) - self._kept
            self._open = [one for place, one in enumerate(self._open) if place >= old or at - one.sent <= life]
