"""What a wire and a link know of each other: how the link may ask, and how its last question went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from drivers.links.open_questions import OpenQuestions

SHORT_QUIET = 0.05
"""Seconds without a byte that are enough where a control question shows that nothing older is on its way."""


@dataclass(eq=False, slots=True)
class Place:
    """The place of one link at a wire.

    `provable`: control questions follow a failure. `short_quiet`, in s: what is waited for before those where the
    last answer was whole and in time. `quieting` ends what an instrument sends without being asked.
    """

    questions: OpenQuestions
    provable: bool = False
    short_quiet: float = SHORT_QUIET
    quieting: tuple[bytes, ...] = ()
    opening: int | None = None
    """The opening of the wire to which this link has spoken."""
    sent: float = 0.0
    """Monotonic instant at which its last question went out."""
    waiting: bool = False
    """Whether it waits for its turn, for quiet, or for a connection."""
    failing: bool | None = None
    """Whether its last question failed; None where none was asked yet."""
    silent_since: float | None = None
    """Monotonic instant of the first question since its last answer; None where that was answered."""
    silences: int = 0
    """Questions in a row that were not answered in time, since its last answer."""
    reopened: int = 0
    """Counts how often the wire was closed between two questions and opened again."""
