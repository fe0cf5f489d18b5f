"""Finds requests in received bytes and sends the answers: for one text instrument, or for a bus of Modbus units."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from simulators.instrument import Answer, RegisterSimulator, TextSimulator
from simulators.registers import MOST_REGISTERS

if TYPE_CHECKING:
    from simulators.speaker import Speaker, Write

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3
LONGEST_REQUEST = 4096
LONGEST_MBAP = 260
"""Bytes (Modbus messaging on TCP/IP V1.0b, 4.1: a header of 7 bytes and a PDU of 253)."""


class Conversation(Protocol):
    """What is connected to a wire: receives bytes and sends answers."""

    def start(self, write: Write) -> None:
        """Begin; what is sent without a request goes to `write`."""

    def hear(self, data: bytes, write: Write) -> None:
        """Take bytes that arrived; answers go to `write`, now or later."""

    def clear(self) -> None:
        """Delete the bytes received so far and the answers not sent yet."""

    def end(self) -> None:
        """Send nothing any more: the connection is closed."""


@dataclass(slots=True)
class TextConversation:
    """A conversation with one text instrument."""

    simulator: TextSimulator
    speaker: Speaker
    _received: bytearray = field(default_factory=bytearray)
    _after_carriage_return: bool = False
    _next_unasked: asyncio.TimerHandle | None = None
    _listener: Write | None = None

    def start(self, write: Write) -> None:
        """Hear what the instrument sends without a request; it may restart at the opening."""
        self._listener = write
        self.speaker.listeners[write] = partial(self._repeat, write)
        if self.speaker.faults.faults.opening_resets:
            self.simulator.power_on()
            self.speaker.power_on(self.simulator.greeting)
        self._repeat(write)

    def _repeat(self, write: Write) -> None:
        """Send without a request, if the instrument is set to do so."""
        if self._next_unasked is None and self.simulator.every > 0 and self.speaker.powered:
            loop = asyncio.get_running_loop()
            self._next_unasked = loop.call_later(self.simulator.every, self._say_unasked, write)

    def _say_unasked(self, write: Write) -> None:
        self._next_unasked = None
        if self.simulator.every > 0:
            self._say(b"", self.simulator.unasked, write)
            self._repeat(write)

    def clear(self) -> None:
        """Delete an incomplete request and every answer not sent yet."""
        self._received.clear()
        self.speaker.forget()

    def end(self) -> None:
        """Send nothing without a request any more."""
        if self._listener is not None:
            self.speaker.listeners.pop(self._listener, None)
        if self._next_unasked is not None:
            self._next_unasked.cancel()
            self._next_unasked = None

    def hear(self, data: bytes, write: Write) -> None:
        """Answer each whole request."""
        received = self._received
        received += data
        while True:
            # CR LF may arrive in two pieces: the line feed is then no second end of a request.
            if self._after_carriage_return and received:
                self._after_carriage_return = False
                if received.startswith(b"\n"):
                    del received[:1]
            found = [(at, -len(end)) for end in self.simulator.ends if (at := received.find(end)) >= 0]
            if not found:
                del received[:-LONGEST_REQUEST]
                return
            at, length = min(found)
            request = bytes(received[:at])
            self._after_carriage_return = received[at : at - length] == b"\r"
            del received[: at - length]
            self._answer(request, write)

    def _answer(self, request: bytes, write: Write) -> None:
        if self.speaker.powered:
            self._say(request, partial(self.simulator.answer, request), write)
            self._repeat(write)

    def _say(self, request: bytes, answer_at: Callable[[float], Answer | None], write: Write) -> None:
        now = self.speaker.now
        measured_at = self.speaker.faults.faults.measured_at(now)
        answer = answer_at(measured_at)
        if answer is None:
            return
        if answer.cancels:
            self.speaker.forget()
        measured = answer.measured + measured_at - now
        self.speaker.say(request, replace(answer, measured=measured, serial=self.simulator.serial), write)


@dataclass(slots=True)
class Unit:
    """One Modbus unit of a bus."""

    simulator: RegisterSimulator
    speaker: Speaker

    def answer(self, pdu: bytes) -> Answer:
        """Answer a request PDU: read holding or input registers (3, 4); all other functions are refused."""
        function = pdu[0]
        if function not in {3, 4}:
            return Answer(bytes([function | 0x80, ILLEGAL_FUNCTION]))
        if len(pdu) != 5:
            return Answer(bytes([function | 0x80, ILLEGAL_VALUE]))
        address, count = int.from_bytes(pdu[1:3], "big"), int.from_bytes(pdu[3:5], "big")
        if not 1 <= count <= MOST_REGISTERS:
            return Answer(bytes([function | 0x80, ILLEGAL_VALUE]))
        now = self.speaker.now
        measured_at = self.speaker.faults.faults.measured_at(now)
        table = self.simulator.registers(measured_at)
        wanted = range(address, address + count)
        if count > self.simulator.most or any(register not in table for register in wanted):
            return Answer(bytes([function | 0x80, ILLEGAL_ADDRESS]))
        body = b"".join(table[register].to_bytes(2, "big") for register in wanted)
        # Only the values of which the answer contains both words were sent.
        places = self.simulator.places.items()
        sent = {name for first, name in places if first in wanted and first + 1 in wanted}
        values = self.simulator.values(measured_at).items() if sent else ()
        return Answer(
            bytes([function, len(body)]) + body,
            {name: digits for name, digits in values if name in sent},
            units=self.simulator.units,
            states=self.simulator.states(measured_at) if sent else {},
            measured=measured_at - now,
            registers=body,
        )


def _nothing() -> None:
    """Send nothing without a request."""


@dataclass(slots=True)
class Bus:
    """What Modbus TCP and Modbus RTU have in common: units that send only answers."""

    units: Mapping[int, Unit]
    _received: bytearray = field(default_factory=bytearray)

    _listener: Write | None = None

    def start(self, write: Write) -> None:
        """Let a stray byte reach this connection; a unit itself only answers."""
        self._listener = write
        for unit in self.units.values():
            unit.speaker.listeners[write] = _nothing

    def clear(self) -> None:
        """Delete an incomplete request."""
        self._received.clear()

    def end(self) -> None:
        """Let nothing reach this connection any more."""
        for unit in self.units.values():
            if self._listener is not None:
                unit.speaker.listeners.pop(self._listener, None)


@dataclass(slots=True)
class TcpBus(Bus):
    """Modbus TCP: several requests may come in one segment, each keeps its transaction number."""

    def hear(self, data: bytes, write: Write) -> None:
        """Answer each whole request to a unit that exists."""
        received = self._received
        received += data
        while len(received) >= 8:
            size = 6 + int.from_bytes(received[4:6], "big")
            if received[2:4] != b"\0\0" or not 8 <= size <= LONGEST_MBAP:
                received.clear()  # not Modbus, and nothing shows where the next frame begins
                return
            if len(received) < size:
                return
            frame = bytes(received[:size])
            del received[:size]
            unit = self.units.get(frame[6])
            if unit is not None:
                answer = unit.answer(frame[7:])
                header = frame[:4] + (len(answer.reply) + 1).to_bytes(2, "big") + frame[6:7]
                unit.speaker.say(frame, replace(answer, reply=header + answer.reply), write)


@dataclass(slots=True)
class RtuBus(Bus):
    """Modbus RTU: frames of eight bytes (the length of a request of both functions), found by their checksum."""

    def hear(self, data: bytes, write: Write) -> None:
        """Answer each request with a correct checksum; skip one byte where the checksum is wrong."""
        received = self._received
        received += data
        while len(received) >= 8:
            frame = bytes(received[:8])
            if crc(frame[:6]) != frame[6:]:
                del received[:1]
                continue
            del received[:8]
            unit = self.units.get(frame[0])
            if unit is not None:
                answer = unit.answer(frame[1:6])
                body = frame[:1] + answer.reply
                unit.speaker.say(frame, replace(answer, reply=body + crc(body)), write)


def _table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ 0xA001 if value & 1 else value >> 1
        table.append(value)
    return tuple(table)


_CRC = _table()


def crc(data: bytes) -> bytes:
    """Give the checksum of Modbus RTU, low byte first (Modbus over serial line V1.02, 6.2.2)."""
    value = 0xFFFF
    for byte in data:
        value = (value >> 8) ^ _CRC[(value ^ byte) & 0xFF]
    return value.to_bytes(2, "little")


Begin = Callable[[], Conversation]
