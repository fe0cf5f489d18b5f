"""How many answers to a control question prove that no late answer to a poll is on its way."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from drivers.links.open_questions import Form


class Anything:
    """A whole answer that nobody awaited: it may have been the answer to anything."""


ANYTHING = Anything()


def answers_to_prove(question: Form, controls: Collection[Form], open_forms: Sequence[Form]) -> int | None:
    """Give how many answers to this question show that no answer will come any more that a poll could take for its own.

    A wire keeps the order of answers: when a control question is answered, all that was asked before the oldest open
    control question has come or never will. So one proves something also while it is open itself, as an instrument
    leaves it that was switched off for a while. But each one that was asked before a poll that is open may still be
    answered first, and must be used up before: whichever it is, for the answers to two control questions may look
    alike, as those of a balance that knows neither. None where no number of answers is enough. The late answer to a
    control question, of which there may be some then, no poll takes for its own.
    """
    if question not in controls:
        return 1 if question not in open_forms and ANYTHING not in open_forms else None
    polls = [place for place, form in enumerate(open_forms) if form not in controls and form is not ANYTHING]
    return 1 + sum(form in controls for form in open_forms[: polls[-1]]) if polls else 1
