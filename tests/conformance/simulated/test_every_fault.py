"""Every driver, on every wire that it speaks, through every fault: nothing is invented, and reading goes on."""

from __future__ import annotations

import pytest

from drivers import catalogue
from drivers.errors import Unreadable
from drivers.sample import Status
from tests.conformance.simulated import judge
from tests.conformance.simulated.cases import CASES, PROVE_EVERY, Case
from tests.conformance.simulated.experiment import Run, played
from tests.conformance.simulated.subjects import SUBJECTS, TIMEOUT

PAIRS = [
    pytest.param(case, str(subject), id=f"{case.name}-{subject}")
    for case in CASES
    for subject in SUBJECTS
    if case.concerns(subject)
]
"""The drivers of one case stand side by side: they are read at the same time."""


def test_every_driver_has_its_instruments() -> None:
    assert {one.driver for one in SUBJECTS} == set(catalogue.names())


@pytest.mark.parametrize(("case", "subject"), PAIRS)
def test_nothing_is_invented_and_reading_goes_on(case: Case, subject: str) -> None:
    run = played(case)[subject]
    wrong = judge.wrong(run)
    assert not wrong, f"{len(wrong)} of {len(run.readings)} values are wrong:\n" + "\n".join(wrong[:3])
    assert not (late := judge.well_again(run)), late


def readings(case: str) -> list[Run]:
    (found,) = (one for one in CASES if one.name == case)
    return list(played(found).values())


def test_without_a_fault_every_answer_is_read() -> None:
    for run in readings("no fault"):
        assert not run.errors or run.held > TIMEOUT / 2, (str(run.subject), run.errors[0])
        assert len(run.readings) >= 15, str(run.subject)
        assert sum(not one.proved for one in run.readings) == 0


def test_value_of_a_slow_converter_is_not_older_than_its_conversion() -> None:
    for run in readings("renewed 10 times a second"):
        late = [one for one in run.truth if one["asked_ns"] - one["measured_ns"] > 0.1e9 + judge.CLOCK_NS]
        assert not late
        instants = {one["measured_ns"] // 10_000_000 for one in run.truth}
        fast = len(run.truth) >= 12 * run.case.ends
        assert not fast or len(instants) < len(run.truth), f"{run.subject}: a new value at each question"


@pytest.mark.parametrize(
    ("case", "missing"),
    [
        ("a fault of the balance", {"mass"}),
        ("a lost probe", {"temperature", "humidity"}),
        ("a purge", {"pressure", "temperature", "humidity"}),
        ("a lost probe, few stars", {"temperature", "humidity"}),
    ],
)
def test_what_an_instrument_cannot_give_is_invalid_and_costs_nothing_else(case: str, missing: set[str]) -> None:
    for run in readings(case):
        if run.held > TIMEOUT / 2:
            continue
        meanwhile = [
            one for one in run.readings if run.began + 1.4e9 <= one.asked and one.answered <= run.began + 2.1e9
        ]
        assert {one.sample.status for one in meanwhile if one.channel.name in missing} == {Status.INVALID}
        assert {one.sample.status for one in meanwhile if one.channel.name not in missing} <= {Status.GOOD}
        assert {one.channel.name for one in meanwhile} == {channel.name for channel in run.subject.made().channels}
        assert not [str(error) for _, error in run.errors if isinstance(error, Unreadable)]


def test_identity_is_asked_again_and_again() -> None:
    for run in readings("no fault"):
        if run.subject.text:
            assert max(one.proofs for one in run.readings) >= 2.0 / PROVE_EVERY / 2, str(run.subject)
