"""`daq drivers`: which instruments can be read, over which links, with which options, and what is proven of each."""

from __future__ import annotations

import inspect
import json
import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Interval, Le, Len, Lt, Predicate
from rich.console import Console
from rich.table import Table

from daq.commands.failing import fail
from drivers import catalogue
from drivers.driver import Listen, Registers, Text
from drivers.instrument import PROVE_EVERY

if TYPE_CHECKING:
    from drivers.driver import Driver, Query

PROOFS = {
    "number": "its number is that of the question",
    "checksum and form": "it has a checksum, and the form of an answer to this question",
    "form": "it has the form of an answer to this question",
    "length": "its length only (on Modbus TCP its number, too)",
    "nothing": "nothing",
}
"""What shows that an answer belongs to its question."""
USES = {
    "setup": "sent at the connection to set up",
    "controls": "control questions after a failure",
    "quieting": "ends repeated sending",
}
"""What a driver sends beside its questions for values and identity."""
WORDS = {int: "whole number", float: "number", str: "text", bool: "true or false"}


def drivers_command(name: str | None, *, as_json: bool) -> None:
    """Show all drivers, or one with its options."""
    if name is not None and name not in catalogue.names():
        fail(f"no driver {name!r}; there are {', '.join(catalogue.names())}", 2)
    described = [_described(one) for one in ([name] if name else catalogue.names())]
    if as_json:
        sys.stdout.write(json.dumps(described) + "\n")
    elif name is None:
        _show_all(described)
    else:
        _show_one(described[0])


def _show_all(described: list[dict[str, Any]]) -> None:
    console = Console()
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
    console.print("`daq drivers NAME` shows the options of one, and what is proven.", markup=False, style="dim")


def _show_one(one: dict[str, Any]) -> None:
    console = Console()
    console.print(f"[bold]{one['name']}[/bold]  {one['title']}")
    console.print(one["description"], markup=False)
    for key in ("wires", "line", "port"):
        console.print(f"{key}: {one[key]}", markup=False)
    for channel in one["channels"]:
        console.print(f"channel {channel['name']}: {channel['quantity']} in {channel['unit']}", markup=False)
    console.print(f"identity: {one['identity_asked']}", markup=False)
    console.print(f"an answer belongs to its question because: {PROOFS[one['proof']]}", markup=False)
    for key, use in USES.items():
        console.print(f"{use}: {', '.join(one[key]) or 'none'}", markup=False)
    for option in one["options"]:
        console.print(f"option {option['name']}: {option['type']}, default {option['default']!r}", markup=False)


def _described(name: str) -> dict[str, Any]:
    factory = catalogue.factory(name)
    driver: Driver[Any] = factory()
    modbus = any(isinstance(poll.query, Registers) for poll in driver.polls)
    hints = get_type_hints(factory, include_extras=True)
    return {
        "name": name,
        "title": driver.title,
        "description": inspect.getdoc(factory) or "",
        "wires": "Modbus TCP, RTU, RTU over TCP" if modbus else "serial, TCP, VISA",
        "line": str(driver.serial_line),
        "port": driver.port,
        "identity": driver.identity is not None,
        "identity_asked": _identity_asked(driver),
        "proof": driver.proof,
        "setup": [_question(step.query) for step in driver.setup],
        "controls": [_question(control.query) for control in driver.controls],
        "quieting": [_question(query) for query in driver.quieting],
        "channels": [{"name": one.name, "quantity": one.quantity, "unit": one.unit} for one in driver.channels],
        "options": [
            {"name": one.name, "type": type_in_words(hints[one.name]), "default": one.default}
            for one in inspect.signature(factory).parameters.values()
        ],
    }


def _identity_asked(driver: Driver[Any]) -> str:
    """Say whether the serial number is read from the wire, and how often."""
    settings = [_question(step.query) for step in driver.setup if step.proves]
    also = f", with the settings {', '.join(settings)}" if settings else ""
    every = f"again every prove_every ({PROVE_EVERY:g} s)"
    if driver.identity is None:
        proof = f"; asked {every}: {', '.join(settings)}" if settings else ""
        return f"this driver asks for no serial number, so it needs identified = false{proof}"
    question = _question(driver.identity.query)
    if driver.identity.disturbs:
        return f"{question} at the connection, after trouble and after unasked bytes only: it may disturb a measurement"
    return f"{question} at the connection, after trouble and unasked bytes, and {every}{also}"


def _question(query: Query) -> str:
    match query:
        case Text():
            return Text.show(query.command.rstrip(b"\r\n"))
        case Registers():
            return f"{query.count} {query.table} registers from {query.address}"
        case Listen():
            return "the next line"


def type_in_words(hint: Any) -> str:  # noqa: ANN401  # an annotation is of any type
    """Say in words which values an option of this type takes: `whole number, 1 to 62`."""
    arguments = get_args(hint)
    if get_origin(hint) is Literal:
        return " or ".join(json.dumps(value) for value in arguments)
    if get_origin(hint) is Annotated:
        bounds = [words for bound in arguments[1:] if (words := _bound_in_words(bound))]
        return ", ".join([type_in_words(arguments[0]), *bounds])
    if get_origin(hint) is tuple:
        return f"list of: {type_in_words(arguments[0])}"
    return WORDS.get(hint) or str(hint)


def _bound_in_words(bound: Any) -> str:  # noqa: ANN401, PLR0911  # any library's; one for each kind
    match bound:
        case Interval(ge=low, le=high) if low is not None and high is not None:
            return f"{low} to {high}"
        case Interval():
            return ", ".join(_bound_in_words(part) for part in bound)
        case Gt(gt=limit):
            return f"more than {limit}"
        case Ge(ge=limit):
            return f"at least {limit}"
        case Lt(lt=limit):
            return f"less than {limit}"
        case Le(le=limit):
            return f"at most {limit}"
        case Len(min_length=low, max_length=high):
            return f"{low} to {high} characters"
        case Predicate(func=rule):
            return {"isascii": "ASCII", "isprintable": "printable"}.get(rule.__name__, rule.__name__)
        case _:
            return ""
