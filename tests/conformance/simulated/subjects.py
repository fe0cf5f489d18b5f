"""Every driver of the catalogue with its simulator, on each kind of wire that it speaks: faster, not different."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from drivers import catalogue

if TYPE_CHECKING:
    from drivers.driver import Driver, SerialLine

TIMEOUT = 0.4
"""Seconds in which an answer counts, and after which no late one comes: in place of the seconds of the drivers."""
TEXT_WIRES = ("pty", "tcp")
MODBUS_WIRES = ("modbus-rtu", "rtu-tcp", "modbus-tcp")
SERIAL = "SIM0000042"
UNIT = 17


@dataclass(frozen=True)
class Subject:
    """A driver, the simulator that it reads, and a kind of wire between them."""

    driver: str
    wire: str
    simulator: str
    options: dict[str, Any] = field(default_factory=dict)
    driver_options: dict[str, Any] = field(default_factory=dict)
    channels: dict[str, str] = field(default_factory=dict)
    """Channel of the simulator for a channel of the driver, where they differ."""
    variant: str = ""
    more: float = 0.0
    """Seconds that it needs longer than others until it is read again."""

    def __str__(self) -> str:
        return f"{self.driver}{self.variant}-{self.wire}"

    @property
    def text(self) -> bool:
        return self.wire in TEXT_WIRES

    @property
    def served_by_tcp(self) -> bool:
        return self.wire in {"tcp", "rtu-tcp", "modbus-tcp"}

    def table(self, options: dict[str, Any], faults: dict[str, Any]) -> dict[str, Any]:
        """Write the table of a lab file."""
        table = {"simulator": self.simulator, "serve": self.wire, "options": {**self.options, **options}}
        if self.wire in {"pty", "modbus-rtu"}:
            table["line"] = "115200 8N1"
        return table | {"faults": faults} | ({"serial": SERIAL} if self.text else {"unit": UNIT})

    def made(self) -> Driver[Any]:
        """Make the driver, with short time-outs."""
        made = catalogue.factory(self.driver)(**self.driver_options)

        def quick(part: Any) -> Any:
            return replace(part, query=replace(part.query, timeout=min(part.query.timeout, TIMEOUT)))

        return replace(
            made,
            polls=tuple(map(quick, made.polls)),
            setup=tuple(map(quick, made.setup)),
            controls=tuple(map(quick, made.controls)),
            identity=quick(made.identity) if made.identity else None,
            settle=min(made.settle, TIMEOUT),
        )

    def line(self) -> SerialLine:
        """Give the setting of the port: fast, with the flow control of the driver."""
        return replace(self.made().serial_line, baud=115200, bits=8, parity="N", stop=1)


_SIMULATED: dict[str, dict[str, Any]] = {
    "mt-sics": {"options": {"hold_s": 600.0}},
    "sartorius-sbi": {"options": {"hold_s": 600.0}},
    "scpi-dmm": {"options": {"nplc": 0.2}},
    "milli-k": {"options": {"integration_s": 0.02}},
    "digiquartz": {"options": {"integration_s": 0.05}},
    "vaisala-ptu": {"options": {"interval_s": 0.1}},
    "vaisala-hmp": {},
    "keller-33x": {},
    "modbus-singles": {
        "simulator": "vaisala-hmp",
        "driver_options": {"words": "low first", "quantity": "relative_humidity", "unit": "%"},
        "channels": {"v1": "humidity"},
    },
}
_VARIANTS: list[tuple[str, dict[str, Any]]] = [
    (
        "keller-33x",
        {"variant": "-old", "options": {"registers": 2}, "driver_options": {"registers": 2}, "more": 5.0},
    ),
]
"""Drivers with options that ask other questions: here two of the same length, in which only one control question fits.
All others are refused, and after each refusal the link waits until no late one can come."""


def _subjects() -> list[Subject]:
    found = []
    for name, more in [*((name, _SIMULATED[name]) for name in catalogue.names()), *_VARIANTS]:
        subject = Subject(name, "", **{"simulator": name} | more)
        registers = hasattr(subject.made().polls[0].query, "count")
        found += [replace(subject, wire=wire) for wire in (MODBUS_WIRES if registers else TEXT_WIRES)]
    return found


SUBJECTS = _subjects()
