"""Every option has its bounds in the signature of its driver: pydantic enforces them, `daq drivers` prints them."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import pytest
from pydantic import ValidationError, validate_call
from typer.testing import CliRunner

from daq.cli import app
from drivers import catalogue


@pytest.mark.parametrize("name", catalogue.names())
def test_every_number_and_text_is_bounded(name: str) -> None:
    hints = get_type_hints(catalogue.factory(name), include_extras=True)
    del hints["return"]
    for option, hint in hints.items():
        inner = get_args(hint)[0] if get_origin(hint) is tuple else hint
        assert inner is bool or get_origin(inner) in {Literal, Annotated}, option


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("modbus-singles", {"count": 0}),
        ("modbus-singles", {"count": -1}),
        ("modbus-singles", {"count": 63}),
        ("modbus-singles", {"address": -1}),
        ("modbus-singles", {"address": 65536}),
        ("modbus-singles", {"words": "middle first"}),
        ("modbus-singles", {"table": "coils"}),
        ("modbus-singles", {"quantity": ""}),
        ("modbus-singles", {"quantity": "q" * 41}),
        ("modbus-singles", {"unit": "\u00b0C"}),
        ("modbus-singles", {"unit": "a\nb"}),
        ("modbus-singles", {"no_value": [float("inf")]}),
        ("modbus-singles", {"no_value": [float("nan")]}),
        ("modbus-singles", {"no_value": [3.41e38]}),
        ("modbus-singles", {"no_value": [-3.41e38]}),
        ("scpi-dmm", {"slowest_s": 0}),
        ("scpi-dmm", {"slowest_s": -1}),
        ("scpi-dmm", {"slowest_s": 3601}),
        ("scpi-dmm", {"slowest_s": float("nan")}),
        ("scpi-dmm", {"digits": "five"}),
        ("milli-k", {"range_ohm": 0}),
        ("milli-k", {"range_ohm": 500_001}),
        ("milli-k", {"wires": 2}),
        ("milli-k", {"channels": "3"}),
        ("milli-k", {"decimals": 0}),
        ("milli-k", {"decimals": 10}),
        ("digiquartz", {"address": 0}),
        ("digiquartz", {"address": 99}),
        ("digiquartz", {"address": 123}),
        ("digiquartz", {"decimals": 0}),
        ("digiquartz", {"decimals": 10}),
        ("mt-sics", {"unit": "lb"}),
        ("sartorius-sbi", {"unit": "lb"}),
        ("vaisala-ptu", {"model": "ptb210"}),
        ("keller-33x", {"registers": 8}),
    ],
)
def test_out_of_bounds(name: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        validate_call(catalogue.factory(name))(**wrong)


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("modbus-singles", {"count": 62, "address": 65536 - 124}),
        ("modbus-singles", {"count": 1, "address": 65534, "no_value": [-9999, 3.4028234663852886e38]}),
        ("modbus-singles", {"no_value": [-3.4028234663852886e38, 0, 1e-30]}),
        ("modbus-singles", {"quantity": "q" * 40, "unit": "m/s2 ~"}),
        ("modbus-singles", {"quantity": "p", "unit": "K"}),
        ("scpi-dmm", {"slowest_s": 3600}),
        ("scpi-dmm", {"slowest_s": 0.1}),
        ("digiquartz", {"address": 98}),
        ("digiquartz", {"address": 1, "decimals": 9}),
        ("digiquartz", {"decimals": 1}),
        ("milli-k", {"range_ohm": 500_000, "decimals": 9}),
        ("milli-k", {"range_ohm": 1, "decimals": 1, "wires": 3}),
    ],
)
def test_the_borders_are_within(name: str, right: dict[str, Any]) -> None:
    assert validate_call(catalogue.factory(name))(**right).polls


def test_registers_end_at_the_last_one() -> None:
    with pytest.raises(ValueError, match="behind 65535, the last register"):
        validate_call(catalogue.factory("modbus-singles"))(address=65535)


def test_the_bounds_and_what_is_proven_are_printed() -> None:
    def shown(name: str) -> str:
        return " ".join(CliRunner().invoke(app, ["drivers", name]).output.split())

    modbus = shown("modbus-singles")
    assert "option count: whole number, 1 to 62, default 1" in modbus
    assert "option unit: text, 1 to 40 characters, ASCII, printable, default '1'" in modbus
    assert "identity: this driver asks for no serial number, so it needs identified = false an answer" in modbus
    assert (
        "identity: this driver asks for no serial number, so it needs identified = false; "
        "asked again every prove_every (5 s): 2 holding registers from 7937" in shown("vaisala-hmp")
    )
    assert "its length only" in modbus
    balance = shown("mt-sics")
    assert (
        "identity: I4 at the connection, after trouble and unasked bytes, and again every prove_every (5 s)" in balance
    )
    assert "control questions after a failure: I2, I3" in balance
    assert "ends repeated sending: SI" in balance, "SI ends SIR; no manual says that it ends all else"
    assert "sent at the connection to set up: none" in balance
    assert 'sent at the connection to set up: echo off, FORM "P=" 8.3 P " " U4 "T="' in shown("vaisala-ptu")
    assert "sent at the connection to set up: MILLIK:REMOTE" in shown("milli-k")
    assert "sent at the connection to set up: 2 holding registers from 7937" in shown("vaisala-hmp")
    assert "with the settings *0100UN" in shown("digiquartz")
    described = json.loads(CliRunner().invoke(app, ["drivers", "--json"]).output)
    assert {one["proof"] for one in described} == {"form", "checksum and form", "length"}
