"""What one instrument can be asked, and how often: bounds of Modbus and of the serial line that no driver can leave."""

from __future__ import annotations

import math
import os
import re
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daq.forms import check_host
from drivers.driver import Listen, Registers, Text
from drivers.links.address import RtuTcp, Serial, Tcp, Visa, parse
from drivers.links.visa_names import host_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daq.config import InstrumentTable
    from drivers.driver import Driver, Query, SerialLine

REGISTERS_AT_ONCE = 125
REGISTERS = 65_536
RTU_QUESTION = 8
RTU_FRAME = 5
"""Bytes of an answer beside its registers: unit, function, length and two of the checksum."""
LONGEST_TIMEOUT = 3_600.0


def problems(table: InstrumentTable, driver: Driver[Any], line: SerialLine) -> list[str]:
    """Name what cannot be asked of this instrument, and a period within which its answers cannot come."""
    where = parse(table.address, driver.port)
    found = [problem for query in _queries(driver) for problem in _problems_of_query(query)]
    names = [channel.name for channel in driver.channels]
    if not names or len(set(names)) < len(names):
        found.append("options: with these it has no channel, or two of the same name")
    if not math.isfinite(driver.settle) or driver.settle < 0:
        found.append(f"options: {driver.settle:g} s without a byte is not possible; it must be at least 0 s")
    if isinstance(where, (Tcp, RtuTcp)):
        found += _host_problems(where.host)
    if isinstance(where, Visa):
        found += _host_problems(host_of(where.name))
        found += _library_problems(table.visa)
    if isinstance(where, Serial) and _is_folder(where.path):
        found.append(f'address: "{where.path}" is a folder; write the device of a port, as in "/dev/serial/by-id/…"')
    if (
        isinstance(_first(driver), Registers)
        and not isinstance(where, (Tcp, Visa))
        and table.unit in {0, *range(248, 256)}
    ):
        found.append(f"unit: {table.unit} is no address of one device on an RTU line; it must be from 1 to 247")
    if isinstance(where, Serial) and not found:
        found += _period_problems(table.period, driver, where.path, line)
    return list(dict.fromkeys(found))


def _queries(driver: Driver[Any]) -> Iterator[Query]:
    if driver.identity is not None:
        yield driver.identity.query
    yield from (step.query for step in driver.setup)
    yield from (control.query for control in driver.controls)
    yield from (poll.query for poll in driver.polls)


def _first(driver: Driver[Any]) -> Query | None:
    return next((poll.query for poll in driver.polls), None)


def _problems_of_query(query: Query) -> Iterator[str]:
    if not 0.0 < query.timeout <= LONGEST_TIMEOUT:
        yield f"options: a time-out of {query.timeout:g} s is not possible; it must be more than 0 s and at most 3600 s"
    if not isinstance(query, Registers):
        return
    if not 1 <= query.count <= REGISTERS_AT_ONCE:
        yield (
            f"options: {query.count} registers in one question are not possible; "
            f"Modbus allows 1 to {REGISTERS_AT_ONCE}, and a single takes two"
        )
    elif query.address < 0 or query.address + query.count > REGISTERS:
        last = query.address + query.count - 1
        yield f"options: there are no registers {query.address} to {last}; Modbus has 0 to {REGISTERS - 1}"


def _host_problems(host: str | None) -> list[str]:
    try:
        if host is not None:
            check_host(host)
    except ValueError as error:
        return [f"address: {error}"]
    return []


def _is_folder(path: str) -> bool:
    with suppress(OSError):  # what may not be looked at is told when it is opened
        return Path(path).is_dir()
    return False


def _library_problems(name: str) -> list[str]:
    """Ask whether pyvisa has what a name such as "@py" asks for; "@ivi", alone or behind a path, is its own part."""
    wrapper = name.rpartition("@")[2]
    if "@" not in name or wrapper == "ivi" or (wrapper.isidentifier() and find_spec(f"pyvisa_{wrapper}") is not None):
        return []
    return [f'visa: "{name}" is not installed; write "@py" for pyvisa-py, or "@ivi" for the library of a vendor']


def _period_problems(period: float, driver: Driver[Any], path: str, line: SerialLine) -> list[str]:
    """Compare the period with the time of question and shortest answer on the line; a pseudo-terminal has none."""
    if not period or os.path.realpath(path).startswith("/dev/pts/"):
        return []
    shortest = sum(_characters(poll.query) for poll in driver.polls) * line.seconds_per_character
    if period >= shortest:
        return []
    problem = f"period: {period * 1000:g} ms is shorter than question and answer take at {line}"
    return [f'{problem}: at least {math.ceil(shortest * 1000)} ms; to read as often as possible write "continuous"']


def _characters(query: Query) -> float:
    """Give the time of a question and its shortest answer, in characters of the line."""
    match query:
        case Registers(count=count):
            return RTU_QUESTION + RTU_FRAME + 2 * count + 2 * 3.5  # and the silence behind each of the two frames
        case Text(command=command, end=end):
            return len(command) + (_shortest(end) if end else 0)
        case Listen(end=end):
            return _shortest(end)


def _shortest(end: bytes | re.Pattern[bytes]) -> int:
    """Give the bytes of the shortest answer: one character and its end, where no pattern says more."""
    return 1 if isinstance(end, re.Pattern) else 1 + len(end)
