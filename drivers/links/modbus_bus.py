"""One Modbus bus: what the units on one wire share."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from drivers.links.modbus_ears import RtuEar, TcpEar
from drivers.links.modbus_frames import Frame, RtuFrame, TcpFrame

if TYPE_CHECKING:
    from drivers.driver import Registers
    from drivers.links.modbus import ModbusUnit
    from drivers.links.modbus_frames import Form
    from drivers.links.wire import Wire

_TURNAROUND = 0.1
"""Seconds behind an answer within which a single byte comes from turning the line around."""


class ModbusBus:
    """What the units on one wire share: the wire, the kind of frames, and who has an answer to come."""

    def __init__(self, wire: Wire, *, rtu: bool, echo: bool = False) -> None:
        self.wire = wire
        self.rtu = rtu
        self._echo = echo
        self._units: dict[int, ModbusUnit] = {}
        self.answered = 0.0
        """Monotonic instant at which the last question ended."""
        wire.ear = RtuEar(self.overheard, self._is_behind) if rtu else TcpEar(self.overheard)

    def frame(self, unit: int, query: Registers) -> Frame:
        """Prepare one request; ValueError where it asks for no registers or too many."""
        if self.rtu:
            return RtuFrame(unit, query, echo=self._echo, overheard=self.overheard, rubbish=self._count_rubbish)
        return TcpFrame(unit, query, overheard=self.overheard)

    def join(self, link: ModbusUnit, unit: int) -> None:
        """Let a unit hear of its late answers."""
        self._units[unit] = link

    def part(self, unit: int, link: ModbusUnit) -> None:
        """Forget the link of a unit; another link may have the unit by now."""
        if self._units.get(unit) is link:
            del self._units[unit]

    def overheard(self, unit: int, form: Form | int, length: int) -> bool:
        """Hand a whole frame that no question awaits to its unit; False where it is the answer to no open question."""
        link = self._units.get(unit)
        if link is None:
            self.wire.unasked += length
            return False
        return link.overhear(form, length)

    def _is_behind(self, byte: int) -> bool:
        """Whether a byte that nobody asked for comes from turning the line around behind an answer."""
        if byte not in {0x00, 0xFF} or byte in self._units or time.monotonic() - self.answered > _TURNAROUND:
            return False
        self.wire.rubbish += 1
        return True

    def _count_rubbish(self, length: int) -> None:
        self.wire.rubbish += length
