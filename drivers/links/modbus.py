"""Modbus instruments: one bus for each port or server, one link for each unit on it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from drivers.errors import InstrumentError, Lost, Unreadable
from drivers.links.modbus_frames import Frame, RtuFrame, TcpFrame

if TYPE_CHECKING:
    from drivers.driver import Registers
    from drivers.links.wire import Wire

_GARBAGE_GAP = 0.05


class ModbusBus:
    """What the units on one wire share: the wire with its lock (`turn`), and the kind of frames."""

    def __init__(self, wire: Wire, *, rtu: bool, echo: bool = False) -> None:
        self.wire = wire
        self._rtu = rtu
        self._echo = echo

    def frame(self, unit: int, query: Registers) -> Frame:
        """Prepare one request; ValueError where it asks for no registers or too many."""
        return RtuFrame(unit, query, echo=self._echo) if self._rtu else TcpFrame(unit, query)


class ModbusUnit:
    """One unit on a bus.

    After a failure the unit is not asked for `settle` seconds, longer than its slowest answer, so that a late
    answer cannot be read as the answer to a new question of this unit. The other units need not wait: a frame
    contains the address of its unit.
    """

    def __init__(self, bus: ModbusBus, unit: int, settle: float, *, settle_first: bool = False) -> None:
        self._bus = bus
        self._unit = unit
        self._settle = settle
        self._settle_first = settle_first
        self._opening: int | None = None
        self.sent = 0.0
        self._not_before = 0.0
        self._answered = 0.0
        self._frames: dict[Registers, Frame] = {}

    async def open(self) -> None:
        """Open the bus where it is not open."""
        if self._settle_first:
            self._settle_first = False
            self._not_before = asyncio.get_running_loop().time() + self._settle
        self._opening = await self._bus.wire.open(self)

    def distrust(self) -> None:
        """Leave the unit alone until no late answer of it can come: its last answer was not believed."""
        self._not_before = max(self._not_before, self._answered + self._settle)

    async def ask(self, query: Registers) -> bytes:
        """Give the bytes of the registers, two for each, high byte first; Silent, Lost or Unreadable."""
        if self._opening is None:
            await self.open()
        loop = asyncio.get_running_loop()
        if (wait := self._not_before - loop.time()) > 0:
            await asyncio.sleep(wait)
        frame = self._frames.get(query) or self._prepare(query)
        wire = self._bus.wire
        asked = answered = False
        try:
            async with wire.turn:
                asked = True
                answer = await wire.ask(self._opening or 0, frame.next(), frame.measure, query.timeout, _GARBAGE_GAP)
                self.sent = wire.sent
            answered = True
        except InstrumentError as error:
            raise self._with_name(error) from None
        finally:
            self._answered = loop.time()
            if asked and not answered:
                self._not_before = self._answered + self._settle
        return frame.payload(answer)

    unasked = 0
    waiting = False
    suspect = False

    def proves(self, query: object) -> bool:
        """Whether an answer to this question, asked now, can only be its own."""
        del query
        return True

    def trust(self) -> None:
        """Note that control questions were answered."""

    async def close(self) -> None:
        """Release the bus; it closes when no unit uses it any more."""
        self._opening = None
        self._bus.wire.leave(self)

    def _prepare(self, query: Registers) -> Frame:
        frame = self._frames[query] = self._bus.frame(self._unit, query)
        return frame

    def _with_name(self, error: InstrumentError) -> InstrumentError:
        if isinstance(error, Lost):
            self._opening = None
            return error
        if isinstance(error, Unreadable):
            return Unreadable(f"{self._bus.wire.name}: {error}", error.raw)
        return type(error)(f"{error} (unit {self._unit})")
