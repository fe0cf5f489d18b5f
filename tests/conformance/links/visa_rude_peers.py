"""Instruments on HiSLIP and VXI-11 that do what no instrument should, as a program of its own.

In a process of its own a flood costs the tested one only what it reads. It is started with the protocol as argument,
prints its port, and then reads from its standard input, line by line, how it behaves from now on.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

INITIALIZE, INITIALIZE_RESPONSE, DATA, DATA_END = 0, 1, 6, 7
ASYNC_MAX_SIZE, ASYNC_MAX_SIZE_RESPONSE, ASYNC_INITIALIZE, ASYNC_INITIALIZE_RESPONSE = 15, 16, 17, 18
CREATE_LINK, DEVICE_WRITE, DEVICE_READ, DESTROY_LINK = 10, 11, 12, 23
MEBIBYTE = 1 << 20
STALE = 5  # messages of another question before the right one

behaviour = "right"


def exactly(wire: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = wire.recv(size - len(data))
        if not piece:
            raise ConnectionError
        data += piece
    return data


def for_ever(wire: socket.socket, data: bytes) -> None:
    while True:
        wire.sendall(data)


def drip(wire: socket.socket, data: bytes) -> None:
    for at in range(len(data)):
        wire.sendall(data[at : at + 1])
        time.sleep(0.05)
    silence(wire)


def silence(wire: socket.socket) -> None:
    while wire.recv(4096):
        pass


def message(kind: int, parameter: int, payload: bytes = b"", claimed: int | None = None) -> bytes:
    return struct.pack("!2sBBIQ", b"HS", kind, 0, parameter, len(payload) if claimed is None else claimed) + payload


def fragment(data: bytes, *, last: bool = False, claimed: int | None = None) -> bytes:
    return (last << 31 | (len(data) if claimed is None else claimed)).to_bytes(4, "big") + data


def answer_to(question: bytes) -> bytes:
    number = int(question.split()[-1])
    return b"VALUE %d of %d\n" % (number, number)


def hislip(wire: socket.socket) -> None:
    while True:
        _, kind, _, parameter, length = struct.unpack("!2sBBIQ", exactly(wire, 16))
        payload = exactly(wire, length)
        if kind == INITIALIZE:
            greet(
                wire, message(INITIALIZE_RESPONSE, 0x01000001), message(DATA, 0), message(2, 0, claimed=2000 * MEBIBYTE)
            )
        elif kind == ASYNC_INITIALIZE and behaviour == "is silent on its second channel":
            silence(wire)
        elif kind == ASYNC_INITIALIZE:
            wire.sendall(message(ASYNC_INITIALIZE_RESPONSE, 0))
        elif kind == ASYNC_MAX_SIZE:
            most = struct.pack("!Q", 0) if behaviour == "takes 0 bytes" else payload
            wire.sendall(message(ASYNC_MAX_SIZE_RESPONSE, 0, most))
        elif kind == DATA_END:
            answer_hislip(wire, parameter, answer_to(payload))


def answer_hislip(wire: socket.socket, question: int, answer: bytes) -> None:
    other = (question - 2) & 0xFFFFFFFF
    match behaviour:
        case "drips":
            drip(wire, message(DATA_END, question, bytes(60000)))
        case "answers another question":
            for_ever(wire, message(DATA_END, other, b"VALUE 9 of 9\n"))
        case "answers an earlier question first":
            wire.sendall(STALE * message(DATA_END, other, b"VALUE 9 of 9\n") + message(DATA_END, question, answer))
        case "sends fragments without end":
            for_ever(wire, message(DATA, question, bytes(60000)))
        case "sends empty fragments without end":
            for_ever(wire, 1000 * message(DATA, question))
        case "claims 2000 MiB":
            for_ever(wire, message(DATA_END, question, bytes(MEBIBYTE), 2000 * MEBIBYTE))
        case "claims 2000 MiB for another question":
            for_ever(wire, message(DATA_END, other, bytes(MEBIBYTE), 2000 * MEBIBYTE))
        case "is silent":
            pass
        case _:
            wire.sendall(message(DATA_END, question, answer))


def vxi11(wire: socket.socket) -> None:
    said = b""
    while True:
        size = int.from_bytes(exactly(wire, 4), "big") & 0x7FFFFFFF
        call = exactly(wire, size)
        number, procedure, body = call[:4], int.from_bytes(call[20:24], "big"), call[40:]
        head = number + struct.pack(">iiiii", 1, 0, 0, 0, 0)
        if procedure == CREATE_LINK:
            most = 0 if behaviour == "takes 0 bytes" else 4096
            greeting = fragment(head + struct.pack(">iiII", 0, 1, 0, most), last=True)
            greet(wire, greeting, fragment(b""), fragment(b"", last=True, claimed=2000 * MEBIBYTE))
        elif procedure == DEVICE_WRITE:
            length = int.from_bytes(body[16:20], "big")
            said = answer_to(body[20 : 20 + length])
            wire.sendall(fragment(head + struct.pack(">iI", 0, length), last=True))
        elif procedure == DEVICE_READ:
            answer_vxi11(wire, head, said)
        elif procedure == DESTROY_LINK:
            wire.sendall(fragment(head + struct.pack(">i", 0), last=True))


def answer_vxi11(wire: socket.socket, head: bytes, answer: bytes) -> None:
    def read(data: bytes) -> bytes:
        return struct.pack(">iiI", 0, 4, len(data)) + data + bytes(-len(data) % 4)

    stale = fragment(bytes(4) + head[4:] + read(b"VALUE 9 of 9\n"), last=True)
    match behaviour:
        case "drips":
            drip(wire, fragment(head + read(bytes(60000)), last=True))
        case "answers another question":
            for_ever(wire, stale)
        case "answers an earlier question first":
            wire.sendall(STALE * stale + fragment(head + read(answer), last=True))
        case "sends fragments without end":
            for_ever(wire, fragment(bytes(60000)))
        case "sends empty fragments without end":
            for_ever(wire, 1000 * fragment(b""))
        case "claims 2000 MiB" | "claims 2000 MiB for another question":
            for_ever(wire, fragment(bytes(MEBIBYTE), claimed=2000 * MEBIBYTE))
        case "is silent":
            pass
        case _:
            wire.sendall(fragment(head + read(answer), last=True))


def greet(wire: socket.socket, greeting: bytes, rubbish: bytes, claim: bytes) -> None:
    match behaviour:
        case "says nothing":
            silence(wire)
        case "drips its greeting":
            drip(wire, greeting + bytes(1000))
        case "floods the opening":
            for_ever(wire, 1000 * rubbish)
        case "claims 2000 MiB at the opening":
            for_ever(wire, claim + bytes(MEBIBYTE))
        case _:
            wire.sendall(greeting)


def serve(wire: socket.socket, converse: Callable[[socket.socket], None]) -> None:
    with contextlib.suppress(OSError), wire:
        converse(wire)


def say(what: object) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def main() -> None:
    global behaviour  # noqa: PLW0603  # read by the threads of all connections
    converse = {"hislip": hislip, "vxi-11": vxi11}[sys.argv[1]]
    server = socket.create_server(("127.0.0.1", 0))
    say(server.getsockname()[1])

    def accept() -> None:
        while True:
            wire, _ = server.accept()
            threading.Thread(target=serve, args=(wire, converse), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    for line in sys.stdin:
        behaviour = line.strip()
        say("yes")


if __name__ == "__main__":
    main()
