"""The oracle: holds what was read against the truth, by rules of its own; it shares no code with what it judges."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.conformance.simulated.experiment import Reading, Run

CLOCK_NS = 1_000_000
"""Two clocks of one computer are read one after the other."""
STATUS = {"good": 0, "unstable": 1, "over": 2, "under": 3, "none": 4}
WHOLE = {None, "late", "rubbish", "doubled", "echoed"}
"""Faults with which the right bytes were sent."""

FORMS = {
    "mt-sics": rb"S [SD] (?=.{10} ) *-?\d+\.\d{4} g\r\n|S [-+I]\r\n",
    "sartorius-sbi": rb"N {5}[+-] (?=.{8} ) *\d+\.\d{4} (g  |   )\r\n",
    "scpi-dmm": rb'[+-]\d\.\d{8}E[+-]\d\d;"FRES"\n',
    "milli-k": rb"[1-9]\d*\.\d{5}\r",
    "digiquartz": rb"\*0001[1-9]\d*\.\d{3}\r\n",
}
"""The form of a right answer of each instrument that sends no checksum, by its manual (see the golden transcripts). An
answer of this form with another digit cannot be told from a right one."""


def wrong(run: Run) -> list[str]:
    """Give what breaks a promise: one line for each value that was accepted and is not right."""
    return [words for reading in run.readings for words in _wrong(run, reading)]


def _wrong(run: Run, reading: Reading) -> list[str]:
    channel = run.subject.channels.get(reading.channel.name, reading.channel.name)
    rows = [
        row
        for row in run.truth
        if channel in row["values"]
        and reading.asked - CLOCK_NS <= row["at_ns"] <= reading.answered + CLOCK_NS
        and (row["asked_ns"] is None or row["asked_ns"] >= reading.asked - CLOCK_NS)
    ]
    at = f"{(reading.asked - run.began) / 1e9:.3f} s {reading.channel.name} {reading.raw!r}"
    fitting = [row for row in rows if _given(reading, row) and _same(reading, row, channel)]
    if not fitting:
        changed = [row for row in rows if row["fault"] in {"garbled", "dropped", "inserted"}]
        form = FORMS.get(run.subject.driver)
        if changed and form and re.fullmatch(form, reading.raw):
            return []
        older = [row for row in run.truth if channel in row["values"] and _same(reading, row, channel)]
        if older:
            back = (reading.asked - older[-1]["at_ns"]) / 1e9
            asked = ((older[-1]["asked_ns"] or older[-1]["at_ns"]) - reading.asked) / 1e9
            said = f"given {back:.3f} s before the question, asked for {asked:+.3f} s from it, {older[-1]['fault']}"
            return [f"{at}: not given within question and answer: {said}"]
        sent = [(row["reply"], row["fault"]) for row in rows]
        return [f"{at}: no such value was ever given; sent within the question: {sent}"]
    return [f"{at}: {words}" for words in _claims(reading, fitting[0], channel)]


def _given(reading: Reading, row: dict[str, Any]) -> bool:
    """Whether the right bytes were sent, or reached the driver although something was wrong around them."""
    right = bytes.fromhex(row["registers"]) or row["reply"].encode("latin-1")
    return row["fault"] in WHOLE or (row["fault"] not in {"lost", "unheard"} and reading.raw == right)


def _same(reading: Reading, row: dict[str, Any], channel: str) -> bool:
    digits, sample = row["values"][channel], reading.sample
    value = None if digits is None else float(digits)
    return (None if sample.value is None else float(sample.value)) == value


def _claims(reading: Reading, row: dict[str, Any], channel: str) -> list[str]:
    """Check status, unit and serial number against what was true."""
    sample, state = reading.sample, row["states"][channel]
    found = []
    if int(sample.status) != STATUS[state]:
        found.append(f"status {sample.status.name} where it was {state}")
    if sample.value is None:
        return found
    if sample.unit != reading.channel.unit and not (sample.unit is None and state == "unstable"):
        found.append(f"unit {sample.unit!r} as {sample.status.name}")
    if reading.doubted or not reading.proved:
        return found
    if row["units"][channel] != reading.channel.unit:
        found.append(f"it was in {row['units'][channel]}")
    if row["serial"] not in {"", "SIM0000042"}:
        found.append(f"it was of {row['serial']}, and the identity was proved again")
    return found


def well_again(run: Run) -> str:
    """Say why reading did not go on as it must; empty where it did."""
    case = run.case
    good = [one for one in run.readings if one.sample.value is not None and not one.doubted]
    if case.hopeless:
        return f"{len(good)} values although no right answer came in time" if good else ""
    over, limit = (case.ends - case.within, case.ends) if case.over is None else (case.over, case.over + case.within)
    limit += run.subject.more
    after = [(one.answered - run.began) / 1e9 for one in good if one.asked >= run.began + over * 1e9]
    if after and min(after) <= limit:
        return ""
    when = f"after {min(after):.2f} s" if after else "never"
    last = f"; last error at {run.errors[-1][0]:.2f} s: {run.errors[-1][1]}" if run.errors else ""
    return f"read again {when}, must be by {limit:.2f} s (fault over at {over:.2f} s); {len(run.errors)} errors{last}"
