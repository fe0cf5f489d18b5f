"""Reads VISA resource names with pyvisa's own parser."""

from __future__ import annotations

import re

from pyvisa import rname

_CLASSES = {"INSTR", "SOCKET", "RAW", "INTFC"}
_SOCKET_IPV6 = re.compile(r"TCPIP\d*::\[(?P<host>[^\]]+)\]::(?P<port>\d+)::SOCKET", re.IGNORECASE)


def parse_visa_name(text: str) -> tuple[str, ...]:
    """Give ("SOCKET", host, port), ("ASRL", device) or ("MESSAGES",); ValueError for all other names."""
    if match := _SOCKET_IPV6.fullmatch(text):  # pyvisa splits at every "::", also inside an IPv6 address
        return "SOCKET", match["host"], match["port"]
    head, separator, last = text.rpartition("::")
    if separator and last.upper() in _CLASSES:
        text = f"{head}::{last.upper()}"  # pyvisa knows the classes in capitals only
    try:
        name = rname.parse_resource_name(text)
    except rname.InvalidResourceName as error:
        raise ValueError(f'"{text}" is no VISA name: {error}') from None
    match name:
        case rname.TCPIPSocket():
            return "SOCKET", name.host_address, name.port
        case rname.ASRLInstr():
            return "ASRL", name.board
        case rname.TCPIPInstr() | rname.USBInstr() | rname.USBRaw() | rname.GPIBInstr() | rname.VICPInstr():
            return ("MESSAGES",)
        case _:
            raise ValueError(f'"{text}" names no instrument that answers messages; use INSTR or SOCKET')


def host_of(text: str) -> str | None:
    """Give the host of a VISA name; None where it has none, or an IPv6 address, which pyvisa cuts at its colons."""
    try:
        name = rname.parse_resource_name(text)
    except rname.InvalidResourceName:
        return None
    if isinstance(name, rname.TCPIPInstr | rname.VICPInstr) and not name.host_address.startswith("["):
        return name.host_address.partition(",")[0]  # behind the comma stands a port
    return None


def outlives_its_session(text: str) -> bool:
    """Whether an answer may wait in the instrument for the next session: GPIB and USB-TMC know no connection.

    Neither does an instrument behind a gateway that speaks VXI-11 ("TCPIP::gateway::gpib0,5::INSTR"; others say
    "hpib,9" or "COM1,488"): only `inst0` and `hislip0` are the instrument itself.
    """
    try:
        name = rname.parse_resource_name(text)
    except rname.InvalidResourceName:
        return False  # it cannot be opened
    if isinstance(name, rname.TCPIPInstr):
        return not name.lan_device_name.lower().startswith(("inst", "hislip"))
    return isinstance(name, rname.USBInstr | rname.USBRaw | rname.GPIBInstr)
