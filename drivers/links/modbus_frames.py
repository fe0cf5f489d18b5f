"""The frames of Modbus, built and checked by pymodbus; the only importer of pymodbus.

pymodbus' own client is not used: on RTU it reads the late answer to an earlier request as the answer to the
present one, it never checks the number of registers, and it closes and reopens connections by itself. Only its
requests, framers, checksum and exception codes are used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias

from pymodbus.constants import ExcCodes
from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

from drivers.errors import Unreadable
from drivers.links.connection import Refusal

if TYPE_CHECKING:
    from drivers.driver import Registers

_ANSWERS = DecodePDU(is_server=False)
_RTU = FramerRTU(_ANSWERS)
_TCP = FramerSocket(_ANSWERS)
_REASONS = {code.value: code.name.replace("_", " ").lower() for code in ExcCodes}
_HEADER = 7  # MBAP: transaction, protocol 0, length, unit
_SMALLEST_RTU = 5  # unit, function, code, checksum
LARGEST_FRAME = 256
_MOST_RUBBISH = 32
_NOT_OF_THE_UNIT = {5, 10, 11}  # "acknowledge": the answer comes later; the others come from a gateway
_PERHAPS_OF_A_GATEWAY = {4, 6}  # failure and busy: some say so of a unit that does not answer

Form: TypeAlias = tuple[int, int]
"""What an answer of a unit is told by: function and number of bytes; of a refusal function + 0x80 and its code."""
Overheard: TypeAlias = Callable[[int, Form | int, int], bool]
"""Takes unit, form (on Modbus TCP: number) and length of a whole frame that is not the answer; gives whether its
question is known."""


class Refused(Refusal):
    """A unit, or a gateway in its place, answers that it does not give the registers."""

    def __init__(self, message: str, raw: bytes = b"", code: int = 0) -> None:
        super().__init__(message, raw, of_the_unit=code not in _NOT_OF_THE_UNIT)
        self.code = code
        self.may_be_a_gateway = code in _PERHAPS_OF_A_GATEWAY


class Frame(Protocol):
    """One request to one unit, sent as often as its poll is due."""

    @property
    def form(self) -> Form:
        """What the answer of the unit is told by."""

    @property
    def number(self) -> int | None:
        """The number of the last request, which the answer has on Modbus TCP."""

    def next(self) -> bytes:
        """Give the bytes to send."""

    def measure(self, buffer: bytearray) -> int:
        """Give the length of the answer, 0 while it is incomplete; Unreadable where it is no answer."""

    def payload(self, answer: bytes) -> bytes:
        """Give the bytes of the registers."""


def _nobody(unit: int, form: Form | int, length: int) -> bool:
    del unit, form, length
    return False


class TcpFrame:
    """A request in the framing of Modbus TCP, where each answer has the number of its question."""

    def __init__(self, unit: int, query: Registers, *, overheard: Overheard = _nobody) -> None:
        self._unit = unit
        self._overheard = overheard
        self._rest = _TCP.buildFrame(_request(unit, query))[2:]
        self.form = form_of(query)
        expected = 2 * query.count
        self._start = bytes((0, 0, 0, 3 + expected, unit, self._rest[5], expected))
        self._length = _HEADER + 2 + expected
        self._number = b""

    @property
    def number(self) -> int:
        """Give the number of the last request."""
        return int.from_bytes(self._number, "big")

    def next(self) -> bytes:
        """Give the request with a new number; one counter for all, so that no two in flight are alike."""
        self._number = _next_number().to_bytes(2, "big")
        return self._number + self._rest

    def measure(self, buffer: bytearray) -> int:
        """Find the answer of this number; a late answer to an earlier question is skipped."""
        while len(buffer) > _HEADER + 1:
            if buffer[:2] == self._number and buffer[2 : _HEADER + 2] == self._start:
                if len(buffer) < self._length:
                    return 0
                self._leave_out_late_answers(buffer)
                return self._length
            length = self.length_of(buffer)
            if length is None:
                raise Unreadable("no frame of Modbus TCP", bytes(buffer))
            if len(buffer) < length:
                return 0
            if buffer[:2] == self._number:
                raise _refusal(self._unit, self._rest[5], bytes(buffer[6:length]))
            self._overheard(buffer[6], int.from_bytes(buffer[:2], "big"), length)
            del buffer[:length]
        return 0

    @staticmethod
    def length_of(buffer: bytearray, at: int = 0) -> int | None:
        """Give the length of a frame there, 0 while its header is not whole, None where it can be none."""
        if len(buffer) - at <= _HEADER + 1:
            return 0
        length = 6 + int.from_bytes(buffer[at + 4 : at + 6], "big")
        return None if buffer[at + 2 : at + 4] != b"\0\0" or not _HEADER + 2 <= length <= 260 else length

    def _leave_out_late_answers(self, buffer: bytearray) -> None:
        """Take whole frames away that came right behind the answer and have the number of another question."""
        end = self._length
        while buffer[end : end + 2] != self._number:
            length = self.length_of(buffer, end)
            if not length or len(buffer) < end + length:
                return
            self._overheard(buffer[end + 6], int.from_bytes(buffer[end : end + 2], "big"), length)
            del buffer[end : end + length]

    def payload(self, answer: bytes) -> bytes:
        """Give what follows the header, the function and the number of bytes."""
        return answer[_HEADER + 2 :]


class RtuFrame:
    """A request in the framing of Modbus RTU, where only address, length and checksum identify an answer.

    A few bytes before and behind it that can be no part of a frame of this unit come from turning the line around:
    they are left out and counted by `rubbish`.
    """

    def __init__(
        self,
        unit: int,
        query: Registers,
        *,
        echo: bool = False,
        overheard: Overheard = _nobody,
        rubbish: Callable[[int], object] = abs,
    ) -> None:
        self._unit = unit
        self._frame = _RTU.buildFrame(_request(unit, query))
        self._function = self._frame[1]
        self._echo = self._frame if echo else b""
        self._overheard = overheard
        self._rubbish = rubbish
        self.form = form_of(query)
        self.number: int | None = None
        self._start = bytes((unit, self._function, 2 * query.count))

    def next(self) -> bytes:
        """Give the same bytes every time."""
        return self._frame

    def measure(self, buffer: bytearray) -> int:
        """Find the answer of the unit; late answers with a correct checksum are skipped."""
        skip = len(self._echo)
        if skip and not self._echo.startswith(buffer[:skip]):
            raise Unreadable("the echo differs from the question: a collision, or no echo", bytes(buffer))
        while len(buffer) >= skip + _SMALLEST_RTU:
            length = frame_in_front(buffer, skip)
            if not length:
                length = self._behind_rubbish(buffer, skip)
            if not length:
                return 0
            end = skip + length
            if buffer[skip : skip + 3] == self._start:
                self._leave_out_rubbish(buffer, end)
                return end
            if buffer[skip] == self._unit and buffer[skip + 1] == self._function | 0x80:
                raise _refusal(self._unit, self._function, bytes(buffer[skip : end - 2]))
            known = self._overheard(buffer[skip], (buffer[skip + 1], buffer[skip + 2]), length)
            if buffer[skip] == self._unit and not known:
                raise _refusal(self._unit, self._function, bytes(buffer[skip : end - 2]))
            del buffer[skip:end]
        return 0

    def payload(self, answer: bytes) -> bytes:
        """Give the bytes between the number of bytes and the checksum."""
        return answer[len(self._echo) + 3 : -2]

    def _behind_rubbish(self, buffer: bytearray, skip: int) -> int:
        """Take rubbish away before a frame of this unit; gives its length, 0 while it is incomplete."""
        at = self._own(buffer, skip)
        if at is None:
            if len(buffer) - skip > LARGEST_FRAME + _MOST_RUBBISH:
                raise Unreadable("no frame of Modbus RTU that answers a reading", bytes(buffer))
            return 0
        length = frame_in_front(buffer, at)
        if not length:
            foreign = at > skip and frame_may_follow(buffer, skip)  # the late one of another unit, not whole yet
            if not foreign and len(buffer) - at > 2 and len(buffer) - at >= _rtu_length(buffer, at):
                raise Unreadable("the checksum is wrong", bytes(buffer))
            return 0
        if at > skip:
            if at - skip > _MOST_RUBBISH:
                raise Unreadable(f"{at - skip} bytes came before the answer", bytes(buffer))
            self._rubbish(at - skip)
            del buffer[skip:at]
        return length

    def _leave_out_rubbish(self, buffer: bytearray, end: int) -> None:
        while (length := frame_in_front(buffer, end)) and buffer[end] != self._unit:
            self._overheard(buffer[end], (buffer[end + 1], buffer[end + 2]), length)
            del buffer[end : end + length]
        behind = len(buffer) - end
        if 0 < behind <= _MOST_RUBBISH and buffer[-1] != self._unit and self._own(buffer, end) is None:
            self._rubbish(behind)
            del buffer[end:]

    def _own(self, buffer: bytearray, start: int) -> int | None:
        """Find where a frame of this unit may begin."""
        places = (
            buffer.find(bytes((self._unit, function)), start) for function in (self._function, self._function | 0x80)
        )
        return min((place for place in places if place >= 0), default=None)


def form_of(query: Registers) -> Form:
    """Give what the answer of a unit to a query is told by."""
    return (3 if query.table == "holding" else 4, 2 * query.count)


def _request(unit: int, query: Registers) -> ReadHoldingRegistersRequest:
    kind = ReadHoldingRegistersRequest if query.table == "holding" else ReadInputRegistersRequest
    return kind(address=query.address, count=query.count, dev_id=unit)


class _Counter:
    value = 0


def _next_number() -> int:
    _Counter.value = _Counter.value % 0xFFFF + 1
    return _Counter.value


def frame_in_front(buffer: bytearray, at: int = 0) -> int:
    """Give the length of the RTU frame that begins there, 0 where there is none that is whole and has its checksum."""
    if len(buffer) < at + _SMALLEST_RTU:
        return 0
    length = _rtu_length(buffer, at)
    end = at + length
    if not length or len(buffer) < end:
        return 0
    body = bytes(memoryview(buffer)[at : end - 2])
    return length if FramerRTU.compute_CRC(body) == int.from_bytes(buffer[end - 2 : end], "big") else 0


def frame_may_follow(buffer: bytearray, at: int) -> bool:
    """Whether an RTU frame may begin there that is not whole yet."""
    come = len(buffer) - at
    if come < 3:
        return come < 2 or buffer[at + 1] & 0x7F in {3, 4}
    return come < _rtu_length(buffer, at)


def _rtu_length(buffer: bytearray, at: int) -> int:
    function = buffer[at + 1]
    if function & 0x7F not in {3, 4}:
        return 0
    return _SMALLEST_RTU if function & 0x80 else _SMALLEST_RTU + buffer[at + 2]


def is_refusal(form: Form) -> bool:
    """Whether a frame of this form, on RTU, refuses a question; of which one nothing in it shows."""
    return bool(form[0] & 0x80)


def is_of_the_unit(form: Form) -> bool:
    """Whether the unit itself has sent a frame of this form, and not a gateway in its place."""
    return not (is_refusal(form) and form[1] in _NOT_OF_THE_UNIT)


def _refusal(unit: int, function: int, reply: bytes) -> Unreadable:
    """Say what is wrong with a whole frame (unit, function, data) that is not the answer."""
    if reply[0] != unit:
        return Unreadable(f"unit {reply[0]} answers where unit {unit} was asked", reply)
    if reply[1] == function | 0x80:
        code = reply[2]
        name = _REASONS.get(code, "unknown code")
        return Refused(f"unit {unit} refuses the registers: {name} ({code})", reply, code)
    if reply[1] != function:
        return Unreadable(f"unit {unit} answers function {reply[1]} where {function} was asked", reply)
    return Unreadable(f"unit {unit} sends {reply[2]} bytes, not the number that was asked for", reply)
