"""What a peer may send in answer to one question over HiSLIP or VXI-11: checked before anything is allocated for it.

Both protocols announce the length of each message in a header, and pyvisa-py believes it. Here the bytes are followed
as they leave the socket, so that a header which claims too much is never handed on.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Protocol

from drivers.links.connection import LARGEST_ANSWER

MOST_BYTES = 2 * LARGEST_ANSWER
"""Bytes that may come for one question: the largest answer, and as much again for headers."""
MOST_MESSAGES = 256
"""Messages (HiSLIP) or fragments (VXI-11) that may come for one question."""
MOST_FOREIGN = 16
"""Messages that belong to no question of this session, or to an earlier one, and are passed over."""

_DATA, _DATA_END = 6, 7
_ANY_QUESTION = b"\xff\xff\xff\xff"


class Refused(Exception):
    """The peer sends what no answer can be; the message says what."""


@dataclass(slots=True)
class Allowance:
    """Counts what has come since the question, over all sockets of a session; Refused beyond its bounds."""

    bytes: int = 0
    messages: int = 0
    foreign: int = 0

    def begin(self) -> None:
        """Count anew: a question is about to be sent."""
        self.bytes = self.messages = self.foreign = 0

    def take_bytes(self, count: int) -> None:
        """Count bytes that have come."""
        self.bytes += count
        if self.bytes > MOST_BYTES:
            raise Refused(f"{self.bytes} bytes came without the end of an answer")

    def take_message(self, claimed: int) -> None:
        """Count a message whose header claims so many bytes."""
        if claimed > LARGEST_ANSWER:
            raise Refused(f"a message claims {claimed} bytes, and an answer has {LARGEST_ANSWER} at most")
        self.messages += 1
        if self.messages > MOST_MESSAGES:
            raise Refused(f"{self.messages} messages came without the end of an answer")

    def take_foreign(self) -> None:
        """Count a message that answers no question of this session, or an earlier one."""
        self.foreign += 1
        if self.foreign > MOST_FOREIGN:
            raise Refused(f"{self.foreign} messages came that do not belong to the question")


class Framing(Protocol):
    """Follows the bytes of one socket, both ways."""

    def came(self, data: memoryview) -> None:
        """Take bytes that have come; Refused."""

    def sent(self, data: memoryview) -> None:
        """Take a message that is about to be sent."""


class _Headers:
    """Finds the headers between the payloads, in whatever pieces they come."""

    size: int

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._header = bytearray()
        self._payload = 0

    def came(self, data: memoryview) -> None:
        self._allowance.take_bytes(len(data))
        while data:
            if self._payload:
                step = min(self._payload, len(data))
                self._payload -= step
            else:
                step = min(self.size - len(self._header), len(data))
                self._header += data[:step]
                if len(self._header) == self.size:
                    self._payload = self._length(bytes(self._header))
                    self._header.clear()
            data = data[step:]

    def _length(self, header: bytes) -> int:
        """Give the length of the payload that follows a header; Refused."""
        raise NotImplementedError


class HislipFraming(_Headers):
    """Messages of HiSLIP (IVI-6.1, 2.1): a header of 16 bytes; those of the answer carry the id of the question."""

    size = 16

    def __init__(self, allowance: Allowance) -> None:
        super().__init__(allowance)
        self._question: bytes | None = None

    def sent(self, data: memoryview) -> None:
        """Take a message that is about to be sent: the id of the question stands in it."""
        if len(data) >= self.size and data[2] in {_DATA, _DATA_END}:
            self._question = bytes(data[4:8])

    def _length(self, header: bytes) -> int:
        mark, kind, _, parameter, claimed = struct.unpack("!2sBB4sQ", header)
        if mark != b"HS":
            raise Refused(f"bytes that begin no message of HiSLIP: {header!r}")
        self._allowance.take_message(claimed)
        answers = kind in {_DATA, _DATA_END} and parameter in {self._question, _ANY_QUESTION}
        if self._question is not None and not answers:
            self._allowance.take_foreign()
        return int(claimed)


class RpcFraming(_Headers):
    """Records of the RPC that carries VXI-11 (RFC 1057, 10): fragments, each after a bit for the last and its length.

    One record answers one call; further ones are answers to earlier calls.
    """

    size = 4

    def __init__(self, allowance: Allowance) -> None:
        super().__init__(allowance)
        self._answered = False

    def sent(self, data: memoryview) -> None:
        """Take a message that is about to be sent: a call, which has one answer."""
        del data
        self._answered = False

    def _length(self, header: bytes) -> int:
        word = int.from_bytes(header, "big")
        claimed = word & 0x7FFFFFFF
        self._allowance.take_message(claimed)
        if self._answered:
            self._allowance.take_foreign()
        self._answered |= bool(word >> 31)
        return claimed
