"""What a station records: Readings of instruments, Events that say why a Reading is missing, and its own Health."""

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
    """One Sample of one series at one instant.

    `at` is the midpoint of question and answer in UTC nanoseconds (the answer where the instrument itself waits before
    it measures), `text` the answer as received, `rtt_ms` the time from question to answer in milliseconds. `serial` is
    the serial number that was read from the wire; `identified` says that it is the expected one.
    `clock` says what is wrong with the stamp, if anything: "unsynchronised", or "held" where the clock was set back and
    the stamp had to stay ahead of the one before; then `clock_at` is the time that the clock showed (UTC ns).
    """

    series: Series
    at: int
    value: Decimal | None
    status: Status
    text: str
    rtt_ms: float
    identified: bool
    simulated: bool
    clock: str = ""
    clock_at: int | None = None
    serial: str = ""


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
    CLOCK_SYNC = "clock_sync"
    DISK = "disk"
    DAMAGE = "damage"
    FILL = "fill"
    DROP = "drop"
    REFUSE = "refuse"
    QUARANTINE = "quarantine"
    RESTART = "restart"
    RELOAD = "reload"
    REPLAY = "replay"
    ACK = "ack"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at `at`; an interval ends at `until` (both UTC nanoseconds).

    `instrument` is empty for what concerns the whole station; `missed` counts polls that were due and not taken (a poll
    is one question, with all the channels that its reply feeds), for kinds about stored records the records.
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
class Doubt:
    """Stored readings of a channel from `at` to `until` (UTC nanoseconds, both inclusive) that may be wrong.

    They are not changed; whoever uses them is to look at what lies inside. `kind` says what was not proven: "identity"
    (another instrument answered), "setting" (it was set otherwise) or "unit" (the reply did not show its unit).
    """

    station: str
    instrument: str
    channel: str
    kind: str
    text: str
    at: int
    until: int


@dataclass(frozen=True, slots=True)
class Health:
    """The state of a station at `at` (UTC nanoseconds): counters as whole numbers, all else as floats.

    `head` is the digest of the hash chain at record `head_seq` of the numbers: kept in the database, it reveals a later
    change of the station's file.
    """

    station: str
    at: int
    numbers: dict[str, int | float]
    head: str = ""


Record: TypeAlias = Reading | Event | Doubt | Health
