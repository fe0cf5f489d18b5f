"""Serves a text instrument by HiSLIP (IVI-6.1 revision 2.0), as LXI multimeters do, without overlap mode and locks."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulators.conversation import Conversation

HEADER = struct.Struct("!2sBBIQ")
(INITIALIZE, INITIALIZE_RESPONSE, FATAL_ERROR, ERROR, ASYNC_LOCK, ASYNC_LOCK_RESPONSE, DATA, DATA_END) = range(8)
DEVICE_CLEAR_COMPLETE, DEVICE_CLEAR_ACKNOWLEDGE = 8, 9
ASYNC_MAX_SIZE, ASYNC_MAX_SIZE_RESPONSE, ASYNC_INITIALIZE, ASYNC_INITIALIZE_RESPONSE = 15, 16, 17, 18
ASYNC_DEVICE_CLEAR, ASYNC_STATUS_QUERY, ASYNC_STATUS_RESPONSE, ASYNC_DEVICE_CLEAR_ACKNOWLEDGE = 19, 21, 22, 23
LARGEST = 1 << 20


class _Channel(asyncio.Protocol):
    """One of the two connections of a session; which one it is, its first message says."""

    def __init__(self, begin: Callable[[], Conversation], open_channels: set[_Channel]) -> None:
        self._conversation = begin()
        self._open_channels = open_channels
        self._heard = bytearray()
        self._said = bytearray()
        self._message = 0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # what create_server gives
        self.transport = transport
        self._open_channels.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio calls it by this name
        self._open_channels.discard(self)

    def data_received(self, data: bytes) -> None:
        self._heard += data
        while len(self._heard) >= HEADER.size:
            _, kind, control, parameter, length = HEADER.unpack_from(self._heard)
            if len(self._heard) < HEADER.size + length:
                return
            payload = bytes(self._heard[HEADER.size : HEADER.size + length])
            del self._heard[: HEADER.size + length]
            self._take(kind, control, parameter, payload)

    def _take(self, kind: int, control: int, parameter: int, payload: bytes) -> None:
        match kind:
            case 0:  # INITIALIZE; version 1.0, session 1
                self._send(INITIALIZE_RESPONSE, 0, 0x01000001)
            case 17:  # ASYNC_INITIALIZE
                self._send(ASYNC_INITIALIZE_RESPONSE, 0, int.from_bytes(b"SI", "big"))
            case 15:  # ASYNC_MAX_SIZE
                self._send(ASYNC_MAX_SIZE_RESPONSE, 0, 0, LARGEST.to_bytes(8, "big"))
            case 19:  # ASYNC_DEVICE_CLEAR
                self._send(ASYNC_DEVICE_CLEAR_ACKNOWLEDGE, 0, 0)
            case 8:  # DEVICE_CLEAR_COMPLETE
                self._send(DEVICE_CLEAR_ACKNOWLEDGE, 0, 0)
            case 21:  # ASYNC_STATUS_QUERY
                self._send(ASYNC_STATUS_RESPONSE, 0, 0)
            case 4:  # ASYNC_LOCK
                self._send(ASYNC_LOCK_RESPONSE, 1, 0)
            case 6 | 7:  # DATA, DATA_END
                self._said += payload
                if kind == DATA_END:
                    self._answer(parameter)
            case _:
                self._send(ERROR, control, 1)

    def _answer(self, message: int) -> None:
        request, self._said = bytes(self._said), bytearray()
        if not request.endswith(b"\n"):  # END ends a message, a line feed may
            request += b"\n"
        self._conversation.hear(request, lambda reply: self._send(DATA_END, 0, message, reply))

    def _send(self, kind: int, control: int, parameter: int, payload: bytes = b"") -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(HEADER.pack(b"HS", kind, control, parameter, len(payload)) + payload)


class HislipPort:
    """A HiSLIP server on a TCP port of this machine."""

    def __init__(self, begin: Callable[[], Conversation], host: str = "127.0.0.1", port: int = 0) -> None:
        self._begin = begin
        self._host = host
        self.port = port
        self._channels: set[_Channel] = set()
        self._server: asyncio.Server | None = None

    async def plug_in(self) -> None:
        """Listen; on the same port as before."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Channel(self._begin, self._channels), self._host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def unplug(self) -> None:
        """Close the port and every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for channel in list(self._channels):
            if channel.transport is not None:
                channel.transport.abort()
