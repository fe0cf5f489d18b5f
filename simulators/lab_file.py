"""Checks a lab file: all mistakes are reported together, each with its table, its key and what would be correct."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

from simulators.catalogue import REGISTERS, SETTINGS, TEXT
from simulators.faults import SERVER, Faults

if TYPE_CHECKING:
    from collections.abc import Mapping

SERVES_TEXT = ("pty", "tcp", "hislip")
SERVES_REGISTERS = ("modbus-tcp", "modbus-rtu", "rtu-tcp")
KEYS = (
    *("simulator", "serve", "listen", "serial", "line", "unit"),
    *("bus", "period", "options", "faults", "driver_options"),
)
SHARED = ("serve", "listen", "line")
"""Keys that must be the same for all units of one bus."""
KINDS = {float: "a number", int: "a whole number", bool: "true or false", str: "a text"}


class LabError(Exception):
    """Mistakes in a lab file, one on each line."""


def check(document: Mapping[str, Any]) -> None:
    """Raise LabError with all mistakes of a lab file."""
    problems = [
        f"{key}: unknown; a lab file has seed and [instruments.NAME]"
        for key in document
        if key not in {"seed", "instruments"}
    ]
    if not isinstance(document.get("seed", 1), int | str):
        problems.append(f"seed: {document['seed']!r} is neither a whole number nor a text")
    instruments = document.get("instruments")
    if not isinstance(instruments, dict) or not instruments:
        problems.append("[instruments]: missing; write one table [instruments.NAME] for each instrument")
        instruments = {}
    for name, table in instruments.items():
        problems += [f"[instruments.{name}] {problem}" for problem in _mistakes(name, table)]
    problems += _bus_mistakes({name: table for name, table in instruments.items() if isinstance(table, dict)})
    if problems:
        raise LabError("\n".join(problems))


def _bus_mistakes(instruments: Mapping[str, dict[str, Any]]) -> list[str]:
    problems = []
    first_of: dict[str, str] = {}
    units: set[tuple[str, str]] = set()
    for name, table in instruments.items():
        bus = str(table.get("bus", name))
        where = f"[instruments.{name}]"
        unit = (bus, repr(table.get("unit")))
        first = first_of.setdefault(bus, name)
        if first != name and {instruments[first].get("serve"), table.get("serve")} & set(SERVES_TEXT):
            problems.append(f"{where} bus: {bus} is taken by {first}; only Modbus units share a bus")
        elif first != name:
            problems += [
                f"{where} {key}: {table.get(key)!r} is not what {first} has on bus {bus}; "
                f"write {instruments[first].get(key)!r} for both"
                for key in SHARED
                if table.get(key) != instruments[first].get(key)
            ]
            if unit in units:
                problems.append(f"{where} unit: {table.get('unit')} is taken on bus {bus}")
        units.add(unit)
    return problems


def _mistakes(name: str, table: Any) -> list[str]:  # noqa: ANN401  # as TOML gives it
    if not isinstance(table, dict):
        return [f"is no table; write [instruments.{name}] and its keys below"]
    problems = [f"{key}: unknown; known are {', '.join(sorted(KEYS))}" for key in table if key not in KEYS]
    if re.fullmatch(r"[A-Za-z0-9_-]+", name) is None:
        problems.append("the name may have letters, digits, - and _ only")
    problems += _wire_mistakes(table)
    kind = table.get("simulator")
    if kind not in [*TEXT, *REGISTERS]:
        return [*problems, f"simulator: {kind!r} is none; known are {', '.join(sorted({*TEXT, *REGISTERS}))}"]
    allowed = SERVES_TEXT if kind in TEXT else SERVES_REGISTERS
    if table.get("serve") not in allowed:
        problems.append(f"serve: {table.get('serve')!r} is no way for {kind}; use {', '.join(allowed)}")
    if kind in TEXT and re.fullmatch(r"SIM[A-Za-z0-9-]*", str(table.get("serial", ""))) is None:
        problems.append(
            'serial: must begin with "SIM", so that nobody takes its readings for real ones; letters, digits and - only'
        )
    unit = table.get("unit")
    if kind in REGISTERS and not (type(unit) is int and 1 <= unit <= 247):
        problems.append("unit: a Modbus unit from 1 to 247 is needed")
    problems += _option_mistakes(kind, table.get("options", {}))
    return problems + _fault_mistakes(kind, str(table.get("serve")), table.get("faults", {}))


def _fault_mistakes(kind: str, serve: str, table: Any) -> list[str]:  # noqa: ANN401  # as TOML gives it
    try:
        faults = Faults.from_table(table)
    except ValueError as error:
        return [f"faults: {error}"]
    problems = [
        f"faults: {key} is a fault of a serial server; serve = {serve!r} has none, use tcp, modbus-tcp or rtu-tcp"
        for key in SERVER
        if key in table and serve in {"pty", "modbus-rtu", "hislip"}
    ]
    if faults.opening_resets and kind in REGISTERS:
        problems.append(f"faults: opening_resets: {kind} has nothing that is lost when it starts")
    choices = SETTINGS.get(kind, {})
    for _, name, value in faults.set:
        if name not in choices:
            problems.append(f"faults: set {name!r}: {kind} has no such setting; it has {', '.join(choices) or 'none'}")
        elif value not in choices[name]:
            problems.append(f"faults: set {name} = {value!r}: {kind} knows {', '.join(choices[name])}")
    return problems


def _wire_mistakes(table: Mapping[str, Any]) -> list[str]:
    problems = []
    listen = re.fullmatch(r"[^\s]+:(\d{1,5})", str(table.get("listen", "127.0.0.1:0")))
    if listen is None or int(listen[1]) > 65535:
        problems.append(f'listen: {table["listen"]!r} is no "host:port"')
    if re.fullmatch(r"[1-9]\d* [78][NEO][12]", str(table.get("line", "9600 8N1"))) is None:
        problems.append(f'line: {table["line"]!r} is no line setting such as "9600 8N1"')
    if re.fullmatch(r"[A-Za-z0-9_-]+", str(table.get("bus", "bus"))) is None:
        problems.append(f"bus: {table['bus']!r} is no name; use letters, digits, - and _")
    if not isinstance(table.get("period", ""), str):
        problems.append(f'period: {table["period"]!r} is no text such as "500 ms"')
    if not isinstance(table.get("driver_options", {}), dict):
        problems.append("driver_options: is no table; write { name = value }")
    return problems


def _option_mistakes(kind: str, options: Any) -> list[str]:  # noqa: ANN401  # as TOML gives it
    if not isinstance(options, dict):
        return ["options: is no table; write { name = value }"]
    parameters = inspect.signature({**TEXT, **REGISTERS}[kind]).parameters.values()
    known = {each.name: type(each.default) for each in parameters if each.kind == each.KEYWORD_ONLY}
    problems = []
    for key, value in options.items():
        if key not in known:
            problems.append(f"options: unknown {key}; known are {', '.join(known)}")
        elif type(value) is not known[key] and not (known[key] is float and type(value) is int):
            problems.append(f"options: {key} = {value!r} is not {KINDS[known[key]]}")
    return problems
