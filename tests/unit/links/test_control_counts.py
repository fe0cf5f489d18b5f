"""Which numbers of registers are asked for to prove a unit."""

from drivers.driver import Registers
from drivers.links.control_counts import ControlCounts


def test_inside_the_poll_first_and_values_of_two_registers_whole() -> None:
    counts = ControlCounts()
    assert counts.in_turn(Registers(2, 8))[:10] == [8, 6, 4, 2, 7, 5, 3, 1, 10, 12]
    assert counts.in_turn(Registers(2, 1))[:3] == [1, 3, 5]
    assert max(counts.in_turn(Registers(2, 8))) == 125
    assert counts.in_turn(Registers(65534, 2)) == [2, 1]


def test_what_was_not_answered_comes_last_until_it_is() -> None:
    counts = ControlCounts()
    counts.note(Registers(2, 6), answered=False)
    assert counts.in_turn(Registers(2, 8))[-1] == 6
    assert counts.in_turn(Registers(3, 8))[:2] == [8, 6]
    counts.note(Registers(2, 6), answered=True)
    assert counts.in_turn(Registers(2, 8))[:2] == [8, 6]
