"""Whether a control question proves that no late answer to a poll is on its way, though it is open itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from drivers.links.open_questions import Form


class Anything:
    """A whole answer that nobody awaited: it may have been the answer to anything."""


ANYTHING = Anything()


def may_prove(question: Form, controls: Collection[Form], open_forms: Sequence[Form]) -> bool:
    """Whether an answer to this question shows that no answer will come any more that a poll could take for its own.

    A wire keeps the order of answers: when an answer of a form comes, all that was asked before the oldest open
    question of that form has come or never will. So a control question proves something also while it is open itself,
    as an instrument leaves it that was switched off for a while: unless a poll is open that was asked after it. The
    late answer to a control question, of which there may be one then, no poll takes for its own.
    """
    if question not in controls:
        return question not in open_forms and ANYTHING not in open_forms
    oldest = next((place for place, form in enumerate(open_forms) if form == question), None)
    return oldest is None or all(form in controls or form is ANYTHING for form in open_forms[oldest:])
