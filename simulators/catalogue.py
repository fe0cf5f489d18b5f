"""The simulators, by the name of the command set that each one implements."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulators.balances.mt_sics import mt_sics
from simulators.balances.sartorius_sbi import sartorius_sbi
from simulators.climate.vaisala_hmp import vaisala_hmp
from simulators.climate.vaisala_ptu import vaisala_ptu
from simulators.pressure.digiquartz import digiquartz
from simulators.pressure.keller_33x import keller_33x
from simulators.thermometers.milli_k import milli_k
from simulators.thermometers.scpi_dmm import scpi_dmm

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulators.instrument import RegisterSimulator, TextSimulator

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
"""These instruments cannot send a serial number over Modbus."""
