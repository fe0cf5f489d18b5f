"""Each simulator, put into the state of a golden transcript, says exactly what the manual prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from simulators.balances.mt_sics import MtSics
from simulators.balances.sartorius_sbi import SartoriusSbi
from simulators.climate.vaisala_hmp import VaisalaHmp
from simulators.climate.vaisala_ptu import VaisalaPtu
from simulators.physics import constant
from simulators.pressure.digiquartz import Digiquartz
from simulators.pressure.keller_33x import Keller33x
from simulators.thermometers.milli_k import MilliK
from simulators.thermometers.scpi_dmm import ScpiDmm
from tests import golden

if TYPE_CHECKING:
    from simulators.instrument import RegisterSimulator, TextSimulator

FORM = 'FORM "P=" 8.3 P " " U4 "T=" 7.3 T " " U3 "RH=" 6.2 RH " " U4 STAT ERR CS2 #r #n'


def balance(truth: dict[str, Any]) -> dict[str, Any]:
    given = dict(truth)
    if "load" in given:
        given["load"] = constant(given["load"])
    if "at_rest" in given:
        at_rest = given["at_rest"]
        given["at_rest"] = lambda _: at_rest
    return given


def make(name: str, truth: dict[str, Any]) -> TextSimulator | RegisterSimulator:  # noqa: PLR0911  # one a simulator
    match name:
        case "mt-sics":
            return MtSics(**balance(truth))
        case "sartorius-sbi":
            return SartoriusSbi(**balance(truth))
        case "scpi-dmm":
            return ScpiDmm(resistance=constant(truth.pop("resistance", 0.0)), **truth)
        case "milli-k":
            return MilliK(resistances={"1": constant(truth.pop("resistance", 0.0))}, **truth)
        case "digiquartz":
            return Digiquartz(pressure=constant(truth["pressure"]))
        case "vaisala-ptu":
            made = VaisalaPtu(quantities={key: constant(value) for key, value in truth.items()}, echo=False)
            assert made.answer(FORM.encode(), 0.0) is not None
            return made
        case "vaisala-hmp":
            return VaisalaHmp(constant(truth["humidity"]), constant(truth["temperature"]))
        case _:
            return Keller33x(constant(truth["pressure"]), constant(truth["temperature"]))


ROWS = [(name, row) for kind in ("exchange", "setup") for name, row in golden.every(kind) if "truth" in row]


@pytest.mark.parametrize(("name", "row"), ROWS, ids=lambda one: one if isinstance(one, str) else one["source"])
def test_says_what_the_manual_prints(name: str, row: dict[str, Any]) -> None:
    simulator = make(name, dict(row["truth"]))
    if "address" in row:
        table = simulator.registers(0.0)  # type: ignore[union-attr]  # a register simulator by its row
        said = b"".join(table[one].to_bytes(2, "big") for one in range(row["address"], row["address"] + row["count"]))
        assert said == row["raw"]
        return
    answer = simulator.answer(row["send"].encode("latin-1").rstrip(b"\r\n"), 0.0)  # type: ignore[union-attr]
    assert answer is not None
    assert answer.reply == row["raw"]
    if row.get("values"):
        assert {key: float(digits) for key, digits in answer.values.items() if digits} == {
            key: float(digits) for key, digits in row["values"].items()
        }
