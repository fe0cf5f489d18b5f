"""Parses the address of an instrument in a config; no I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import urlsplit

from drivers.links.visa_names import parse_visa_name

HELP = (
    'write "/dev/serial/by-id/…" for a serial port, "tcp://host:port", "rtu+tcp://host:port" '
    '(Modbus RTU through a terminal server), or a VISA name such as "TCPIP::host::hislip0::INSTR"'
)
_VISA = re.compile(r"(TCPIP|ASRL|USB|GPIB|PRLGX|VXI|PXI|VICP)[^:]*::", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Serial:
    """A serial port by the path of its device."""

    path: str

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True)
class Tcp:
    """A TCP port: an instrument, a terminal server, or a Modbus TCP server."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"tcp://{_bracketed(self.host)}:{self.port}"


@dataclass(frozen=True, slots=True)
class RtuTcp:
    """A TCP port that carries the frames of Modbus RTU as they are on a serial line."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"rtu+tcp://{_bracketed(self.host)}:{self.port}"


@dataclass(frozen=True, slots=True)
class Visa:
    """A VISA resource with separate messages: VXI-11, HiSLIP, USB-TMC or GPIB."""

    name: str

    def __str__(self) -> str:
        return self.name


Address: TypeAlias = Serial | Tcp | RtuTcp | Visa


def parse(text: str, default_port: int | None = None) -> Address:
    """Read one address; `default_port` is the usual TCP port of the command set.

    ValueError says what would be right.
    """
    text = text.strip()
    if not text.isprintable():
        raise ValueError(f"{text!r} is no address: it has characters that cannot be printed; {HELP}")
    if text.startswith("/"):
        return Serial(text)
    scheme, separator, rest = text.partition(":")
    if separator and scheme.lower() == "serial" and rest.startswith("/"):
        return Serial("/" + rest.lstrip("/"))
    if "://" in text:
        return _url(text, default_port)
    if _VISA.match(text):
        return _visa(text)
    raise ValueError(f'"{text}" is no address; {HELP}')


def _url(text: str, default_port: int | None) -> Tcp | RtuTcp:
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError(f'"{text}": write an IPv6 host in brackets, as in tcp://[fe80::1]:5025') from None
    kinds: dict[str, type[Tcp | RtuTcp]] = {"tcp": Tcp, "rtu+tcp": RtuTcp}
    if parts.scheme not in kinds:
        raise ValueError(f'"{text}": unknown kind "{parts.scheme}"; {HELP}')
    try:
        port = parts.port
    except ValueError:
        wrong = "the port must be a number from 1 to 65535, and an IPv6 host stand in brackets"
        raise ValueError(f'"{text}": {wrong}') from None
    port = default_port if port is None else port
    if not parts.hostname or parts.username is not None or parts.path not in {"", "/"} or parts.query:
        raise ValueError(f'"{text}": write {parts.scheme}://host:port, an IPv6 host in brackets, and nothing after it')
    if not port:
        raise ValueError(f'"{text}": the port is missing; write {parts.scheme}://{parts.hostname}:PORT')
    return kinds[parts.scheme](parts.hostname, port)


def _visa(text: str) -> Address:
    # pyvisa-py's own SOCKET and ASRL read a late answer as the next one, hide a refused connection and use all
    # processor time when the peer closes; so these two always use our own streams, with every VISA library.
    name = parse_visa_name(text)
    match name:
        case ("SOCKET", host, port):
            if not port.isdecimal() or not 0 < int(port) < 65536:
                raise ValueError(f'"{text}": the port must be a number from 1 to 65535')
            return Tcp(host, int(port))
        case ("ASRL", path):
            if not path.startswith("/"):
                raise ValueError(f'"{text}": write the device of the port, as in "ASRL/dev/serial/by-id/…::INSTR"')
            return Serial(path)
        case _:
            return Visa(text)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
