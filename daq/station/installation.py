"""Makes the Instrument that can be read from its table in the config, and finds the mistakes of that table."""

from __future__ import annotations

import difflib
import inspect
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError, validate_call

from daq.config import ConfigError, InstrumentTable, StationConfig, made, read_toml
from daq.mistakes import explain
from daq.station import bounds
from daq.station.neighbours import Neighbours
from drivers import catalogue
from drivers.driver import SerialLine, with_timeout
from drivers.instrument import Instrument
from drivers.links import Wires, device_at
from drivers.links.address import parse
from drivers.serial_number import ANONYMOUS, identifies

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from drivers.driver import Driver

BAUD = range(50, 4_000_001)
"""Speeds of a serial line that Linux and the fastest adapters know."""
MISSING_SERIAL = (
    "serial: missing; write the serial number that is printed on the instrument (`daq read` shows what it answers), "
    "or identified = false if its readings may be stored without that check"
)


def load_station(path: Path) -> StationConfig:
    """Read and check the config of a station in full; nothing is opened. ConfigError holds every mistake."""
    return station_of(path, read_toml(path))


def station_of(path: Path, document: dict[str, Any]) -> StationConfig:
    """Make and check the config of a station of what was read from `path`; ConfigError holds every mistake."""
    try:
        config = made(path, document, StationConfig)
    except ConfigError as error:
        more = [f"{path}: {problem}" for problem in _problems(_well_formed(document))]
        raise ConfigError([*error.problems, *more]) from error
    if problems := _problems(config.instruments):
        raise ConfigError([f"{path}: {problem}" for problem in problems])
    return config


def _well_formed(document: dict[str, Any]) -> dict[str, InstrumentTable]:
    """Give the tables of instruments in which each key has the right form, of a config that has mistakes elsewhere."""
    found: dict[str, InstrumentTable] = {}
    tables = document.get("instruments")
    for name, table in tables.items() if isinstance(tables, dict) else ():
        with suppress(ValidationError):
            found[name] = InstrumentTable.model_validate(table)
    return found


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
    except ValueError as error:
        raise ValueError(f"options: {error}") from error
    return driver


def _nearest(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, 1)
    return f'did you mean "{near[0]}"?' if near else f"this driver knows {', '.join(known) or 'none'}"


def instrument_of(name: str, table: InstrumentTable, wires: Wires) -> Instrument[Any]:
    """Give the instrument on its link; nothing is opened yet. ValueError names the wrong key."""
    driver = driver_of(table)
    if table.timeout is not None:
        driver = with_timeout(driver, table.timeout)
    line = line_of(table)
    try:
        link = wires.link(
            table.address,
            driver,
            unit=table.unit,
            line=line,
            visa_backend=table.visa,
            echo=table.echo,
        )
    except ValueError as error:
        raise ValueError(f"address: {error}") from None
    return Instrument(
        name,
        driver,
        link,
        table.serial if table.identified else None,
        plugged=partial(device_at, str(parse(table.address, driver.port))),
        prove_every=table.prove_every,
    )


def line_of(table: InstrumentTable) -> SerialLine | None:
    """Give the setting of the serial line that a table asks for; ValueError where there is no such setting."""
    if table.line is None:
        return None
    try:
        line = SerialLine.parse(table.line)
    except ValueError as error:
        raise ValueError(f"line: {error}") from None
    if line.baud not in BAUD:
        raise ValueError(f"line: {line.baud} baud is not possible; it must be from {BAUD[0]} to {BAUD[-1]}")
    return line


def _problems(tables: Mapping[str, InstrumentTable]) -> list[str]:
    wires, neighbours = Wires(), Neighbours()
    problems: list[str] = []
    serials: dict[str, str] = {}
    for name, table in tables.items():
        found = _problems_of(name, table, wires, neighbours)
        problems += [f"[instruments.{name}] {problem}" for problem in found]
        if table.serial and (other := serials.setdefault(f"{table.driver} {table.serial}", name)) != name:
            problems.append(f"[instruments.{name}] serial: {table.serial!r} is the serial number of {other} already")
    return problems


def _problems_of(name: str, table: InstrumentTable, wires: Wires, neighbours: Neighbours) -> list[str]:
    try:
        driver = instrument_of(name, table, wires).driver
        found = bounds.problems(table, driver, line_of(table) or driver.serial_line)
        if neighbour := neighbours.conflict(name, table, driver):
            found.append(neighbour)
    except ValueError as error:
        return str(error).splitlines()
    except Exception as error:  # noqa: BLE001  # a driver may be of a third party: told as a mistake of this table
        return [f"driver: {table.driver} cannot be made with these options: {type(error).__name__}: {error}"]
    return found + _identity_problems(table, asks=driver.identity is not None)


def _identity_problems(table: InstrumentTable, *, asks: bool) -> list[str]:
    serial = table.serial
    if not asks and table.identified:
        return [f"identified: the driver {table.driver} asks for no serial number; write identified = false"]
    if serial is None:
        return [MISSING_SERIAL] if table.identified else []
    if not table.identified:
        return ["serial: identified = false says that it is not compared; leave out one of the two"]
    if not identifies(serial):
        return [f"serial: {serial!r} is no serial number: {ANONYMOUS}"]
    if serial != serial.strip():
        return [f"serial: {serial!r} begins or ends with a space; write {serial.strip()!r}"]
    return []
