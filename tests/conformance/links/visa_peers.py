"""Instruments on HiSLIP (IVI-6.1) and VXI-11 1.0 (RPC of RFC 1057): as little of both as a question needs."""

from __future__ import annotations

import asyncio
import struct
from functools import cached_property

from drivers.driver import Query, Text
from tests.conformance.links.peers import Lines, Mouth, TcpPeer

INITIALIZE, INITIALIZE_RESPONSE, DATA, DATA_END = 0, 1, 6, 7
ASYNC_MAX_SIZE, ASYNC_MAX_SIZE_RESPONSE, ASYNC_INITIALIZE, ASYNC_INITIALIZE_RESPONSE = 15, 16, 17, 18
CREATE_LINK, DEVICE_WRITE, DEVICE_READ, DESTROY_LINK = 10, 11, 12, 23
IO_TIMEOUT = 15


class Messages(Lines):
    """The same words, ended by a newline."""

    def question(self, number: int, timeout: float) -> Query:
        return Text(b"READ %d\n" % number, b"\n", timeout)

    def expected(self, number: int) -> bytes:
        return b"VALUE %d of %d\n" % (number, number)


class HislipPeer(TcpPeer):
    """A HiSLIP instrument."""

    def resource(self) -> str:
        return f"TCPIP::127.0.0.1::hislip0,{self.port}::INSTR"

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            header = await reader.readexactly(16)
            _, kind, _, parameter, length = struct.unpack("!2sBBIQ", header)
            payload = await reader.readexactly(length)
            if kind == INITIALIZE:
                writer.write(_hislip(INITIALIZE_RESPONSE, 0x01000001))
            elif kind == ASYNC_INITIALIZE:
                writer.write(_hislip(ASYNC_INITIALIZE_RESPONSE, 0))
            elif kind == ASYNC_MAX_SIZE:
                writer.write(_hislip(ASYNC_MAX_SIZE_RESPONSE, 0, payload))
            elif kind in {DATA, DATA_END}:
                self.start(self._mouth(payload, parameter, writer))

    def _mouth(self, request: bytes, message: int, writer: asyncio.StreamWriter) -> Mouth:
        def frame(number: int) -> bytes:
            return _hislip(DATA_END, message, self.speech.expected(number))

        return Mouth(int(request.split()[-1]), request, writer.write, writer.close, frame)


def _hislip(kind: int, parameter: int, payload: bytes = b"") -> bytes:
    return struct.pack("!2sBBIQ", b"HS", kind, 0, parameter, len(payload)) + payload


class Vxi11Peer(TcpPeer):
    """A VXI-11 instrument on its own port, without a portmapper; one output queue for all sessions."""

    @cached_property
    def said(self) -> asyncio.Queue[bytes]:
        return asyncio.Queue()

    def resource(self) -> str:
        return f"TCPIP::127.0.0.1,{self.port}::inst0::INSTR"

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        call = b""
        said = self.said

        def frame(number: int) -> bytes:
            text = self.speech.expected(number)
            return struct.pack(">iiI", 0, 4, len(text)) + text + bytes(-len(text) % 4)

        while True:
            size = int.from_bytes(await reader.readexactly(4), "big") & 0x7FFFFFFF
            call = await reader.readexactly(size)
            number, procedure, body = call[:4], int.from_bytes(call[20:24], "big"), call[40:]
            head = number + struct.pack(">iiiii", 1, 0, 0, 0, 0)
            if procedure == CREATE_LINK:
                _record(writer, head + struct.pack(">iiII", 0, 1, 0, 4096))
            elif procedure == DEVICE_WRITE:
                length = int.from_bytes(body[16:20], "big")
                text = body[20 : 20 + length]
                while not said.empty():
                    said.get_nowait()
                _record(writer, head + struct.pack(">iI", 0, length))
                self.start(Mouth(int(text.split()[-1]), text, said.put_nowait, writer.close, frame))
            elif procedure == DEVICE_READ:
                seconds = int.from_bytes(body[8:12], "big") / 1000
                try:
                    answer = await asyncio.wait_for(said.get(), seconds)
                    _record(writer, head + answer)
                except TimeoutError:
                    _record(writer, head + struct.pack(">iiI", IO_TIMEOUT, 0, 0))
            elif procedure == DESTROY_LINK:
                _record(writer, head + struct.pack(">i", 0))


def _record(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write((0x80000000 | len(data)).to_bytes(4, "big") + data)
