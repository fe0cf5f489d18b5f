"""R24: whatever keeps a follower from reading, events tell exactly the polls that the ledger counts as missed."""

from __future__ import annotations

import random

from tests.drills.report import SEED, count, note
from tests.unit.station.test_missed import KINDS, Play, followed_through

PERIODS = [0.5, 1.0, 7.0, 60.0]


async def test_every_missed_poll_is_told_once() -> None:
    dice = random.Random(SEED)
    lives = count(30, 3_000)
    all_missed = 0
    for number in range(lives):
        plays = [Play(dice.choice(KINDS), dice.uniform(0.3, 70.0)) for _ in range(dice.randrange(1, 9))]
        period = dice.choice(PERIODS)
        told, missed, taken, due = await followed_through(plays, period)
        assert told == missed, f"life {number}: {told} told of {missed} missed; period {period}, {plays}"
        assert abs(taken + missed - due) <= 3 * (3 + 2 * len(plays)), (
            f"life {number}: {due} due; period {period}, {plays}"
        )
        all_missed += missed
    assert all_missed
    note(
        "R24",
        claim="every poll that was due and not taken is told by exactly one event",
        aim="sum of `missed` over gap, missed and refuse = ledger, in every life",
        seen=f"{lives} lives of up to 8 troubles ({', '.join(KINDS)}): {all_missed} polls missed, {all_missed} told",
        test="pytest tests/drills/test_told_misses.py",
        seed=SEED,
    )
