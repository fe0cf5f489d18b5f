"""Faults of answers: chosen at random from a seed, so that the same lab has the same faults in each run."""

from __future__ import annotations

import random
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KINDS = ("late", "lost", "cut", "garbled", "doubled", "echoed")


@dataclass(frozen=True, slots=True)
class Faults:
    """Shares of answers (0 to 1) with a fault, and intervals (start, length in seconds) with a fault of the instrument.

    late: sent `late_s` seconds later. lost: not sent. cut: the end is missing. garbled: one byte is changed. doubled:
    sent twice. echoed: the request is sent back before the answer. hang: no answers in these intervals. unplug: the
    wire is unplugged. swap: another instrument (serial number SIM0SWAPPED) answers.
    """

    late: float = 0.0
    late_s: float = 1.5
    lost: float = 0.0
    cut: float = 0.0
    garbled: float = 0.0
    doubled: float = 0.0
    echoed: float = 0.0
    hang: Sequence[Sequence[float]] = ()
    unplug: Sequence[Sequence[float]] = ()
    swap: Sequence[Sequence[float]] = ()

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Faults:
        """Read a table of a lab file; ValueError says what is wrong."""
        if not isinstance(table, dict):
            raise ValueError("is no table; write { late = 0.02, … }")  # noqa: TRY004  # a mistake in a file, not in code
        known = {field.name for field in fields(cls)}
        if unknown := set(table) - known:
            raise ValueError(f"unknown fault {', '.join(sorted(unknown))}; known are {', '.join(sorted(known))}")
        for kind in KINDS:
            share = table.get(kind, 0.0)
            if not _is_time(share) or share > 1:
                raise ValueError(f"{kind} = {share!r} is no share from 0 to 1")
        if sum(table.get(kind, 0.0) for kind in KINDS) > 1:
            raise ValueError("the shares are more than 1 together")
        late = table.get("late_s", 0.0)
        if not _is_time(late):
            raise ValueError(f"late_s = {late!r} is no time in seconds")
        for kind in ("hang", "unplug", "swap"):
            intervals = table.get(kind, [])
            if not (isinstance(intervals, list) and all(_is_interval(one) for one in intervals)):
                raise ValueError(f"{kind} = {intervals!r}; write [[start, length], …] in seconds")
        return cls(**table)

    def chooser(self, seed: str) -> FaultChooser:
        """Give the object that chooses a fault for each answer."""
        return FaultChooser(self, random.Random(seed))


def _is_time(value: object) -> bool:
    return type(value) in {int, float} and 0 <= float(value) < float("inf")  # type: ignore[arg-type]  # just tested


def _is_interval(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(_is_time(one) for one in value)


@dataclass(slots=True)
class FaultChooser:
    """Decides which fault the next answer has."""

    faults: Faults
    generator: random.Random

    def next(self, now: float) -> str | None:
        """Give the kind of fault, or None; `now` is in seconds since the lab was switched on."""
        if any(start <= now < start + length for start, length in self.faults.hang):
            return "lost"
        drawn = self.generator.random()
        for kind in KINDS:
            share: float = getattr(self.faults, kind)
            if drawn < share:
                return kind
            drawn -= share
        return None

    def spoil(self, kind: str | None, request: bytes, reply: bytes) -> bytes:
        """Give what is sent instead of `reply`, which has at least one byte."""
        match kind:
            case "cut":
                return reply[: self.generator.randrange(len(reply))]
            case "garbled":
                position = self.generator.randrange(len(reply))
                return (
                    reply[:position]
                    + bytes([reply[position] ^ (1 << self.generator.randrange(7))])
                    + reply[position + 1 :]
                )
            case "doubled":
                return reply + reply
            case "echoed":
                return request + reply
            case "lost":
                return b""
            case _:
                return reply
