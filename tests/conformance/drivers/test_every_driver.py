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
from drivers.errors import Unreadable
from drivers.sample import Sample, Status
from tests import golden

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
    queries = [poll.query for poll in made.polls] + [step.query for step in made.setup]
    for query in [*queries, made.identity.query] if made.identity else queries:
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
    allowed = {"__future__", "re", "decimal", "functools", "typing", "drivers", "drivers.driver"}
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
        assert sample.status is Status[row["status"].upper()]
        assert sample.value is None or sample.unit == channel.unit


@pytest.mark.parametrize(
    ("name", "row"), golden.every("refused"), ids=lambda one: one if isinstance(one, str) else one["source"]
)
def test_refuses_what_the_manual_does_not_know(name: str, row: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        driver(name).polls[0].decode(row["raw"])


def decoders(name: str) -> list[Callable[[bytes], Any]]:
    made = driver(name)
    found = [poll.decode for poll in made.polls] + [step.check for step in made.setup]
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
    (row,) = (row for row in golden.rows("vaisala-ptu", "exchange") if "values" in row)
    for place in range(len(row["raw"])):
        for byte in range(256):
            raw = changed((row["raw"], place, byte))
            if raw != row["raw"]:
                with pytest.raises(Unreadable):
                    driver("vaisala-ptu").polls[0].decode(raw)
