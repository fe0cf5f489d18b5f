"""How many answers to a control question prove something, when some are open themselves."""

from __future__ import annotations

import pytest

from drivers.links.control_order import ANYTHING, answers_to_prove


@pytest.mark.parametrize(
    ("question", "open_forms", "answers"),
    [
        ("I4", "", 1),
        ("I4", "SI", 1),
        ("I4", "SI I4 I4 I2", 1),  # whichever I4 is answered, SI was asked before it
        ("I4", "I4 SI", 2),  # the late answer to the first I4 shows nothing of SI
        ("I4", "I4 I2 I4 SI I4", 4),  # the answers to two control questions may look alike,
        ("I4", "SI I4 SI", 2),
        ("I2", "I4 SI", 2),
        ("I4", "I4 I2", 1),
        ("I4", "I4 any", 1),
        ("I4", "any I4", 1),
        ("SI", "SI", None),
        ("SI", "any", None),
        ("SI", "I4", 1),
    ],
)
def test_order_of_the_open_questions_decides(question: str, open_forms: str, answers: int | None) -> None:
    forms = [ANYTHING if one == "any" else one for one in open_forms.split()]
    assert answers_to_prove(question, ("I2", "I4"), forms) == answers
