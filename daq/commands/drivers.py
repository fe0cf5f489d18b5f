"""`daq drivers`: which instruments can be read, over which links, with which options."""

from __future__ import annotations

import inspect
import json
import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from daq.commands.failing import fail
from drivers import catalogue
from drivers.driver import Driver, Registers


def drivers_command(name: str | None, *, as_json: bool) -> None:
    """Show all drivers, or one with its options."""
    if name is not None and name not in catalogue.names():
        fail(f"no driver {name!r}; there are {', '.join(catalogue.names())}", 2)
    described = [_described(one) for one in ([name] if name else catalogue.names())]
    if as_json:
        sys.stdout.write(json.dumps(described) + "\n")
        return
    console = Console()
    if name is None:
        table = Table("driver", "instrument", "channels", "wires", "identity", box=None, header_style="bold")
        for one in described:
            channels = ", ".join(f"{channel['name']} [{channel['unit']}]" for channel in one["channels"])
            table.add_row(
                one["name"],
                one["title"],
                channels.replace("[", r"\["),
                one["wires"],
                "yes" if one["identity"] else "no",
            )
        console.print(table)
        console.print("`daq drivers NAME` shows the options of one.", markup=False, style="dim")
        return
    (one,) = described
    console.print(f"[bold]{one['name']}[/bold]  {one['title']}")
    console.print(one["description"], markup=False)
    for key in ("wires", "line", "port"):
        console.print(f"{key}: {one[key]}", markup=False)
    for channel in one["channels"]:
        console.print(f"channel {channel['name']}: {channel['quantity']} in {channel['unit']}", markup=False)
    for option in one["options"]:
        console.print(f"option {option['name']}: {option['type']}, default {option['default']!r}", markup=False)


def _described(name: str) -> dict[str, Any]:
    factory = catalogue.factory(name)
    driver: Driver[Any] = factory()
    modbus = any(isinstance(poll.query, Registers) for poll in driver.polls)
    return {
        "name": name,
        "title": driver.title,
        "description": inspect.getdoc(factory) or "",
        "wires": "Modbus TCP, RTU, RTU over TCP" if modbus else "serial, TCP, VISA",
        "line": str(driver.serial_line),
        "port": driver.port,
        "identity": driver.identity is not None,
        "channels": [{"name": one.name, "quantity": one.quantity, "unit": one.unit} for one in driver.channels],
        "options": [
            {"name": one.name, "type": str(one.annotation), "default": one.default}
            for one in inspect.signature(factory).parameters.values()
        ],
    }
