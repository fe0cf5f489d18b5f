"""Which control questions prove an instrument, when some of them are open themselves."""

from __future__ import annotations

import pytest

from drivers.links.control_order import ANYTHING, may_prove


@pytest.mark.parametrize(
    ("question", "open_forms", "proves"),
    [
        ("I4", "SI", True),
        ("I4", "SI I4 I4 I2", True),  # whichever I4 is answered, SI was asked before it
        ("I4", "I4 SI", False),  # the late answer to the first I4 shows nothing of SI
        ("I2", "I4 SI", True),
        ("I4", "I4 I2", True),
        ("I4", "I4 any", True),
        ("I4", "any I4", True),
        ("SI", "SI", False),
        ("SI", "any", False),
        ("SI", "I4", True),
    ],
)
def test_order_of_the_open_questions_decides(question: str, open_forms: str, proves: bool) -> None:
    forms = [ANYTHING if one == "any" else one for one in open_forms.split()]
    assert may_prove(question, ("I2", "I4"), forms) == proves
