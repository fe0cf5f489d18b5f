"""A HiSLIP server (IVI-6.1 revision 2.0) as in LXI multimeters, without overlap mode and locks."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import TYPE_CHECKING

from simulators.tcp import Manners, Talk

if TYPE_CHECKING:
    from simulators.conversation import Begin

HEADER = struct.Struct("!2sBBIQ")
VERSION_1_SESSION_1 = 0x01000001
LARGEST_MESSAGE = 1 << 20


class Kind(IntEnum):
    """Message types of IVI-6.1, table 4: only those that a question needs."""

    INITIALIZE = 0
    INITIALIZE_RESPONSE = 1
    ERROR = 3
    ASYNC_LOCK = 4
    ASYNC_LOCK_RESPONSE = 5
    DATA = 6
    DATA_END = 7
    DEVICE_CLEAR_COMPLETE = 8
    DEVICE_CLEAR_ACKNOWLEDGE = 9
    ASYNC_MAX_SIZE = 15
    ASYNC_MAX_SIZE_RESPONSE = 16
    ASYNC_INITIALIZE = 17
    ASYNC_INITIALIZE_RESPONSE = 18
    ASYNC_DEVICE_CLEAR = 19
    ASYNC_STATUS_QUERY = 21
    ASYNC_STATUS_RESPONSE = 22
    ASYNC_DEVICE_CLEAR_ACKNOWLEDGE = 23


REPLIES = {
    Kind.INITIALIZE: (Kind.INITIALIZE_RESPONSE, 0, VERSION_1_SESSION_1, b""),
    Kind.ASYNC_INITIALIZE: (Kind.ASYNC_INITIALIZE_RESPONSE, 0, int.from_bytes(b"SI", "big"), b""),
    Kind.ASYNC_MAX_SIZE: (Kind.ASYNC_MAX_SIZE_RESPONSE, 0, 0, LARGEST_MESSAGE.to_bytes(8, "big")),
    Kind.ASYNC_DEVICE_CLEAR: (Kind.ASYNC_DEVICE_CLEAR_ACKNOWLEDGE, 0, 0, b""),
    Kind.DEVICE_CLEAR_COMPLETE: (Kind.DEVICE_CLEAR_ACKNOWLEDGE, 0, 0, b""),
    Kind.ASYNC_STATUS_QUERY: (Kind.ASYNC_STATUS_RESPONSE, 0, 0, b""),
    Kind.ASYNC_LOCK: (Kind.ASYNC_LOCK_RESPONSE, 1, 0, b""),
}


class HislipTalk(Talk):
    """One of the two connections of a session; its first message says which of them it is."""

    hears_unasked = False  # bytes outside a message would end the session

    def __init__(self, begin: Begin, connections: set[Talk], manners: Manners) -> None:
        super().__init__(begin, connections, manners)
        self._received = bytearray()
        self._request = bytearray()

    def data_received(self, data: bytes) -> None:
        """Collect the bytes and handle each whole message."""
        self._said()
        if self.dead:
            return
        self._received += data
        while len(self._received) >= HEADER.size:
            prologue, kind, _, parameter, length = HEADER.unpack_from(self._received)
            if prologue != b"HS" or length > LARGEST_MESSAGE:  # "poorly formed message": fatal by IVI-6.1, 6.2
                self.hang_up()
                return
            if len(self._received) < HEADER.size + length:
                return
            payload = bytes(self._received[HEADER.size : HEADER.size + length])
            del self._received[: HEADER.size + length]
            self._handle(kind, parameter, payload)

    def _handle(self, kind: int, parameter: int, payload: bytes) -> None:
        if kind in {Kind.DATA, Kind.DATA_END}:
            self._request += payload
            if kind == Kind.DATA_END:
                self._answer(parameter)
        else:
            if kind == Kind.ASYNC_DEVICE_CLEAR:
                self.conversation.clear()  # answers not sent yet belong to a question that was given up
            unknown = (Kind.ERROR, 1, 0, b"")
            self._send(*REPLIES.get(Kind(kind), unknown) if kind in set(Kind) else unknown)

    def _answer(self, message: int) -> None:
        request, self._request = bytes(self._request), bytearray()
        if not request.endswith(b"\n"):  # END ends a message; a line feed is optional
            request += b"\n"
        self.conversation.hear(request, lambda reply: self._send(Kind.DATA_END, 0, message, reply))

    def _send(self, kind: Kind, control: int, parameter: int, payload: bytes) -> bool:
        return self.write(HEADER.pack(b"HS", kind, control, parameter, len(payload)) + payload)
