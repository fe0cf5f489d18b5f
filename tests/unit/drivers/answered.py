"""A balance on a link whose answers a test writes down, and which notes all that it was asked."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from drivers.driver import Channel, Control, Driver, Identity, Poll, Sample, Setup, Status, Text
from drivers.errors import Unreadable, WrongSetting
from drivers.instrument import Instrument

if TYPE_CHECKING:
    from collections.abc import Callable

WHO, SET, ON, FIRST, SECOND, VALUE = (
    Text(command.encode()) for command in ("who\n", "set?\n", "on\n", "one?\n", "two?\n", "value?\n")
)
MASS = Channel("mass", "mass", "g")


def only(right: bytes) -> Callable[[bytes], bytes]:
    def check(raw: bytes) -> bytes:
        if raw != right:
            raise Unreadable(f"not {right!r}", raw)
        return raw

    return check


def setting(raw: bytes) -> None:
    if raw == b"other":
        raise WrongSetting("it is set otherwise", raw)
    only(b"set")(raw)


def value(raw: bytes) -> tuple[Sample, ...]:
    """Read `1.5 g`, `1.5` (no unit shown) or `none`."""
    match raw.decode().split(" "):
        case ["none"]:
            return (Sample.missing(Status.INVALID),)
        case [digits, unit]:
            return (Sample(Decimal(digits), unit),)
        case [digits] if digits[0].isdigit():
            return (Sample(Decimal(digits), None, Status.UNSTABLE),)
    raise Unreadable("no value")


POLL = Poll(VALUE, (MASS,), value)
DRIVER = Driver(
    "a balance of the tests",
    (POLL,),
    Identity(WHO, lambda raw: only(b"me " + raw[3:])(raw)[3:].decode()),
    setup=(Setup(ON, only(b"ok")), Setup(SET, setting, proves=True)),
    controls=(Control(FIRST, only(b"1")), Control(SECOND, only(b"2"))),
)


@dataclass
class Wire:
    """A link: gives the answers that stand in it, raises those that are errors, and notes everything."""

    answers: dict[Text, bytes | BaseException] = field(default_factory=dict)
    now: float = 100.0
    sent: float = 0.0
    unasked: int = 0
    waiting: bool = False
    suspect: bool = False
    unproven: set[Text] = field(default_factory=set)
    times: dict[Text, int] = field(default_factory=dict)
    did: list[object] = field(default_factory=list)
    before: Callable[[Text], None] = lambda _: None

    def __post_init__(self) -> None:
        right: dict[Text, bytes | BaseException] = {
            WHO: b"me B1",
            ON: b"ok",
            SET: b"set",
            VALUE: b"1.5 g",
            FIRST: b"1",
            SECOND: b"2",
        }
        self.answers = right | self.answers

    def to_prove(self, query: Text) -> int | None:
        return None if query in self.unproven else self.times.get(query, 1)

    def believe(self) -> None:
        pass

    def trust(self) -> None:
        self.did.append("trust")
        self.suspect = False

    def distrust(self) -> None:
        self.did.append("distrust")

    async def open(self) -> None:
        self.did.append("open")

    async def close(self) -> None:
        self.did.append("close")

    async def ask(self, query: Text) -> bytes:
        self.did.append(query)
        self.before(query)
        self.sent = self.now + 0.25  # it waited for its turn on the wire
        self.now += 1.0
        answer = self.answers[query]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def done(self) -> list[object]:
        """Give what was done since the last call."""
        done, self.did = self.did, []
        return done


def made(expected: str | None = "B1", *, driver: Driver[Any] = DRIVER, **wire: Any) -> tuple[Instrument[Any], Wire]:
    link = Wire(**wire)
    return Instrument("balance", driver, link, expected, monotonic=lambda: link.now, prove_every=math.inf), link


CONNECTED = ["open", WHO, ON, SET]
"""What is done before the first value."""
