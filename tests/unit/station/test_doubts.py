"""What a failed proof, or a failed attempt to connect, says of the readings since the last good one."""

from __future__ import annotations

import pytest

from daq.station.doubts import IDENTITY, SETTING, UNIT, Doubts
from daq.station.records import Station
from drivers.errors import Altered, Impostor, InstrumentError, Lost, Silent, Unreadable, Unsettled, WrongSetting
from tests.followed import Records
from tests.jumping_clock import JumpingClock

SILENT, UNSETTLED, LOST = Silent("no answer"), Unsettled("not yet"), Lost("closed")


def made(*, provable: bool = True) -> tuple[Doubts, Records]:
    records = Records()
    doubts = Doubts(Station("lab", records, JumpingClock()), "balance", provable=provable)
    doubts.proved(1)
    doubts.stored("mass", 10, 1, unit_shown=True)
    doubts.stored("mass", 20, 1, unit_shown=True)
    return doubts, records


@pytest.mark.parametrize(
    ("first", "then", "doubted"),
    [
        (Impostor("another"), None, True),
        (Unreadable("rubbish"), None, True),
        (SILENT, None, False),
        (SILENT, SILENT, True),
        (SILENT, UNSETTLED, False),
        (UNSETTLED, SILENT, False),
        (LOST, SILENT, False),
        (LOST, LOST, False),
    ],
)
def test_failure_to_connect(first: InstrumentError, then: InstrumentError | None, doubted: bool) -> None:
    doubts, records = made()
    doubts.failed_to_connect(first, 1)
    if then is not None:
        doubts.failed_to_connect(then, 1)
    assert [(one.kind, one.at, one.until) for one in records.doubts] == ([(IDENTITY, 10, 20)] if doubted else [])
    doubts.proved(2)
    doubts.failed_to_connect(Impostor("another"), 2)
    assert len(records.doubts) == doubted, "what was proven is not doubted, and nothing twice"


@pytest.mark.parametrize(
    ("error", "kind"), [(Altered("other unit"), SETTING), (Impostor("another"), IDENTITY), (Unreadable("?"), IDENTITY)]
)
def test_failed_proof(error: InstrumentError, kind: str) -> None:
    doubts, records = made()
    doubts.failed_proof(error, 1)
    (doubt,) = records.doubts
    assert (doubt.kind, doubt.channel, doubt.at, doubt.until) == (kind, "mass", 10, 20)
    assert (doubts.count, doubts.last) == (1, doubt.text)
    assert not doubts.open


def test_a_proof_that_was_good_meanwhile_has_proven_what_was_stored() -> None:
    doubts, records = made()
    doubts.failed_proof(Impostor("another"), 2)
    assert not records.doubts
    assert not doubts.open


@pytest.mark.parametrize("proofs", [[SILENT], [LOST], [SILENT, UNSETTLED]])
def test_a_proof_that_is_not_answered_leaves_it_to_the_next_attempt(proofs: list[InstrumentError]) -> None:
    doubts, records = made()
    for error in proofs:
        doubts.failed_proof(error, 1)
    assert not records.doubts
    assert doubts.open
    doubts.failed_to_connect(SILENT, 1)
    assert len(records.doubts) == (proofs != [LOST])


def test_what_is_unproven_at_the_end_is_a_doubt_where_it_could_have_been_proven() -> None:
    for provable in (True, False):
        doubts, records = made(provable=provable)
        doubts.end()
        doubts.end()
        assert len(records.doubts) == provable


def test_values_without_a_unit_are_a_doubt_where_another_one_is_shown_and_are_taken_over() -> None:
    doubts, records = made()
    for at, shown in ((30, False), (40, False), (50, None)):
        doubts.stored("mass", at, 1, unit_shown=shown)
    after = Doubts(doubts.station, "balance")
    after.take_over(doubts)
    after.other_unit(SILENT)
    assert not records.doubts
    after.other_unit(WrongSetting("it shows mg"))
    (doubt,) = records.doubts
    assert (doubt.kind, doubt.at, doubt.until) == (UNIT, 30, 40)
    after.other_unit(WrongSetting("it shows mg"))
    assert len(records.doubts) == 1
    doubts.stored("mass", 60, 1, unit_shown=True)
    doubts.other_unit(WrongSetting("it shows mg"))
    assert len(records.doubts) == 1
