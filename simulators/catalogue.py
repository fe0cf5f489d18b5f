"""The simulators, by the name of the command set that each one implements."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulators.balances.mt_sics import MtSics, mt_sics
from simulators.balances.sartorius_sbi import SartoriusSbi, sartorius_sbi
from simulators.climate.vaisala_hmp import vaisala_hmp
from simulators.climate.vaisala_ptu import VaisalaPtu, vaisala_ptu
from simulators.pressure.digiquartz import Digiquartz, digiquartz
from simulators.pressure.keller_33x import keller_33x
from simulators.thermometers.milli_k import milli_k
from simulators.thermometers.scpi_dmm import ScpiDmm, scpi_dmm

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulators.instrument import Choices, RegisterSimulator, TextSimulator

TEXT: dict[str, Callable[..., TextSimulator]] = {
    "mt-sics": mt_sics,
    "sartorius-sbi": sartorius_sbi,
    "scpi-dmm": scpi_dmm,
    "milli-k": milli_k,
    "digiquartz": digiquartz,
    "vaisala-ptu": vaisala_ptu,
}
REGISTERS: dict[str, Callable[..., RegisterSimulator]] = {
    "vaisala-hmp": vaisala_hmp,
    "keller-33x": keller_33x,
}
"""These simulators send no serial number, and their drivers ask for none; the instruments have one."""
SETTINGS: dict[str, Choices] = {
    "mt-sics": MtSics.settings,
    "sartorius-sbi": SartoriusSbi.settings,
    "scpi-dmm": ScpiDmm.settings,
    "digiquartz": Digiquartz.settings,
    "vaisala-ptu": VaisalaPtu.settings,
}
"""What somebody can set at an instrument while it is read; the others have nothing to set."""
STRANGERS: dict[str, dict[str, float]] = {
    "mt-sics": {"load_g": 150.0},
    "sartorius-sbi": {"load_g": 75.0},
    "scpi-dmm": {"celsius": 60.0},
    "milli-k": {"celsius": 60.0},
    "digiquartz": {"hpa": 950.0},
    "vaisala-ptu": {"hpa": 950.0, "celsius": 30.0, "percent": 70.0},
    "vaisala-hmp": {"percent": 70.0, "celsius": 30.0},
    "keller-33x": {"bar": 0.5, "celsius": 40.0},
}
"""What the instrument measures that is exchanged for another one: values that the own one never has."""
