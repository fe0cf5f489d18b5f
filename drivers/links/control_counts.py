"""Which numbers of registers a unit is asked for, to tell its answers from late ones by their length."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from drivers.driver import Registers

MOST_REGISTERS = 125


class ControlCounts:
    """Goes through the numbers: those inside the poll first, those that the unit did not answer last.

    Numbers that are even or odd as that of the poll come before the others: values of two registers may not be cut.
    """

    def __init__(self) -> None:
        self._failed: dict[tuple[int, str, int], int] = {}

    def in_turn(self, poll: Registers) -> list[int]:
        """Give the numbers to ask for, the best first."""
        most = min(MOST_REGISTERS, 65536 - poll.address)
        return sorted(range(1, most + 1), key=lambda count: self._rank(poll, count))

    def note(self, question: Registers, *, answered: bool) -> None:
        """Note whether the unit gives so many registers."""
        key = (question.address, question.table, question.count)
        if answered:
            self._failed.pop(key, None)
        else:
            self._failed[key] = self._failed.get(key, 0) + 1

    def _rank(self, poll: Registers, count: int) -> tuple[int, bool, bool, int]:
        failed = self._failed.get((poll.address, poll.table, count), 0)
        distance = abs(count - poll.count)
        return failed, count > poll.count, distance % 2 == 1, distance
