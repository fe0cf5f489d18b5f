"""R22 and R23: answers that come late in every pattern, and instruments that are exchanged at any instant.

Every driver on every kind of wire, against its simulator, judged by the truth that the simulator wrote.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.conformance.simulated import judge
from tests.conformance.simulated.cases import PROVE_EVERY, Case
from tests.conformance.simulated.experiment import Run, play
from tests.conformance.simulated.subjects import TIMEOUT
from tests.drills.report import LONG, SEED, count, note

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 30.0 if LONG else 5.0
LONGEST = 10.0 if LONG else 2.0
"""Seconds by which an answer is late at most; the time-out is 0.4 s."""


def delays(dice: random.Random) -> dict[str, Any]:
    """Give one pattern of delays: constant, jittering, single ones, or growing."""
    most = dice.choice([0.1, 0.3, 0.5, 0.8, 1.2, 2.5, 5.0, 10.0])
    most = min(most, LONGEST) * dice.uniform(0.8, 1.0)
    match dice.choice(["constant", "jitter", "single", "growing", "both"]):
        case "constant":
            return {"delay_s": most}
        case "jitter":
            return {"jitter_s": most}
        case "single":
            places = sorted(dice.sample(range(3, 40), 4))
            return {"single": [[place, dice.uniform(0.1, most)] for place in places]}
        case "growing":
            return {"growing_s": most / 40, "growing_most_s": most}
        case _:
            return {"delay_s": most / 2, "jitter_s": most / 2}


def case(faults: dict[str, Any], period: float) -> Case:
    return replace(Case("drill", faults, over=0.0, within=SECONDS - 0.2), period=period)


def wrong(runs: list[Run]) -> list[str]:
    return [f"{run.case.faults} {run.subject}: {words}" for run in runs for words in judge.wrong(run)]


@pytest.mark.timeout(3_600 if LONG else 120)
async def test_no_late_answer_counts_for_a_later_question(tmp_path: Path) -> None:
    dice = random.Random(SEED)
    asked = taken = patterns = 0
    found: list[str] = []
    longest = 0.0
    for number in range(count(2, 40)):
        folder = tmp_path / str(number)
        folder.mkdir()
        faults = delays(dice)
        runs = await play(case(faults, dice.choice([0.05, 0.2, 1.0])), folder)
        patterns += 1
        longest = max([longest, *(value for value in faults.values() if isinstance(value, float))])
        asked += sum(len(run.readings) + len(run.errors) for run in runs)
        taken += sum(len(run.readings) for run in runs)
        found += wrong(runs)
    assert not found, f"{len(found)} values out of place:\n" + "\n".join(found[:5])
    assert taken
    note(
        "R22",
        claim="an answer that comes late never counts for a later question",
        aim="delays of 0.1 to 10 s, constant, jittering, single, growing, every driver and wire: 0 values out of place",
        seen=f"{patterns} patterns of delays up to {longest:.1f} s (time-out {TIMEOUT} s), {asked} attempts to read, "
        f"{taken} values taken, 0 not given within their question and answer",
        test="pytest tests/drills/test_late_answers.py -k late",
        seed=SEED,
    )


async def test_answers_in_time_are_taken(tmp_path: Path) -> None:
    """Delays below the time-out cost nothing: no timely answer is discarded.

    The first question waits until the power-on lines are out: one that crosses the question for the number is equal to
    its answer, and costs one exchange (refused, and told).
    """
    (tmp_path / "0").mkdir()
    runs = await play(replace(case({"delay_s": 0.5 * TIMEOUT}, 0.05), asks_after=0.3), tmp_path / "0")
    for run in runs:
        held = run.held > 0.1 * TIMEOUT
        assert held or not run.errors, (str(run.subject), run.errors[:2])
        assert held or len(run.readings) > SECONDS / (3 * TIMEOUT + 0.1), str(run.subject)


@pytest.mark.timeout(3_600 if LONG else 120)
async def test_an_exchanged_instrument_is_found(tmp_path: Path) -> None:
    dice = random.Random(SEED)
    swaps = 0
    found: list[str] = []
    values = doubted = 0
    for number in range(count(1, 30)):
        folder = tmp_path / str(number)
        folder.mkdir()
        at, times = 1.0, []
        while at < SECONDS - 1.5:
            length = dice.uniform(3 * PROVE_EVERY, 6 * PROVE_EVERY)  # shorter ones nothing can show without a sign
            times.append([round(at, 3), round(length, 3)])
            at += length + dice.uniform(2.0, 3.0)
        runs = await play(case({"swap": times}, 0.05), folder)
        text = [run for run in runs if run.subject.text]
        swaps += len(times) * len(text)
        found += wrong(text)
        values += sum(len(run.readings) for run in text)
        doubted += sum(reading.doubted for run in text for reading in run.readings)
    assert not found, f"{len(found)} values of another instrument count as proven:\n" + "\n".join(found[:5])
    assert doubted
    note(
        "R23",
        claim="another instrument behind the same wire is found by the next proof; what it gave until then is a doubt",
        aim="exchanges at random instants, every driver with an identity: 0 values of another one that count as proven",
        seen=f"{swaps} exchanges, {values} values: {doubted} of them in doubt, 0 of another instrument proven "
        f"(proof every {PROVE_EVERY} s, period 0.05 s)",
        test="pytest tests/drills/test_late_answers.py -k exchanged",
        seed=SEED,
    )
