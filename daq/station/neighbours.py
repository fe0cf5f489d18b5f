"""Which text instruments may share one port: only those whose every command carries its own bus address."""

from __future__ import annotations

import inspect
import os
from typing import TYPE_CHECKING, Any

from drivers import catalogue
from drivers.driver import Registers, Text
from drivers.links.address import Serial, Visa, parse

if TYPE_CHECKING:
    from daq.config import InstrumentTable
    from drivers.driver import Driver


class Neighbours:
    """The text instruments of one config by their port or TCP address."""

    def __init__(self) -> None:
        self._known: dict[object, list[tuple[str, str, frozenset[bytes]]]] = {}

    def conflict(self, name: str, table: InstrumentTable, driver: Driver[Any]) -> str:
        """Say why this instrument cannot share its wire with one before it; empty where it can.

        Two instruments without a bus address would both answer to one question, or one for the other.
        """
        where = parse(table.address, driver.port)
        if isinstance(where, Visa) or any(isinstance(poll.query, Registers) for poll in driver.polls):
            return ""  # one name belongs to one instrument, and Modbus has units: the links see to it
        key = os.path.realpath(where.path) if isinstance(where, Serial) else (where.host.lower(), where.port)
        commands = _commands(driver)
        others = self._known.setdefault(key, [])
        for other, other_driver, other_commands in others:
            addressed = table.driver == other_driver or (_has_address(table.driver) and _has_address(other_driver))
            if not addressed or not commands or commands & other_commands:
                return (
                    f"address: {where} is that of {other} already, and nothing in the commands says which is asked; "
                    "give each a port of its own, or another bus address (an option of drivers that have one)"
                )
        others.append((name, table.driver, commands))
        return ""


def _commands(driver: Driver[Any]) -> frozenset[bytes]:
    queries = [poll.query for poll in driver.polls]
    if driver.identity is not None:
        queries.append(driver.identity.query)
    return frozenset(query.command for query in queries if isinstance(query, Text))


def _has_address(driver: str) -> bool:
    return "address" in inspect.signature(catalogue.factory(driver)).parameters
