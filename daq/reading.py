"""What the daemon keeps of the world: Readings of instruments, and Events that say why a Reading is missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from decimal import Decimal

    from drivers.sample import Status


@dataclass(frozen=True, slots=True)
class Series:
    """One channel of one instrument of one station: what never changes from reading to reading."""

    station: str
    instrument: str
    channel: str
    quantity: str
    unit: str


@dataclass(frozen=True, slots=True)
class Reading:
    """One Sample of one series at an instant.

    `at` is the midpoint of question and answer in UTC nanoseconds, `text` the answer as received, `rtt_ms` the time
    from question to answer in milliseconds. `identified` says that the serial number was read from the wire.
    """

    series: Series
    at: int
    value: Decimal | None
    status: Status
    text: str
    rtt_ms: float
    identified: bool
    simulated: bool


class EventKind(StrEnum):
    """What can happen to an instrument, the station or the road; stored as a tag, so the set is closed."""

    START = "start"
    STOP = "stop"
    CONNECT = "connect"
    DISCONNECT = "disconnect"
    IDENTITY = "identity"
    UNREADABLE = "unreadable"
    GAP = "gap"
    MISSED = "missed"
    CLOCK_STEP = "clock_step"
    DAMAGE = "damage"
    DROP = "drop"
    QUARANTINE = "quarantine"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at `at`; an interval ends at `until` (both UTC nanoseconds).

    `instrument` is empty for what concerns the whole station; `missed` counts readings that were due and not taken.
    """

    station: str
    kind: EventKind
    text: str
    at: int
    instrument: str = ""
    until: int | None = None
    missed: int = 0
    raw: str = field(default="")


@dataclass(frozen=True, slots=True)
class Health:
    """How a station was at `at` (UTC nanoseconds): counters as whole numbers, all else as floats."""

    station: str
    at: int
    numbers: dict[str, int | float]


Record: TypeAlias = Reading | Event | Health
