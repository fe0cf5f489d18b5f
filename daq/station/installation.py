"""Makes the Instrument that can be read from its table in the config, and finds the mistakes of that table."""

from __future__ import annotations

import difflib
import inspect
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError, validate_call

from daq.config import ConfigError, StationConfig, explain, load
from drivers import catalogue
from drivers.driver import SerialLine
from drivers.instrument import Instrument
from drivers.links import Wires, device_at

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from daq.config import InstrumentTable
    from drivers.driver import Driver

MISSING_SERIAL = (
    "serial: missing; write the serial number that is printed on the instrument (`daq read` shows what it answers), "
    "or identified = false if its readings may be stored without that check"
)


def load_station(path: Path) -> StationConfig:
    """Read and check the config of a station in full; nothing is opened. ConfigError holds every mistake."""
    config = load(path, StationConfig)
    if problems := _problems(config.instruments):
        raise ConfigError([f"{path}: {problem}" for problem in problems])
    return config


def driver_of(table: InstrumentTable) -> Driver[Any]:
    """Give the driver with its options; ValueError where the driver or an option is unknown or wrong."""
    try:
        factory = catalogue.factory(table.driver)
    except KeyError:
        near = difflib.get_close_matches(table.driver, catalogue.names(), 1)
        hint = f'did you mean "{near[0]}"?' if near else f"known are {', '.join(catalogue.names())}"
        raise ValueError(f'driver: "{table.driver}" is not installed; {hint}') from None
    known = list(inspect.signature(factory).parameters)
    unknown = [f"options: unknown {key}; {_nearest(key, known)}" for key in table.options if key not in known]
    if unknown:
        raise ValueError("\n".join(unknown))
    try:
        driver: Driver[Any] = validate_call(factory)(**table.options)
    except ValidationError as error:
        raise ValueError("\n".join(f"options: {problem}" for problem in explain(error))) from None
    return driver


def _nearest(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, 1)
    return f'did you mean "{near[0]}"?' if near else f"this driver knows {', '.join(known) or 'none'}"


def instrument_of(name: str, table: InstrumentTable, wires: Wires) -> Instrument[Any]:
    """Give the instrument on its link; nothing is opened yet. ValueError names the wrong key."""
    driver = driver_of(table)
    try:
        serial_line = SerialLine.parse(table.line) if table.line else None
    except ValueError as error:
        raise ValueError(f"line: {error}") from None
    try:
        link = wires.link(
            table.address, driver, unit=table.unit, line=serial_line, visa_backend=table.visa, echo=table.echo
        )
    except ValueError as error:
        raise ValueError(f"address: {error}") from None
    serial = table.serial if table.identified else None
    return Instrument(name, driver, link, serial, plugged=partial(device_at, table.address))


def _problems(tables: Mapping[str, InstrumentTable]) -> list[str]:
    wires = Wires()
    problems: list[str] = []
    serials: dict[str, str] = {}
    for name, table in tables.items():
        try:
            identity = instrument_of(name, table, wires).driver.identity
        except ValueError as error:
            problems += [f"[instruments.{name}] {problem}" for problem in str(error).splitlines()]
            continue
        problems += [
            f"[instruments.{name}] {problem}" for problem in _identity_problems(table, asks=identity is not None)
        ]
        if table.serial is not None and (other := serials.setdefault(f"{table.driver} {table.serial}", name)) != name:
            problems.append(f"[instruments.{name}] serial: {table.serial!r} is the serial number of {other} already")
    return problems


def _identity_problems(table: InstrumentTable, *, asks: bool) -> list[str]:
    match asks, table.identified, table.serial:
        case True, True, None:
            return [MISSING_SERIAL]
        case False, True, _:
            return [f"identified: {table.driver} has no way to ask for a serial number; write identified = false"]
        case _:
            return []
