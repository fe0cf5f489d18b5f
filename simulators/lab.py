"""A whole simulated laboratory from a file: which instruments, on which wires, with which faults."""

from __future__ import annotations

import asyncio
import json
import time
import tomllib
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from simulators.catalogue import REGISTERS, STRANGERS, TEXT
from simulators.conversation import Begin, Conversation, RtuBus, TcpBus, TextConversation, Unit
from simulators.faults import Faults
from simulators.happenings import happen
from simulators.hislip import HislipTalk
from simulators.lab_file import SERVES_TEXT, LabError, check
from simulators.place import RegisterPlace, TextPlace
from simulators.pty_line import PtyLine, seconds_per_character
from simulators.speaker import SWAPPED, Speaker
from simulators.tcp import Manners, Talk, TcpPort
from simulators.truth import Truth

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping
    from types import TracebackType

__all__ = ["Lab", "LabError", "Listening"]


class Wire(Protocol):
    """What can be unplugged and plugged in again."""

    async def plug_in(self) -> None:
        """Make it reachable, at the same address as before."""

    async def unplug(self) -> None:
        """Make it unreachable, without notice to the other side."""


@dataclass(frozen=True, slots=True)
class Listening:
    """The address of one simulated instrument, and what a station must know to read it."""

    name: str
    simulator: str
    address: str
    serial: str | None
    unit: int | None
    line: str | None
    period: str
    driver_options: Mapping[str, Any] = field(default_factory=dict)

    def station_table(self) -> str:
        """Write the table of this instrument for the config of a station."""
        rows: dict[str, Any] = {"driver": self.simulator, "address": self.address, "period": self.period}
        if self.serial is None:
            rows["identified"] = False
        else:
            rows["serial"] = self.serial
        rows |= {
            "unit": self.unit,
            "line": self.line,
            "simulated": True,
            "options": dict(self.driver_options),
        }
        lines = [f"{key} = {_toml(value)}" for key, value in rows.items() if value not in (None, {})]
        return "\n".join([f"[instruments.{self.name}]", *lines])


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(value)


class Lab:
    """A laboratory that runs inside `async with`."""

    def __init__(
        self, document: Mapping[str, Any], *, truth: Path | None = None, pty_folder: Path = Path("lab")
    ) -> None:
        """Take the content of a lab file; LabError contains every mistake in it."""
        check(document)
        self.listening: dict[str, Listening] = {}
        self._document = document
        self._pty_folder = pty_folder.absolute()
        self._truth = Truth(truth)
        self._started = time.monotonic()
        self._wires: dict[str, Wire] = {}
        self._stack = AsyncExitStack()

    @classmethod
    def from_file(cls, path: Path, *, truth: Path | None = None, pty_folder: Path = Path("lab")) -> Lab:
        """Read a lab file."""
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise LabError(f"{path}: {error}") from error
        try:
            return cls(document, truth=truth, pty_folder=pty_folder)
        except LabError as error:
            raise LabError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from None

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._truth)
        self._started = time.monotonic()
        instruments: dict[str, dict[str, Any]] = self._document["instruments"]
        buses: dict[str, list[str]] = {}
        for name, table in instruments.items():
            buses.setdefault(table.get("bus", name), []).append(name)
        for bus, names in buses.items():
            await self._serve(bus, {name: instruments[name] for name in names})
        for name, table in instruments.items():
            wire = self._wires[table.get("bus", name)]
            for start, length in table.get("faults", {}).get("unplug", ()):
                self._later(self._unplug_later(wire, start, length))
            for at in table.get("faults", {}).get("dead", ()):
                self._later(self._forget_later(wire, at))
        return self

    def _later(self, doing: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(doing)
        self._stack.callback(task.cancel)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for wire in self._wires.values():
            await wire.unplug()
        await self._stack.aclose()

    async def _unplug_later(self, wire: Wire, start: float, length: float) -> None:
        await asyncio.sleep(max(0.0, self._started + start - time.monotonic()))
        await wire.unplug()
        await asyncio.sleep(length)
        await wire.plug_in()

    async def _forget_later(self, wire: Wire, at: float) -> None:
        await asyncio.sleep(max(0.0, self._started + at - time.monotonic()))
        if isinstance(wire, TcpPort):
            wire.forget_sessions()

    async def _serve(self, bus: str, tables: Mapping[str, dict[str, Any]]) -> None:
        first = next(iter(tables.values()))
        serve = first["serve"]
        speakers = {name: self._speaker(name, table) for name, table in tables.items()}
        greeting, line = b"", first.get("line", "")
        if serve in SERVES_TEXT:
            ((name, table),) = tables.items()
            simulator = self._text_place(name, table)
            self._later(happen(simulator, speakers[name], speakers[name].faults.faults))
            line, greeting = line or simulator.line, simulator.greeting

            def begin() -> Conversation:
                return TextConversation(simulator, speakers[name])
        else:
            units = {}
            for name, table in tables.items():
                registers = self._register_place(name, table)
                self._later(happen(registers, speakers[name], speakers[name].faults.faults))
                line = line or registers.line
                units[table["unit"]] = Unit(registers, speakers[name])

            def begin() -> Conversation:
                return TcpBus(units) if serve == "modbus-tcp" else RtuBus(units)

        faults = [one.faults.faults for one in speakers.values()]
        manners = Manners(
            next((one.one_client for one in faults if one.one_client), ""),
            next((one.idle_s for one in faults if one.idle_s), 0.0),
        )
        listen = first.get("listen", "127.0.0.1:0")
        wire, address = await self._plug_in(bus, serve, listen, line, begin, greeting, manners)
        self._wires[bus] = wire
        for name, table in tables.items():
            self.listening[name] = Listening(
                name,
                table["simulator"],
                address,
                table.get("serial") if serve in SERVES_TEXT else None,
                table.get("unit"),
                line if serve in {"pty", "modbus-rtu"} else None,
                table.get("period", "1 s"),
                table.get("driver_options", {}),
            )

    async def _plug_in(
        self, bus: str, serve: str, listen: str, line: str, begin: Begin, greeting: bytes, manners: Manners
    ) -> tuple[Wire, str]:
        host, _, port = listen.rpartition(":")
        if serve in {"pty", "modbus-rtu"}:
            gap = 3.5 * seconds_per_character(line) if serve == "modbus-rtu" else 0.0
            pty = PtyLine(begin, self._pty_folder / bus, line, greeting, gap)
            await pty.plug_in()
            return pty, str(pty.path)
        server = TcpPort(begin, host, int(port), HislipTalk if serve == "hislip" else Talk, manners)
        await server.plug_in()
        scheme = {"hislip": "TCPIP::{}::hislip0,{}::INSTR", "rtu-tcp": "rtu+tcp://{}:{}"}.get(serve, "tcp://{}:{}")
        return server, scheme.format(host, server.port)

    def _text_place(self, name: str, table: Mapping[str, Any]) -> TextPlace:
        """Make an instrument, and the other one that may come into its place."""
        make, options = TEXT[table["simulator"]], table.get("options", {})
        stranger = make(SWAPPED, f"{self._seed(name)}/swapped", **{**options, **STRANGERS[table["simulator"]]})
        return TextPlace(make(table["serial"], self._seed(name), **options), stranger)

    def _register_place(self, name: str, table: Mapping[str, Any]) -> RegisterPlace:
        make, options = REGISTERS[table["simulator"]], table.get("options", {})
        stranger = make("", f"{self._seed(name)}/swapped", **{**options, **STRANGERS[table["simulator"]]})
        return RegisterPlace(make("", self._seed(name), **options), stranger)

    def _speaker(self, name: str, table: Mapping[str, Any]) -> Speaker:
        faults = Faults.from_table(table.get("faults", {})).chooser(f"{self._seed(name)}/faults")
        return Speaker(name, faults, self._truth, self._started)

    def _seed(self, name: str) -> str:
        return f"{self._document.get('seed', 1)}/{name}"
