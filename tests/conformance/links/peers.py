"""Instruments for the conformance suite: real wires, own framing, a script that says how each answer goes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import struct
import tty
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from drivers.driver import Query, Registers, Text

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Mouth:
    """What a script can do with one question: `number` says which was asked."""

    number: int
    request: bytes
    write: Callable[[bytes], None]
    hang_up: Callable[[], None]
    frame: Callable[[int], bytes]
    unit: int = 0

    def answer(self) -> None:
        self.write(self.frame(self.number))

    def cut(self) -> None:
        whole = self.frame(self.number)
        self.write(whole[: len(whole) - 3])


Script = Callable[[Mouth], Awaitable[None]]


async def right(mouth: Mouth) -> None:
    mouth.answer()


class Speech:
    """How questions and answers look; one number stands for one question."""

    def question(self, number: int, timeout: float) -> Query:
        raise NotImplementedError

    def expected(self, number: int) -> bytes:
        raise NotImplementedError

    def split(self, buffer: bytearray, mouth: Callable[..., Mouth]) -> Mouth | None:
        raise NotImplementedError


class Lines(Speech):
    """`READ 7` is answered by `VALUE 7 of 7`."""

    def question(self, number: int, timeout: float) -> Query:
        return Text(b"READ %d\r\n" % number, b"\r\n", timeout)

    def expected(self, number: int) -> bytes:
        return b"VALUE %d of %d\r\n" % (number, number)

    def split(self, buffer: bytearray, mouth: Callable[..., Mouth]) -> Mouth | None:
        line, end, rest = bytes(buffer).partition(b"\r\n")
        if not end:
            return None
        buffer[:] = rest
        return mouth(number=int(line.split()[-1]), request=line + end, frame=self.expected)


class ModbusTcp(Speech):
    """Holding registers from address n are n and n + 1."""

    header = 6

    def question(self, number: int, timeout: float) -> Query:
        return Registers(number, 2, timeout=timeout)

    def expected(self, number: int) -> bytes:
        return self.registers(number, 2)

    def registers(self, number: int, count: int) -> bytes:
        return struct.pack(f">{count}H", *range(number, number + count))

    def split(self, buffer: bytearray, mouth: Callable[..., Mouth]) -> Mouth | None:
        if len(buffer) < 12:
            return None
        request = bytes(buffer[:12])
        del buffer[:12]

        def frame(number: int) -> bytes:
            size = 2 * request[11]
            return request[:4] + bytes((0, 3 + size, *request[6:8], size)) + self.registers(number, request[11])

        return mouth(number=int.from_bytes(request[8:10], "big"), request=request, frame=frame, unit=request[6])


class ModbusRtu(ModbusTcp):
    """The same in frames of Modbus RTU."""

    def split(self, buffer: bytearray, mouth: Callable[..., Mouth]) -> Mouth | None:
        if len(buffer) < 8:
            return None
        request = bytes(buffer[:8])
        del buffer[:8]

        def frame(number: int) -> bytes:
            body = request[:2] + bytes((2 * request[5],)) + self.registers(number, request[5])
            return body + crc(body)

        return mouth(number=int.from_bytes(request[2:4], "big"), request=request, frame=frame, unit=request[0])


def refusal(mouth: Mouth, code: int = 2) -> bytes:
    """Give the frame in which a Modbus unit refuses this question; 2: it does not have these registers."""
    if len(mouth.request) == 12:  # Modbus TCP
        return mouth.request[:4] + bytes((0, 3, mouth.unit, 0x83, code))
    body = bytes((mouth.unit, 0x83, code))
    return body + crc(body)


def crc(body: bytes) -> bytes:
    """Checksum of Modbus RTU, bit by bit as the specification describes it."""
    value = 0xFFFF
    for byte in body:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ 0xA001 if value & 1 else value >> 1
    return value.to_bytes(2, "little")


@dataclass
class Peer:
    """An instrument; `script` may be changed at any time, and is asked anew at each question."""

    speech: Speech
    script: Script = right
    asked: list[int] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def hear(self, buffer: bytearray, write: Callable[[bytes], None], hang_up: Callable[[], None]) -> None:
        def mouth(**said: object) -> Mouth:
            return Mouth(write=write, hang_up=hang_up, **said)  # type: ignore[arg-type]

        while (question := self.speech.split(buffer, mouth)) is not None:
            self.start(question)

    def start(self, question: Mouth) -> None:
        self.asked.append(question.number)
        task = asyncio.ensure_future(self.script(question))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def stop(self) -> None:
        for task in list(self.tasks):
            task.cancel()


class TcpPeer(Peer):
    """An instrument on a TCP port; it stops, and starts serving again on the same port."""

    port = 0
    server: asyncio.Server | None = None

    async def start_serving(self) -> None:
        self.writers: set[asyncio.StreamWriter] = set()
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        try:
            await self.converse(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.writers.discard(writer)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        buffer = bytearray()
        while data := await reader.read(4096):
            buffer += data
            self.hear(buffer, writer.write, writer.close)

    async def stop(self) -> None:
        await super().stop()
        if self.server is not None:
            self.server.close()
            for writer in list(self.writers):
                writer.close()
            await self.server.wait_closed()
            self.server = None
            await asyncio.sleep(0.01)


class PtyPeer(Peer):
    """An instrument on a pseudo-terminal, found by a symlink as in /dev/serial/by-id."""

    path: Path
    master = slave = -1

    async def start_serving(self) -> None:
        self.master, self.slave = pty.openpty()
        tty.setraw(self.slave)
        os.set_blocking(self.master, False)
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(os.ttyname(self.slave))
        self.buffer = bytearray()
        asyncio.get_running_loop().add_reader(self.master, self.read)

    def read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self.buffer += os.read(self.master, 4096)
            self.hear(self.buffer, self.write, self.unplug)

    def write(self, data: bytes) -> None:
        if self.master >= 0:
            os.write(self.master, data)

    def unplug(self) -> None:
        if self.master >= 0:
            asyncio.get_running_loop().remove_reader(self.master)
            os.close(self.slave)
            os.close(self.master)
            self.master = self.slave = -1
            self.path.unlink()

    async def stop(self) -> None:
        await super().stop()
        self.unplug()
