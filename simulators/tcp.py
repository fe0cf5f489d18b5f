"""Connects conversations to a TCP port of this machine; can be unplugged and plugged in again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulators.conversation import Begin


class Talk(asyncio.Protocol):
    """One connection: gives what it receives to its conversation and sends the answers, until one side closes it."""

    def __init__(self, begin: Begin, connections: set[Talk]) -> None:
        self.conversation = begin()
        self._all_connections = connections
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the conversation."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # what create_server gives
        self._transport = transport
        self._all_connections.add(self)
        self.conversation.start(self.write)

    def data_received(self, data: bytes) -> None:
        """Give the bytes to the conversation."""
        self.conversation.hear(data, self.write)

    def write(self, data: bytes) -> None:
        """Send, if the connection is still open."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio calls it by this name
        """End the conversation."""
        self.conversation.end()
        self._all_connections.discard(self)

    def hang_up(self) -> None:
        """Close at once; data not sent yet is dropped."""
        if self._transport is not None:
            self._transport.abort()


class TcpPort:
    """A listening port; each connection is a `protocol` object of its own."""

    def __init__(self, begin: Begin, host: str = "127.0.0.1", port: int = 0, protocol: type[Talk] = Talk) -> None:
        self.port = port
        self._begin = begin
        self._host = host
        self._protocol = protocol
        self._connections: set[Talk] = set()
        self._server: asyncio.Server | None = None

    async def plug_in(self) -> None:
        """Listen, on the same port as before."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: self._protocol(self._begin, self._connections), self._host, self.port
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def unplug(self) -> None:
        """Close the port and every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self._connections):
            connection.hang_up()
