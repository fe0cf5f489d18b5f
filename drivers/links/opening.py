"""Opens serial ports and TCP connections; the only importer of pyserial, and only for opening."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import termios
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import serial

from drivers.errors import Lost
from drivers.links.connection import Connection
from drivers.links.lookup import look_up
from drivers.links.parity import Marks, mark_changed_bytes

if TYPE_CHECKING:
    from drivers.driver import SerialLine

log = logging.getLogger(__name__)
_DEAD_PEER_MS = 10_000


async def open_tcp(host: str, port: int, name: str, within: float) -> Connection:
    """Connect; Lost where the connection is refused or takes longer than `within` seconds."""
    try:
        async with asyncio.timeout(within):
            return Connection(await _connect(host, port, time.monotonic() + within), name)
    except TimeoutError:
        raise Lost(f"{name}: no connection within {within:g} s") from None
    except UnicodeError as error:
        raise Lost(f'{name}: "{host}" is no name of a host: {error}') from None
    except OSError as error:  # socket.gaierror, an unknown host, is one, too
        raise Lost(f"{name}: {_why_not(error)}") from None


async def _connect(host: str, port: int, deadline: float) -> socket.socket:
    """Try one address after the other: one that does not answer leaves the others their part of the time."""
    loop = asyncio.get_running_loop()
    found = await look_up(host, port)
    failure: OSError = OSError("unknown host")
    for place, (family, kind, protocol, _, address) in enumerate(found):
        try:
            wire = socket.socket(family, kind, protocol)
        except OSError as error:  # a kind of address that this machine does not have
            failure = error
            continue
        try:
            wire.setblocking(False)
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # A peer that lost its power acknowledges nothing; without this the kernel repeats a question for
            # 15 minutes.
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_PEER_MS)
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
            part = (deadline - time.monotonic()) / (len(found) - place)
            async with asyncio.timeout(part):
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


class _Port:
    """A descriptor of a serial port; pyserial would keep four more, for threads that nobody uses here."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


async def open_serial(path: str, line: SerialLine, name: str, *, text: bool = False) -> Connection:
    """Open a serial port exclusively; Lost where it is missing, in use, or cannot be set.

    On a line of `text` with parity, bytes that the line changed are marked: nothing else guards them.
    """
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
    marked = text and line.parity != "N"
    try:
        _prepare(port, marked=marked)
        kept = _Port(os.dup(port.fileno()))  # the lock belongs to both
        try:
            return Connection(kept, name, Marks() if marked else None)
        except BaseException:
            kept.close()
            raise
    except (OSError, termios.error) as error:
        why = _why_not(error) if isinstance(error, OSError) else error
        raise Lost(f"{name}: {why}") from None
    finally:
        port.close()


def on_this_port(path: str, line: SerialLine) -> SerialLine:
    """Give the setting that the port can take: a pseudo-terminal refuses parity and seven bits."""
    if not os.path.realpath(path).startswith("/dev/pts/") or (line.bits, line.parity) == (8, "N"):
        return line
    if path not in _downgraded:
        _downgraded.add(path)
        log.info("%s is a pseudo-terminal: opened as 8N1 instead of %s", path, line)
    return replace(line, bits=8, parity="N", stop=1)


_downgraded: set[str] = set()


def _prepare(port: serial.Serial, *, marked: bool) -> None:
    # pyserial sets VMIN=0, which makes an idle port read as b"", the same as an unplugged one. HUPCL would let DTR
    # fall when the port is closed and rise when it is opened again: some instruments start anew at that.
    fd = port.fileno()
    settings = termios.tcgetattr(fd)
    settings[6][termios.VMIN] = 1
    settings[2] &= ~termios.HUPCL
    termios.tcsetattr(fd, termios.TCSANOW, settings)
    if marked:
        mark_changed_bytes(fd)
    # USB adapters hold received bytes for 16 ms by default; ports without this setting refuse it.
    with contextlib.suppress(ValueError):
        port.set_low_latency_mode(True)
    termios.tcflush(fd, termios.TCIOFLUSH)


def _why(error: OSError) -> str:
    match error.errno:
        case errno.ENOENT:
            return "there is no such port"
        case errno.EAGAIN | errno.EBUSY:
            return "the port is in use by another program"
        case errno.EACCES:
            return "no permission; the user must be in the group of the port, mostly dialout"
        case _:
            return _why_not(error)


def _why_not(error: OSError) -> str:
    """Say why something was not opened; a process without free descriptors is told how to have more."""
    out_of_files = error.errno in {errno.EMFILE, errno.ENFILE}
    if out_of_files or (isinstance(error, socket.gaierror) and not _a_descriptor_is_free()):
        return "this process may open no more files: raise LimitNOFILE= of its systemd unit, or ulimit -n"
    return error.strerror or str(error)


def _a_descriptor_is_free() -> bool:
    # A look-up that gets no socket says only that the name is unknown.
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return False
    return True
