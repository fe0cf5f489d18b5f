"""Makes the link of each instrument; instruments on the same wire share it."""

from __future__ import annotations

import asyncio
import math
import os
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from drivers.driver import Driver, Listen, Registers, SerialLine, Text
from drivers.links.address import RtuTcp, Serial, Tcp, Visa, parse
from drivers.links.modbus import ModbusUnit
from drivers.links.modbus_bus import ModbusBus
from drivers.links.open_questions import OpenQuestions
from drivers.links.opening import open_serial, open_tcp
from drivers.links.place import SHORT_QUIET, Place
from drivers.links.stream import StreamLink
from drivers.links.visa import VisaLink
from drivers.links.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drivers.driver import Query
    from drivers.instrument import Link

Speech = Literal["text", "Modbus", "Modbus RTU"]


@dataclass(frozen=True, slots=True)
class _Shared:
    wire: Wire
    bus: ModbusBus | None
    speech: Speech
    setting: tuple[SerialLine | None, bool]


class Wires:
    """All wires of a station; each `link` belongs to one instrument."""

    def __init__(self) -> None:
        self._shared: dict[object, _Shared] = {}
        self._ports: dict[str, str] = {}
        """Keys of serial ports by the device that their name led to at `_looked_at`."""
        self._looked_at = -math.inf
        self._units: set[tuple[object, int]] = set()
        self._visa: set[str] = set()
        self._links: dict[Link[Any], tuple[object, int | None]] = {}

    def link(
        self,
        address: str,
        driver: Driver[Any],
        *,
        unit: int | None = None,
        line: SerialLine | None = None,
        visa_backend: str = "@py",
        echo: bool = False,
        connect_timeout: float = 3.0,
    ) -> Link[Any]:
        """Make the link of one instrument; nothing is opened yet.

        `unit` is for Modbus only, `line` replaces the driver's factory setting, `echo` is for adapters that receive
        what they send. ValueError says what is not possible, and what would be correct.
        """
        where = parse(address, driver.port)
        speech = _speech(driver, where)
        if speech == "text" and unit is not None:
            raise ValueError(f"{where}: unit is for Modbus only; this instrument speaks text")
        number: int | None = None
        if isinstance(where, Visa):
            key: object = where.name.upper()
            link: Link[Any] = self._visa_link(where, driver, visa_backend, connect_timeout)
        else:
            key = self._key(where)
            number = None if speech == "text" else self._free_unit(key, where, unit)
            shared = self._share(key, where, speech, line or driver.serial_line, connect_timeout, echo=echo)
            # An instrument without identity could still send the answer to a question of an earlier process.
            settle_first = driver.identity is None
            settle = driver.settle
            short_quiet = max(SHORT_QUIET, 3.5 * (line or driver.serial_line).seconds_per_character)
            if shared.bus is None or number is None:
                link = StreamLink(
                    shared.wire,
                    Place(
                        OpenQuestions(settle, provable=bool(_commands(driver))),
                        provable=bool(driver.controls) or driver.identity is not None,
                        short_quiet=short_quiet,
                        quieting=tuple(query.command for query in driver.quieting),
                    ),
                    echo=echo,
                    settle_first=settle_first,
                    controls=_commands(driver),
                )
            else:
                self._units.add((key, number))
                link = ModbusUnit(shared.bus, number, settle, settle_first=settle_first, short_quiet=short_quiet)
        self._links[link] = (key, number)
        return link

    async def give_back(self, link: Link[Any]) -> None:
        """Close one link permanently; another instrument may then use its wire, unit or VISA name."""
        key, number = self._links.pop(link)
        try:
            await link.close()
        finally:
            if number is not None:
                self._units.discard((key, number))
            if all(key != other for other, _ in self._links.values()):
                self._shared.pop(key, None)
                self._visa.discard(str(key))

    async def close(self) -> None:
        """Close every link that was made."""
        ends = await asyncio.gather(*(link.close() for link in self._links), return_exceptions=True)
        for error in ends:
            if isinstance(error, BaseException):
                raise error

    def _visa_link(self, where: Visa, driver: Driver[Any], backend: str, connect_timeout: float) -> VisaLink:
        key = where.name.upper()
        if key in self._visa:
            raise ValueError(f"{where}: a VISA name can belong to one instrument only")
        self._visa.add(key)
        return VisaLink(
            where.name, driver.settle, backend=backend, open_timeout=connect_timeout, controls=_commands(driver)
        )

    def _key(self, where: Serial | Tcp | RtuTcp) -> object:
        if not isinstance(where, Serial):
            return (where.host.lower(), where.port)
        if where.path in self._shared:
            return where.path
        # Two names are one wire if they are the same port now; when the wire was made, they may have been two ports.
        port = os.path.realpath(where.path)
        if not self._leads_to(port):
            self._look_at_ports()
        if self._leads_to(port):
            return self._ports[port]
        self._ports[port] = where.path
        return where.path

    def _leads_to(self, port: str) -> bool:
        key = self._ports.get(port)
        return key is not None and key in self._shared and os.path.realpath(key) == port

    def _look_at_ports(self) -> None:
        # At most once a second: for each of hundreds of ports at the start it would hold the loop for seconds.
        if (now := time.monotonic()) - self._looked_at < 1.0:
            return
        self._looked_at = now
        names = [one for one in self._shared if isinstance(one, str)]
        self._ports = {os.path.realpath(one): one for one in reversed(names)}

    def _share(
        self,
        key: object,
        where: Serial | Tcp | RtuTcp,
        speech: Speech,
        line: SerialLine,
        connect_timeout: float,
        *,
        echo: bool,
    ) -> _Shared:
        setting = (line if isinstance(where, Serial) else None, echo)
        known = self._shared.get(key)
        if known is None:
            wire = _wire(where, speech, line, connect_timeout)
            bus = None if speech == "text" else ModbusBus(wire, rtu=speech == "Modbus RTU", echo=echo)
            known = _Shared(wire, bus, speech, setting)
            self._shared[key] = known
        if known.speech != speech:
            raise ValueError(f"{where}: one instrument here speaks {known.speech}, another {speech}; use two ports")
        if known.setting != setting:
            both = f"{_setting(known.setting)} and {_setting(setting)}"
            raise ValueError(f"{where}: instruments on one line need one setting, here are {both}")
        return known

    def _free_unit(self, key: object, where: Serial | Tcp | RtuTcp, unit: int | None) -> int:
        if unit is None or not 0 <= unit <= 255:
            raise ValueError(f"{where}: Modbus needs the unit address of the instrument, unit = 1 to 247")
        if (key, unit) in self._units:
            raise ValueError(f"{where}: unit {unit} belongs to another instrument already")
        return unit


def device_at(address: str) -> object:
    """Identify a plugged-in serial port: the value changes when it is plugged in again; None for no serial port."""
    where = parse(address)
    if not isinstance(where, Serial):
        return None
    try:
        device = Path(where.path).stat()
    except OSError:
        return None
    return (device.st_ino, device.st_rdev, device.st_ctime_ns)


def _speech(driver: Driver[Any], where: Serial | Tcp | RtuTcp | Visa) -> Speech:
    kinds = {type(query) for query in _queries(driver)}
    registers = kinds == {Registers}
    if not registers and not kinds <= {Text, Listen}:
        raise ValueError(f"{driver.title}: a driver speaks either text or Modbus")
    match where:
        case Visa() if registers:
            raise ValueError(f'{where}: Modbus does not run over VISA; write "tcp://host:502" or a serial port')
        case RtuTcp() if not registers:
            raise ValueError(f'{where}: rtu+tcp is for Modbus, this instrument speaks text; write "tcp://…"')
        case _ if not registers:
            return "text"
        case Tcp():
            return "Modbus"
        case _:
            return "Modbus RTU"


def _queries(driver: Driver[Any]) -> Iterator[Query]:
    if driver.identity is not None:
        yield driver.identity.query
    yield from (step.query for step in driver.setup)
    yield from (poll.query for poll in driver.polls)


def _commands(driver: Driver[Any]) -> frozenset[bytes]:
    return frozenset(query.command for query in _controls(driver) if isinstance(query, Text))


def _controls(driver: Driver[Any]) -> Iterator[Query]:
    """Give what an Instrument asks after a failure, and no poll asks: an answer to it is none to a poll."""
    polled = {poll.query for poll in driver.polls}
    identity = () if driver.identity is None else (driver.identity.query,)
    yield from (query for query in (*(one.query for one in driver.controls), *identity) if query not in polled)


def _wire(where: Serial | Tcp | RtuTcp, speech: Speech, line: SerialLine, connect_timeout: float) -> Wire:
    name = str(where)
    if not isinstance(where, Serial):
        return Wire(name, partial(open_tcp, where.host, where.port, name, connect_timeout))
    # Modbus RTU separates frames by a pause of 3.5 characters, above 19200 baud of 1.75 ms.
    silence = 3.5 * line.seconds_per_character if line.baud <= 19200 else 0.00175
    text = speech == "text"
    return Wire(name, partial(open_serial, where.path, line, name, text=text), pause=0.0 if text else silence)


def _setting(setting: tuple[SerialLine | None, bool]) -> str:
    line, echo = setting
    return f"{line or 'TCP'}{' with echo' if echo else ''}"
