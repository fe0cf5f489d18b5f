"""The frames of Modbus, built and checked by pymodbus; the only importer of pymodbus.

pymodbus' own client is not used: on RTU it reads the late answer to an earlier request as the answer to the
present one, it never checks the number of registers, and it closes and reopens connections by itself. Only its
requests, framers, checksum and exception codes are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pymodbus.constants import ExcCodes
from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

from drivers.errors import Unreadable

if TYPE_CHECKING:
    from drivers.driver import Registers

_ANSWERS = DecodePDU(is_server=False)
_RTU = FramerRTU(_ANSWERS)
_TCP = FramerSocket(_ANSWERS)
_REASONS = {code.value: code.name.replace("_", " ").lower() for code in ExcCodes}
_HEADER = 7  # MBAP: transaction, protocol 0, length, unit
_SMALLEST_RTU = 5  # unit, function, code, checksum


class Frame(Protocol):
    """One request to one unit, sent as often as its poll is due."""

    def next(self) -> bytes:
        """Give the bytes to send."""

    def measure(self, buffer: bytearray) -> int:
        """Give the length of the answer, 0 while it is incomplete; Unreadable where it is no answer."""

    def payload(self, answer: bytes) -> bytes:
        """Give the bytes of the registers."""


class TcpFrame:
    """A request in the framing of Modbus TCP, where each answer has the number of its question."""

    def __init__(self, unit: int, query: Registers) -> None:
        self._unit = unit
        self._rest = _TCP.buildFrame(_request(unit, query))[2:]
        expected = 2 * query.count
        self._start = bytes((0, 0, 0, 3 + expected, unit, self._rest[5], expected))
        self._length = _HEADER + 2 + expected
        self._number = b""

    def next(self) -> bytes:
        """Give the request with a new number; one counter for all, so that no two in flight are alike."""
        self._number = _next_number().to_bytes(2, "big")
        return self._number + self._rest

    def measure(self, buffer: bytearray) -> int:
        """Find the answer of this number; a late answer to an earlier question is skipped."""
        while len(buffer) > _HEADER + 1:
            if buffer[:2] == self._number and buffer[2 : _HEADER + 2] == self._start:
                return self._length if len(buffer) >= self._length else 0
            length = 6 + int.from_bytes(buffer[4:6], "big")
            if buffer[2:4] != b"\0\0" or not _HEADER + 2 <= length <= 260:
                raise Unreadable("no frame of Modbus TCP", bytes(buffer))
            if len(buffer) < length:
                return 0
            if buffer[:2] == self._number:
                raise _refusal(self._unit, self._rest[5], bytes(buffer[6:length]))
            del buffer[:length]
        return 0

    def payload(self, answer: bytes) -> bytes:
        """Give what follows the header, the function and the number of bytes."""
        return answer[_HEADER + 2 :]


class RtuFrame:
    """A request in the framing of Modbus RTU, where only address, length and checksum identify an answer."""

    def __init__(self, unit: int, query: Registers, *, echo: bool = False) -> None:
        self._unit = unit
        self._frame = _RTU.buildFrame(_request(unit, query))
        self._echo = self._frame if echo else b""
        self._start = bytes((unit, self._frame[1], 2 * query.count))
        self._length = _SMALLEST_RTU + 2 * query.count

    def next(self) -> bytes:
        """Give the same bytes every time."""
        return self._frame

    def measure(self, buffer: bytearray) -> int:
        """Find the answer of the unit; a late answer of another unit with a correct checksum is skipped."""
        skip = len(self._echo)
        if skip and not self._echo.startswith(buffer[:skip]):
            raise Unreadable("the echo differs from the question: a collision, or no echo", bytes(buffer))
        while len(buffer) >= skip + _SMALLEST_RTU:
            if buffer[skip : skip + 3] == self._start:
                end = skip + self._length
                if len(buffer) < end:
                    return 0
                _check(buffer[skip:end])
                return end
            end = skip + _rtu_length(buffer[skip:])
            if len(buffer) < end:
                return 0
            _check(buffer[skip:end])
            if buffer[skip] == self._unit:
                raise _refusal(self._unit, self._frame[1], bytes(buffer[skip : end - 2]))
            del buffer[skip:end]
        return 0

    def payload(self, answer: bytes) -> bytes:
        """Give the bytes between the number of bytes and the checksum."""
        return answer[len(self._echo) + 3 : -2]


def _request(unit: int, query: Registers) -> ReadHoldingRegistersRequest:
    kind = ReadHoldingRegistersRequest if query.table == "holding" else ReadInputRegistersRequest
    return kind(address=query.address, count=query.count, dev_id=unit)


class _Counter:
    value = 0


def _next_number() -> int:
    _Counter.value = _Counter.value % 0xFFFF + 1
    return _Counter.value


def _rtu_length(buffer: bytearray) -> int:
    function = buffer[1]
    if function & 0x80:
        return _SMALLEST_RTU
    if function in {3, 4}:
        return _SMALLEST_RTU + buffer[2]
    raise Unreadable("no frame of Modbus RTU that answers a reading", bytes(buffer))


def _check(frame: bytearray) -> None:
    if FramerRTU.compute_CRC(bytes(frame[:-2])) != int.from_bytes(frame[-2:], "big"):
        raise Unreadable("the checksum is wrong", bytes(frame))


def _refusal(unit: int, function: int, reply: bytes) -> Unreadable:
    """Say what is wrong with a whole frame (unit, function, data) that is not the answer."""
    if reply[0] != unit:
        return Unreadable(f"unit {reply[0]} answers where unit {unit} was asked", reply)
    if reply[1] == function | 0x80:
        code = reply[2]
        name = _REASONS.get(code, "unknown code")
        return Unreadable(f"unit {unit} refuses the registers: {name} ({code})", reply)
    if reply[1] != function:
        return Unreadable(f"unit {unit} answers function {reply[1]} where {function} was asked", reply)
    return Unreadable(f"unit {unit} sends {reply[2]} bytes, not the number that was asked for", reply)
