"""Opens serial ports and TCP connections; the only importer of pyserial, and only for opening."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import termios
from dataclasses import replace
from typing import TYPE_CHECKING

import serial

from drivers.errors import Lost
from drivers.links.connection import Connection

if TYPE_CHECKING:
    from drivers.driver import SerialLine

log = logging.getLogger(__name__)
_DEAD_PEER_MS = 10_000


async def open_tcp(host: str, port: int, name: str, within: float) -> Connection:
    """Connect; Lost where the connection is refused or takes longer than `within` seconds."""
    try:
        async with asyncio.timeout(within):
            return Connection(await _connect(host, port), name)
    except TimeoutError:
        raise Lost(f"{name}: no connection within {within:g} s") from None
    except OSError as error:  # socket.gaierror, an unknown host, is one, too
        raise Lost(f"{name}: {error.strerror or error}") from None


async def _connect(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:  # a name: looked up in a thread, it may take seconds
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    failure: OSError = OSError("unknown host")
    for family, kind, protocol, _, address in found:
        wire = socket.socket(family, kind, protocol)
        try:
            wire.setblocking(False)
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # A peer that lost its power acknowledges nothing; without this the kernel repeats a question for
            # 15 minutes.
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_PEER_MS)
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            await loop.sock_connect(wire, address)
        except OSError as error:
            wire.close()
            failure = error
        except BaseException:
            wire.close()
            raise
        else:
            return wire
    raise failure


async def open_serial(path: str, line: SerialLine, name: str) -> Connection:
    """Open a serial port exclusively; Lost where it is missing, in use, or cannot be set."""
    line = on_this_port(path, line)
    try:
        port = serial.Serial(
            path,
            baudrate=line.baud,
            bytesize=line.bits,
            parity=line.parity,
            stopbits=line.stop,
            xonxoff=line.flow == "xonxoff",
            rtscts=line.flow == "rtscts",
            timeout=0,
            exclusive=True,
        )
    except (serial.SerialException, OSError) as error:
        raise Lost(f"{name}: {_why(error)}") from None
    except (ValueError, termios.error) as error:  # pyserial passes on termios.error, which is no OSError
        raise Lost(f"{name}: the port does not take {line}: {error}") from None
    try:
        _prepare(port)
        return Connection(port, name)
    except (OSError, termios.error) as error:
        port.close()
        raise Lost(f"{name}: {error}") from None


def on_this_port(path: str, line: SerialLine) -> SerialLine:
    """Give the setting that the port can take: a pseudo-terminal refuses parity and seven bits."""
    if not os.path.realpath(path).startswith("/dev/pts/") or (line.bits, line.parity) == (8, "N"):
        return line
    if path not in _downgraded:
        _downgraded.add(path)
        log.info("%s is a pseudo-terminal: opened as 8N1 instead of %s", path, line)
    return replace(line, bits=8, parity="N", stop=1)


_downgraded: set[str] = set()


def _prepare(port: serial.Serial) -> None:
    # pyserial sets VMIN=0, which makes an idle port read as b"", the same as an unplugged one.
    fd = port.fileno()
    settings = termios.tcgetattr(fd)
    settings[6][termios.VMIN] = 1
    termios.tcsetattr(fd, termios.TCSANOW, settings)
    # USB adapters hold received bytes for 16 ms by default; ports without this setting refuse it.
    with contextlib.suppress(ValueError):
        port.set_low_latency_mode(True)
    termios.tcflush(fd, termios.TCIOFLUSH)


def _why(error: OSError) -> str:
    match error.errno:
        case 2:
            return "there is no such port"
        case 11 | 16:
            return "the port is in use by another program"
        case 13:
            return "no permission; the user must be in the group of the port, mostly dialout"
        case _:
            return error.strerror or str(error)
