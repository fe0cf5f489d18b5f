"""Serves conversations on a TCP port of this machine; can be unplugged and plugged in again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulators.conversation import Begin


class Talk(asyncio.Protocol):
    """One connection: what comes in is heard, what is answered goes out, until somebody hangs up."""

    def __init__(self, begin: Begin, open_talks: set[Talk]) -> None:
        self.conversation = begin()
        self._open_talks = open_talks
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # what create_server gives
        self._transport = transport
        self._open_talks.add(self)
        self.conversation.start(self.write)

    def data_received(self, data: bytes) -> None:
        """Hear."""
        self.conversation.hear(data, self.write)

    def write(self, data: bytes) -> None:
        """Answer, if anybody still listens."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio calls it by this name
        """End."""
        self.conversation.end()
        self._open_talks.discard(self)

    def hang_up(self) -> None:
        """Close at once and without a word."""
        if self._transport is not None:
            self._transport.abort()


class TcpPort:
    """A listening port; every connection is a `talk` of its own."""

    def __init__(self, begin: Begin, host: str = "127.0.0.1", port: int = 0, talk: type[Talk] = Talk) -> None:
        self.port = port
        self._begin = begin
        self._host = host
        self._talk = talk
        self._talks: set[Talk] = set()
        self._server: asyncio.Server | None = None

    async def plug_in(self) -> None:
        """Listen; on the same port as before."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: self._talk(self._begin, self._talks), self._host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def unplug(self) -> None:
        """Close the port and every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for talk in list(self._talks):
            talk.hang_up()
