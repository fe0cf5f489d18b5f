"""Every installed driver keeps the style, reads its golden transcript, and raises nothing but Unreadable."""

from __future__ import annotations

import ast
import inspect
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers import catalogue
from drivers.driver import Driver, Poll, Registers, Text
from drivers.errors import Unreadable, WrongSetting
from drivers.instrument import decoded
from drivers.sample import Sample, Status
from tests import golden
from tests.conformance.drivers import oracle
from tests.drills.fuzz import with_sum

if TYPE_CHECKING:
    from collections.abc import Callable

UCUM = {"g", "mg", "kg", "Ohm", "Cel", "K", "hPa", "bar", "%", "1"}
LONGEST_FUNCTION = 35


def driver(name: str) -> Driver[Any]:
    return catalogue.factory(name)()


def test_every_driver_has_a_golden_transcript() -> None:
    assert set(golden.NAMES) == set(catalogue.names())


@pytest.mark.parametrize("name", catalogue.names())
def test_style(name: str) -> None:
    factory = catalogue.factory(name)
    module = inspect.getmodule(factory)
    assert module is not None
    assert "Source:" in (module.__doc__ or ""), "the docstring of a driver cites its manual"
    assert inspect.getdoc(factory)
    assert len(inspect.getsource(factory).splitlines()) <= LONGEST_FUNCTION
    for option in inspect.signature(factory).parameters.values():
        assert option.kind is option.KEYWORD_ONLY
        assert option.default is not option.empty
    made = driver(name)
    names = [channel.name for channel in made.channels]
    assert len(set(names)) == len(names)
    for channel in made.channels:
        assert channel.unit in UCUM
        assert re.fullmatch(r"[a-z][a-z0-9-]*", channel.name)
        assert re.fullmatch(r"[a-z_]+", channel.quantity)
    steps: list[Any] = [*made.polls, *made.setup, *made.controls, *([made.identity] if made.identity else [])]
    for query in [*(step.query for step in steps), *made.quieting]:
        assert 0.1 <= query.timeout <= 60
        if isinstance(query, Text):
            assert query.command.endswith((b"\r", b"\n"))
    assert made.settle >= max(poll.query.timeout for poll in made.polls) / 3


@pytest.mark.parametrize("name", catalogue.names())
def test_module_does_no_io(name: str) -> None:
    module = inspect.getmodule(catalogue.factory(name))
    assert module is not None
    imported = {
        alias.name if isinstance(node, ast.Import) else str(node.module)
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    allowed = {"__future__", "re", "decimal", "functools", "typing", "annotated_types"}
    allowed |= {"drivers", "drivers.driver", "drivers.errors", "drivers.options"}
    assert imported <= allowed, imported - allowed


def decode(name: str, row: dict[str, Any]) -> tuple[Sample, ...] | str:
    made = driver(name)
    if "serial" in row:
        assert made.identity is not None
        assert "send" not in row or made.identity.query.command == row["send"].encode("latin-1")
        return made.identity.decode(row["raw"])
    poll: Poll[Any] = made.polls[0]
    if isinstance(poll.query, Registers):
        assert (poll.query.address, poll.query.count) == (row["address"], row["count"])
    else:
        assert poll.query.command == row["send"].encode("latin-1")
    return poll.decode(row["raw"])


@pytest.mark.parametrize(
    ("name", "row"), golden.every("exchange"), ids=lambda one: one if isinstance(one, str) else one["source"]
)
def test_reads_what_the_manual_prints(name: str, row: dict[str, Any]) -> None:
    found = decode(name, row)
    if isinstance(found, str):
        assert found == row["serial"]
        return
    for channel, sample in zip(driver(name).channels, found, strict=False):
        digits = row["values"].get(channel.name)
        assert sample.value == (None if digits is None else Decimal(digits))
        assert sample.value is None or str(sample.value) == digits
        assert sample.status is Status[row["status"].upper()]
        shown = None if row.get("units", {}).get(channel.name) == "not shown" else channel.unit
        assert sample.value is None or sample.unit == shown


@pytest.mark.parametrize(
    ("name", "row"), golden.every("refused"), ids=lambda one: one if isinstance(one, str) else one["source"]
)
def test_refuses_what_the_manual_does_not_know(name: str, row: dict[str, Any]) -> None:
    poll = driver(name).polls[0]
    with pytest.raises(Unreadable):
        decoded(poll, row["raw"])
    assert oracle.says(name, row["raw"], {}) is None


def test_an_instrument_set_otherwise_is_not_called_unreadable() -> None:
    """WrongSetting: it answered in time, so nothing late can come; and units that were shown before count no more."""
    for name, raw in (
        ("mt-sics", b"S S     100.00 oz\r\n"),
        ("mt-sics", b"S S     100.00 kg\r\n"),
        ("sartorius-sbi", b"N     +    0.031 ct \r\n"),
        ("scpi-dmm", b'+1.07793500E+02;"VOLT"\n'),
        ("vaisala-ptu", with_sum(b"P=      30.526 inHgT=     22.200 'C RH=    38.30 %RH N 0    0000CS\r\n")),
    ):
        with pytest.raises(WrongSetting):
            decoded(driver(name).polls[0], raw)
    (unit_code,) = driver("digiquartz").setup
    assert unit_code.proves
    unit_code.check(b"*0001UN=2\r\n")
    word_order, *_ = driver("vaisala-hmp").setup
    assert word_order.proves
    for order in ("C2F6 E666", "66E6 F6C2", "F6C2 66E6"):
        with pytest.raises(WrongSetting, match=f"another order.* hold {order}, and E666 C2F6 .* would be right"):
            word_order.check(bytes.fromhex(order))
    with pytest.raises(WrongSetting, match="hPa"):
        unit_code.check(b"*0001UN=1\r\n")


@pytest.mark.parametrize("name", catalogue.names())
def test_what_proves_that_an_answer_is_the_right_one(name: str) -> None:
    """Modbus has a length; on Modbus TCP the link itself has the number. Text has a form."""
    modbus = isinstance(driver(name).polls[0].query, Registers)
    assert driver(name).proof in ({"length"} if modbus else {"form", "checksum and form"})


@pytest.mark.parametrize("name", catalogue.names())
def test_control_answers_cannot_be_taken_for_others(name: str) -> None:
    """Nor can the end of any other answer be: its beginning may have been cleared away before the question."""
    made = driver(name)
    rows = {row["send"].encode("latin-1"): row["raw"] for row in golden.rows(name, "control")}
    assert set(rows) == {control.query.command for control in made.controls}, "each has a golden answer"
    others = [row["raw"] for kind in ("exchange", "refused") for row in golden.rows(name, kind)]
    others = [raw for raw in others if raw != b"ES\r\n"]  # the error word in time counts as an answer
    for control in made.controls:
        own = rows[control.query.command]
        control.check(own)
        strange = [raw for raw in (*others, *rows.values()) if raw != own]
        for end in [raw[place:] for raw in strange for place in range(len(raw))]:
            with pytest.raises(Unreadable):
                control.check(end)
        for read in [poll.decode for poll in made.polls] + ([made.identity.decode] if made.identity else []):
            with pytest.raises(Unreadable):
                read(own)


@pytest.mark.parametrize(
    ("name", "row"), golden.every("setup"), ids=lambda one: one if isinstance(one, str) else one["source"]
)
def test_the_answers_of_the_manual_to_the_setup_are_accepted_and_no_others(name: str, row: dict[str, Any]) -> None:
    (step,) = (one for one in driver(name).setup if one.query == Registers(row["address"], row["count"]))
    step.check(row["raw"])
    for place in range(len(row["raw"])):
        for byte in range(256):
            if (raw := changed((row["raw"], place, byte))) != row["raw"]:
                with pytest.raises(Unreadable):
                    step.check(raw)
    for kind in ("exchange", "refused"):
        for other in golden.rows(name, kind):
            with pytest.raises(Unreadable):
                step.check(other["raw"])


def test_an_old_balance_that_does_not_know_the_question_has_answered_in_time() -> None:
    for control in driver("mt-sics").controls:
        control.check(b"ES\r\n")
        control.check(control.query.command[:2] + b" I\r\n")


def test_what_ends_unasked_lines_changes_nothing_else() -> None:
    quieting = {name: [query.command for query in driver(name).quieting] for name in catalogue.names()}
    assert {name: found for name, found in quieting.items() if found} == {
        "mt-sics": [b"SI\r\n"],  # never @, which may clear a tare
        "digiquartz": [b"*0100P3\r\n"],
    }
    vaisala = catalogue.factory("vaisala-ptu")(stop_run=True)
    assert [(query.command, query.end) for query in vaisala.quieting] == [(b"S\r", b"")]
    with pytest.raises(Unreadable, match="stop_run = true"):
        vaisala.polls[0].decode(b"P= 1013.2 hPa T= 31.1 'C RH= 38.3 %RH\r\n")


def test_where_the_balance_waits_the_stamp_is_the_answer() -> None:
    assert [poll.stamp for poll in driver("mt-sics").polls] == ["middle"]
    assert [poll.stamp for poll in catalogue.factory("mt-sics")(wait_for_stability=True).polls] == ["answer"]


def decoders(name: str) -> list[Callable[[bytes], Any]]:
    made = driver(name)
    checks = [step.check for step in made.setup] + [control.check for control in made.controls]
    found = [poll.decode for poll in made.polls] + checks
    return [*found, made.identity.decode] if made.identity else found


@pytest.mark.parametrize("name", catalogue.names())
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_bytes_give_samples_or_unreadable(name: str, data: st.DataObject) -> None:
    replies = [row["raw"] for row in golden.rows(name, "exchange")]
    raw = data.draw(
        st.one_of(
            st.binary(max_size=64),
            st.sampled_from(replies).flatmap(lambda reply: st.integers(0, len(reply)).map(lambda cut: reply[:cut])),
            st.tuples(st.sampled_from(replies), st.integers(0, 200), st.integers(0, 255)).map(changed),
            st.tuples(st.sampled_from(replies), st.sampled_from(replies)).map(b"".join),
        )
    )
    for one in decoders(name):
        try:
            found = one(raw)
        except Unreadable:
            continue
        assert not isinstance(found, tuple) or all(isinstance(sample, Sample) for sample in found)


def changed(drawn: tuple[bytes, int, int]) -> bytes:
    reply, place, byte = drawn
    place %= len(reply)
    return reply[:place] + bytes([byte]) + reply[place + 1 :]


@pytest.mark.parametrize("name", catalogue.names())
def test_cut_answer_is_never_a_value(name: str) -> None:
    for row in golden.rows(name, "exchange"):
        if "serial" in row:
            continue
        for length in range(len(row["raw"])):
            with pytest.raises(Unreadable):
                driver(name).polls[0].decode(row["raw"][:length])


def test_changed_byte_never_passes_a_checksum() -> None:
    row = next(row for row in golden.rows("vaisala-ptu", "exchange") if "values" in row)
    for place in range(len(row["raw"])):
        for byte in range(256):
            raw = changed((row["raw"], place, byte))
            if raw != row["raw"]:
                with pytest.raises(Unreadable):
                    driver("vaisala-ptu").polls[0].decode(raw)
