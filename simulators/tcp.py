"""Connects conversations to a TCP port of this machine; can be unplugged, and behaves as serial servers do."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulators.conversation import Begin


@dataclass(frozen=True, slots=True)
class Manners:
    """How a server treats its clients: `one_client`, `idle_s` as in `simulators.faults`."""

    one_client: str = ""
    idle_s: float = 0.0


class Talk(asyncio.Protocol):
    """One connection: gives what it receives to its conversation and sends the answers, until one side closes it.

    A connection that is `dead` stays open, hears nothing and says nothing.
    """

    hears_unasked = True

    def __init__(self, begin: Begin, connections: set[Talk], manners: Manners) -> None:
        self.conversation = begin()
        self.dead = False
        self._all_connections = connections
        self._manners = manners
        self._transport: asyncio.Transport | None = None
        self._idle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the conversation."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # what create_server gives
        self._transport = transport
        others = list(self._all_connections)
        if others and self._manners.one_client == "refuse":
            transport.abort()
            return
        if self._manners.one_client == "replace":
            for other in others:
                other.hang_up()
        self._all_connections.add(self)
        self._said()
        if self.hears_unasked:
            self.conversation.start(self.write)

    def _said(self) -> None:
        """Begin to count anew how long nothing was said."""
        if self._idle is not None:
            self._idle.cancel()
        if self._manners.idle_s and self._transport is not None:
            self._idle = asyncio.get_running_loop().call_later(self._manners.idle_s, self._transport.close)

    def data_received(self, data: bytes) -> None:
        """Give the bytes to the conversation."""
        self._said()
        if not self.dead:
            self.conversation.hear(data, self.write)

    def write(self, data: bytes) -> bool:
        """Send, if the connection is still open; False where it is not."""
        if self.dead or self._transport is None or self._transport.is_closing():
            return False
        self._said()
        self._transport.write(data)
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio calls it by this name
        """End the conversation."""
        if self._idle is not None:
            self._idle.cancel()
        self.conversation.end()
        self._all_connections.discard(self)

    def hang_up(self) -> None:
        """Close at once; data not sent yet is dropped."""
        if self._transport is not None:
            self._transport.abort()


class TcpPort:
    """A listening port; each connection is a `protocol` object of its own."""

    def __init__(
        self,
        begin: Begin,
        host: str = "127.0.0.1",
        port: int = 0,
        protocol: type[Talk] = Talk,
        manners: Manners = Manners(),
    ) -> None:
        self.port = port
        self._begin = begin
        self._host = host
        self._protocol = protocol
        self._manners = manners
        self._connections: set[Talk] = set()
        self._server: asyncio.Server | None = None

    async def plug_in(self) -> None:
        """Listen, on the same port as before."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: self._protocol(self._begin, self._connections, self._manners), self._host, self.port
        )
        self.port = self._server.sockets[0].getsockname()[1]

    def forget_sessions(self) -> None:
        """Let every connection that is open be dead: the server has lost its session."""
        for connection in self._connections:
            connection.dead = True

    async def unplug(self) -> None:
        """Close the port and every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self._connections):
            connection.hang_up()
