"""A bad network: a TCP proxy on 127.0.0.1 whose faults are switched on and off while it runs."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from asyncio import StreamReader, StreamWriter
    from typing import Self

CHUNK = 4_096
UNDER_WAY = 64
"""Chunks between the two ends at most: a network that is full lets its sender wait."""
WINDOW = 65_536
"""Receive buffer: what a silent network swallows before its sender notices that nothing moves."""
STALL = (0.2, 1.0)
PIECE = 0.1


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a network; each way, and all at once where several are named.

    `delay` holds everything back by seconds, `rate` lets that many bytes pass in a second. `loss` is the share of
    chunks that come late, and all behind them: an application sees a lost packet only as the wait for the next try.
    `reset` kills a connection in mid-message, after so many bytes at a random place of this range. `silent` is
    half-open: connections that exist are forgotten for ever without a word; new ones are taken, and get no answer
    before the network is well again. `refuse` hangs up on all.
    """

    delay: float = 0.0
    rate: int | None = None
    loss: float = 0.0
    reset: tuple[int, int] | None = None
    silent: bool = False
    refuse: bool = False


class FaultProxy:
    """Listens on a free port and forwards to `target`, as well as its fault lets it."""

    def __init__(self, target: int, dice: random.Random) -> None:
        self.fault = Fault()
        self.accepted: list[float] = []
        self.port = 0
        self.dice = dice
        self._target = target
        self._well = asyncio.Event()
        self._well.set()
        self._open: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def strike(self, fault: Fault) -> None:
        """Have this fault from now on, and no other."""
        self.fault = fault
        for connection in self._open:
            connection.struck()
        if fault.silent:
            self._well.clear()
        else:
            self._well.set()

    def heal(self) -> None:
        """Be a good network again; what was forgotten stays forgotten."""
        self.strike(Fault())

    async def __aenter__(self) -> Self:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW)
        listener.bind(("127.0.0.1", 0))
        self.port = int(listener.getsockname()[1])
        self._server = await asyncio.start_server(self._accept, sock=listener, limit=CHUNK)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        self.accepted.append(time.monotonic())
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        writers = [writer]
        try:
            await self._well.wait()
            there, back = await asyncio.open_connection("127.0.0.1", self._target, limit=CHUNK)
            writers.append(back)
            connection = _Connection(self)
            self._open.add(connection)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(connection.forward(reader, back))
                    group.create_task(connection.forward(there, writer))
            finally:
                self._open.discard(connection)
            for one in writers:
                one.close()
        except* OSError:
            pass
        finally:
            for one in writers:
                if not one.is_closing():
                    hang_up(one)


class _Connection:
    def __init__(self, proxy: FaultProxy) -> None:
        self._proxy = proxy
        self._forgotten = False
        self._bytes_left = 0
        self.struck()

    def struck(self) -> None:
        fault = self._proxy.fault
        self._forgotten = self._forgotten or fault.silent
        self._bytes_left = self._proxy.dice.randint(*fault.reset or (0, 0))

    async def forward(self, reader: StreamReader, writer: StreamWriter) -> None:
        line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(UNDER_WAY)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._take(reader, line))
            group.create_task(self._give(line, writer))

    async def _take(self, reader: StreamReader, line: asyncio.Queue[tuple[float, bytes]]) -> None:
        data = b"more"
        while data:
            await self._pass()
            data = await reader.read(CHUNK)
            await line.put((time.monotonic() + self._proxy.fault.delay, data))

    async def _give(self, line: asyncio.Queue[tuple[float, bytes]], writer: StreamWriter) -> None:
        while True:
            due, data = await line.get()
            await asyncio.sleep(due - time.monotonic())
            if self._proxy.dice.random() < self._proxy.fault.loss:
                await asyncio.sleep(self._proxy.dice.uniform(*STALL))
            if not data:
                await self._pass()
                writer.write_eof()
                return
            while data:  # the fault is looked at for each piece: healing helps what is under way, too
                await self._pass()
                fault = self._proxy.fault
                size = len(data) if fault.rate is None else max(1, round(fault.rate * PIECE))
                if fault.reset is not None and len(data) > self._bytes_left:
                    writer.write(data[: self._bytes_left])
                    raise ConnectionResetError
                self._bytes_left -= min(size, len(data))
                writer.write(data[:size])
                await writer.drain()
                if fault.rate is not None:
                    await asyncio.sleep(PIECE)
                data = data[size:]

    async def _pass(self) -> None:
        if self._proxy.fault.refuse:
            raise ConnectionResetError
        if self._forgotten:
            await asyncio.Event().wait()


def hang_up(writer: StreamWriter) -> None:
    """End a connection with RST instead of FIN: what is under way is lost."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
