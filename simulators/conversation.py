"""Bytes in, requests found, answers out: one conversation with a text instrument or with a bus of Modbus units."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from simulators.instrument import Answer, RegisterSimulator, TextSimulator
from simulators.speaker import SWAPPED, Speaker, Write

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS = 1, 2
LONGEST_REQUEST = 4096


class Conversation(Protocol):
    """What a wire talks to."""

    def hear(self, data: bytes, write: Write) -> None:
        """Take bytes that arrived; answers go to `write`, now or later."""


@dataclass(slots=True)
class TextConversation:
    """A conversation with one text instrument."""

    simulator: TextSimulator
    speaker: Speaker
    _heard: bytearray = field(default_factory=bytearray)

    def hear(self, data: bytes, write: Write) -> None:
        """Answer each whole request."""
        heard = self._heard
        heard += data
        while True:
            places = [(at, -len(end)) for end in self.simulator.ends if (at := heard.find(end)) >= 0]
            if not places:
                del heard[:-LONGEST_REQUEST]
                return
            at, length = min(places)
            request = bytes(heard[:at])
            del heard[: at - length]
            self._answer(request, write)

    def _answer(self, request: bytes, write: Write) -> None:
        if self.simulator.restarts:
            self.speaker.forget()
        now = self.speaker.now
        answer = self.simulator.answer(request, now)
        if answer is None:
            return
        swaps = self.speaker.faults.faults.swap
        serial: str = getattr(self.simulator, "serial", "")
        if any(start <= now < start + length for start, length in swaps) and serial:
            answer = Answer(answer.reply.replace(serial.encode(), SWAPPED.encode()), answer.values, answer.delay)
        self.speaker.say(request, answer, write)


@dataclass(slots=True)
class Unit:
    """One Modbus unit of a bus."""

    simulator: RegisterSimulator
    speaker: Speaker

    def answer(self, pdu: bytes) -> Answer:
        """Answer a request PDU: read holding or input registers (3, 4); all else is refused."""
        function = pdu[0]
        if function not in {3, 4}:
            return Answer(bytes([function | 0x80, ILLEGAL_FUNCTION]))
        address, count = int.from_bytes(pdu[1:3], "big"), int.from_bytes(pdu[3:5], "big")
        now = self.speaker.now
        table = self.simulator.registers(now)
        wanted = range(address, address + count)
        if not 1 <= count <= 125 or any(one not in table for one in wanted):
            return Answer(bytes([function | 0x80, ILLEGAL_ADDRESS]))
        body = b"".join(table[one].to_bytes(2, "big") for one in wanted)
        return Answer(bytes([function, len(body)]) + body, self.simulator.values(now))


@dataclass(slots=True)
class TcpBus:
    """Modbus TCP: several requests may come in one segment, each keeps its transaction number."""

    units: Mapping[int, Unit]
    _heard: bytearray = field(default_factory=bytearray)

    def hear(self, data: bytes, write: Write) -> None:
        """Answer each whole request to a unit that exists."""
        heard = self._heard
        heard += data
        while len(heard) >= 8 and len(heard) >= (size := 6 + int.from_bytes(heard[4:6], "big")):
            frame = bytes(heard[:size])
            del heard[:size]
            unit = self.units.get(frame[6])
            if unit is not None:
                answer = unit.answer(frame[7:])
                head = frame[:4] + (len(answer.reply) + 1).to_bytes(2, "big") + frame[6:7]
                unit.speaker.say(frame, Answer(head + answer.reply, answer.values, answer.delay), write)


@dataclass(slots=True)
class RtuBus:
    """Modbus RTU: frames of eight bytes (both functions ask in that many), told apart by their checksum."""

    units: Mapping[int, Unit]
    _heard: bytearray = field(default_factory=bytearray)

    def hear(self, data: bytes, write: Write) -> None:
        """Answer each request with a good checksum; skip a byte where there is none."""
        heard = self._heard
        heard += data
        while len(heard) >= 8:
            frame = bytes(heard[:8])
            if crc(frame[:6]) != frame[6:]:
                del heard[:1]
                continue
            del heard[:8]
            unit = self.units.get(frame[0])
            if unit is not None:
                answer = unit.answer(frame[1:6])
                body = frame[:1] + answer.reply
                unit.speaker.say(frame, Answer(body + crc(body), answer.values, answer.delay), write)


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
