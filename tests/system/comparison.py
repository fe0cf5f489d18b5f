"""Holds the readings of a database against the truth file of the simulators: one reading an answer, all of it right.

A stored reading is right when exactly one answer of the simulator fits it: asked for and given between question and
answer of the reading (its stamp plus and minus half of its `rtt_ms`), with the same digits, unit, state, bytes and
serial number; and no answer fits two readings. An answer that was given and is not stored is lost. Only these are
forgiven:

- the last answer of an instrument in the file: its question was on the wire when the station was stopped for good;
- for each kill of the station (`kills`, UTC ns): the answers of the last moments that no later one of this instrument
  was stored after (read, not yet committed: at most `UNCOMMITTED_NS` before the kill), and one for each instrument that
  was given to a question of the dead station (at most `ON_ITS_WAY_NS` after it);
- `stops` - 1 answers of an instrument, where a test stops a station or unplugs a wire at instants that it does not
  know.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

UNCOMMITTED_NS = 300_000_000
"""Before the kill of a station: what was read in this time may not have been committed."""
KILL_TAKES_NS = 10_000_000
"""From the instant that a test notes to the end of the process."""
ON_ITS_WAY_NS = 400_000_000
"""After it: so long may an instrument think about a question of the station that is dead; the slowest takes 0.3 s."""
ROUNDING_NS = 2_000
"""`rtt_ms` is stored with three decimals."""

STATUS = {"good": 0, "unstable": 1, "over": 2, "under": 3, "none": 4}
"""The numbers of the database, for the words of the truth file."""
WHOLE = frozenset({None, "late", "rubbish", "doubled", "echoed"})
"""Faults with which the right bytes were sent, among others or too late."""

ESCAPES = {"\r": "\\r", "\n": "\\n", "\t": "\\t", "\\": "\\\\"}


@dataclass(frozen=True)
class Stored:
    """One reading as the database gives it back; `unit` is None where a test does not ask for it."""

    instrument: str
    channel: str
    at: int
    value: float | None
    text: str
    status: int
    seq: int
    rtt_ms: float
    unit: str | None = None
    serial: str = ""


@dataclass
class Matched:
    """The answers of one instrument in the order in which they were sent, and which of them are stored."""

    answers: list[dict[str, Any]] = field(default_factory=list)
    used: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))

    def fitting(self, reading: Stored) -> list[int]:
        """Give the answers that were asked for and given between question and answer of a reading."""
        half = round(reading.rtt_ms * 1e6 / 2) + ROUNDING_NS
        first = bisect_left(self.answers, reading.at - half, key=lambda one: one["at_ns"])
        last = bisect_right(self.answers, reading.at + half, key=lambda one: one["at_ns"])
        return [
            index
            for index in range(first, last)
            if reading.channel in self.answers[index]["values"]
            and (self.answers[index]["asked_ns"] or reading.at) >= reading.at - half
        ]


def answers_to_polls(truth: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out what a unit answers to control questions: other numbers of registers, in which channels are missing."""
    channels: defaultdict[str, int] = defaultdict(int)
    for one in truth:
        channels[one["instrument"]] = max(channels[one["instrument"]], len(one["values"]))
    return [one for one in truth if len(one["values"]) == channels[one["instrument"]] or not one["registers"]]


def compare(
    truth: list[dict[str, Any]],
    stored: list[Stored],
    *,
    stops: int = 1,
    kills: Sequence[int] = (),
    unprovable: Collection[str] = (),
    complete: bool = True,
) -> dict[str, int]:
    """Raise AssertionError at the first reading that is not right or answer that is lost; give counts by instrument.

    `unprovable` are instruments without a checksum, whose answers with one flipped bit cannot be told from right ones:
    their bytes, digits and state may differ, from an answer that was garbled. Without `complete`, answers may be lost:
    for instruments whose answers cannot all be read.
    """
    instruments: defaultdict[str, Matched] = defaultdict(Matched)
    for one in sorted(answers_to_polls(truth), key=lambda row: row["at_ns"]):
        instruments[one["instrument"]].answers.append(one)
    counts: dict[str, int] = defaultdict(int)
    for reading in stored:
        _match(reading, instruments[reading.instrument], flipped=reading.instrument in unprovable)
        counts[reading.instrument] += 1
    for instrument, matched in instruments.items():
        for channel in {channel for one in matched.answers for channel in one["values"]} if complete else ():
            lost = _lost(matched, channel, stops, kills)
            assert not lost, f"{instrument} {channel}: {len(lost)} answers missing: {lost[:3]}"
    return dict(counts)


def _match(reading: Stored, matched: Matched, *, flipped: bool) -> None:
    fitting = matched.fitting(reading)
    whole = [index for index in fitting if matched.answers[index]["fault"] in WHOLE]
    if flipped and not whole:
        garbled = [index for index in fitting if matched.answers[index]["fault"] == "garbled"]
        assert len(garbled) == 1, f"{len(garbled)} answers of the simulator with a flipped bit fit {reading}"
        assert garbled[0] not in matched.used[reading.channel], f"one answer stored twice: {reading}"
        matched.used[reading.channel].add(garbled[0])
        return
    if fitting and not whole:
        raise AssertionError(f"stored from a faulty answer: {reading} {matched.answers[fitting[0]]}")
    assert len(whole) == 1, f"{len(whole)} answers of the simulator fit {reading}"
    assert whole[0] not in matched.used[reading.channel], f"one answer stored twice: {reading}"
    matched.used[reading.channel].add(whole[0])
    _check(reading, matched.answers[whole[0]])


def _check(reading: Stored, true: dict[str, Any]) -> None:
    channel = reading.channel
    digits, state = true["values"][channel], true["states"][channel]
    assert reading.value == (None if digits is None else float(digits)), f"wrong value: {reading} but {true}"
    assert reading.status == STATUS[state], f"wrong status: {reading} but {true}"
    assert reading.text == shown(true), f"wrong text, expected {shown(true)!r}: {reading} but {true}"
    if digits is not None and reading.unit is not None:
        assert reading.unit == true["units"][channel], f"wrong unit: {reading} but {true}"
    if reading.serial:
        assert reading.serial == true["serial"], f"another instrument: {reading} but {true}"


def shown(true: dict[str, Any]) -> str:
    """Write an answer as `text` of a reading does: registers in hex, other bytes with escapes."""
    if true["registers"]:
        words = true["registers"].upper()
        return " ".join(words[at : at + 4] for at in range(0, len(words), 4))
    return "".join(ESCAPES.get(one, one if " " <= one <= "~" else f"\\x{ord(one):02x}") for one in str(true["reply"]))


def _lost(matched: Matched, channel: str, stops: int, kills: Sequence[int]) -> list[dict[str, Any]]:
    """Give the answers that were given, are not stored, and are not forgiven."""
    answers, used = matched.answers, matched.used[channel]
    given = [index for index, one in enumerate(answers) if channel in one["values"]]
    missing = [index for index in given if index not in used and answers[index]["fault"] is None]
    for kill in kills:
        missing = [index for index in missing if index not in _killed(answers, given, used, kill)]
    last = len(answers) - 1
    forgiven = max(0, stops - 1) + bool(stops and missing and missing[-1] == last)
    return [answers[index] for index in missing] if len(missing) > forgiven else []


def _killed(answers: list[dict[str, Any]], given: list[int], used: set[int], kill: int) -> set[int]:
    """Give the answers that a kill may cost: a row that ends at the kill, and one behind it."""
    lost: set[int] = set()
    for index in reversed(given):
        at = answers[index]["at_ns"]
        if at > kill + KILL_TAKES_NS:
            continue
        if index in used or at < kill - UNCOMMITTED_NS:
            break
        lost.add(index)
    behind = (index for index in given if kill + KILL_TAKES_NS < answers[index]["at_ns"] <= kill + ON_ITS_WAY_NS)
    first = next(behind, None)
    return lost if first is None or first in used else lost | {first}
