"""From the config of one instrument to the Instrument that can be read: driver, options, link."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drivers import catalogue
from drivers.driver import Line
from drivers.instrument import Instrument

if TYPE_CHECKING:
    from daq.config import InstrumentTable
    from drivers.driver import Driver
    from drivers.links import Wires


def driver_of(table: InstrumentTable) -> Driver[Any]:
    """Give the driver with its options; the config was checked, so both exist."""
    return catalogue.factory(table.driver)(**table.options)


def wire(name: str, table: InstrumentTable, wires: Wires) -> Instrument[Any]:
    """Give the instrument on its link; nothing is opened yet."""
    driver = driver_of(table)
    link = wires.link(
        table.address,
        driver,
        unit=table.unit,
        line=Line.parse(table.line) if table.line else None,
        visa_backend=table.visa,
        echo=table.echo,
    )
    return Instrument(name, driver, link, table.serial if table.identified else None)
