"""Serves conversations on a TCP port of this machine; can be unplugged and plugged in again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulators.conversation import Begin, Conversation


class _Talk(asyncio.Protocol):
    def __init__(self, begin: Begin, open_talks: set[_Talk]) -> None:
        self._conversation: Conversation = begin()
        self._open_talks = open_talks
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # what create_server gives
        self.transport = transport
        self._open_talks.add(self)

    def data_received(self, data: bytes) -> None:
        self._conversation.hear(data, self._write)

    def _write(self, data: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio calls it by this name
        self._open_talks.discard(self)


class TcpPort:
    """A listening port; every connection is a conversation of its own."""

    def __init__(self, begin: Begin, host: str = "127.0.0.1", port: int = 0) -> None:
        self._begin = begin
        self._host = host
        self.port = port
        self._talks: set[_Talk] = set()
        self._server: asyncio.Server | None = None

    async def plug_in(self) -> None:
        """Listen; on the same port as before."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Talk(self._begin, self._talks), self._host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def unplug(self) -> None:
        """Close the port and every connection, at once and without a word."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for talk in list(self._talks):
            if talk.transport is not None:
                talk.transport.abort()
