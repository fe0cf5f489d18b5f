"""Which instruments may share a wire, and what is said of those that may not."""

from __future__ import annotations

import os
import pty
from typing import TYPE_CHECKING, Any

import pytest

from drivers.driver import Channel, Driver, Poll, Query, Registers, SerialLine, Text
from drivers.links import Wires
from drivers.links.modbus import ModbusUnit
from drivers.links.opening import on_this_port
from drivers.links.stream import StreamLink
from drivers.links.visa import VisaLink

if TYPE_CHECKING:
    from pathlib import Path


def driver(query: Query) -> Driver[Any]:
    poll: Poll[Any] = Poll(query, (Channel("value", "voltage", "V"),), lambda _: ())
    return Driver("a test instrument", (poll,))


Wanted = tuple[str, Driver[Any], dict[str, Any]]
TEXT = driver(Text(b"READ\r\n"))
MODBUS = driver(Registers(0, 2))


def test_the_kind_of_link_follows_from_driver_and_address() -> None:
    wires = Wires()
    assert isinstance(wires.link("/dev/ttyS8", TEXT), StreamLink)
    assert isinstance(wires.link("TCPIP::dmm::5025::SOCKET", TEXT), StreamLink)
    assert isinstance(wires.link("TCPIP::dmm::INSTR", TEXT), VisaLink)
    assert isinstance(wires.link("tcp://keller:502", MODBUS, unit=1), ModbusUnit)
    assert isinstance(wires.link("/dev/ttyS9", MODBUS, unit=1), ModbusUnit)
    assert isinstance(wires.link("ASRL/dev/ttyS9::INSTR", MODBUS, unit=2), ModbusUnit)
    assert isinstance(wires.link("rtu+tcp://server:4001", MODBUS, unit=1), ModbusUnit)


def test_one_port_is_one_wire_by_whatever_name(tmp_path: Path) -> None:
    by_id = tmp_path / "usb-FTDI"
    by_id.symlink_to("/dev/ttyS9")
    wires = Wires()
    first: Any = wires.link("/dev/ttyS9", TEXT)
    second: Any = wires.link(str(by_id), TEXT)
    assert first._wire is second._wire


async def test_a_port_that_was_plugged_in_elsewhere_is_a_wire_of_its_own(tmp_path: Path) -> None:
    names = [tmp_path / "usb-one", tmp_path / "usb-two"]
    wires = Wires()
    for name, port in zip(names, ("/dev/ttyS8", "/dev/ttyS9"), strict=True):
        name.symlink_to(port)
    first: Any = wires.link(str(names[0]), TEXT)
    second: Any = wires.link(str(names[1]), TEXT)
    for name, port in zip(names, ("/dev/ttyS9", "/dev/ttyS8"), strict=True):
        name.unlink()
        name.symlink_to(port)
    await wires.give_back(second)  # as a reload of its config does
    again: Any = wires.link(str(names[1]), TEXT)
    assert again._wire is not first._wire
    assert again._wire.name == str(names[1])


@pytest.mark.parametrize(
    ("first", "second", "advice"),
    [
        (("/dev/ttyS9", TEXT, {}), ("/dev/ttyS9", TEXT, {"line": SerialLine(19200)}), "9600 8N1 and 19200 8N1"),
        (("/dev/ttyS9", TEXT, {}), ("/dev/ttyS9", TEXT, {"echo": True}), "9600 8N1 with echo"),
        (("/dev/ttyS9", TEXT, {}), ("/dev/ttyS9", MODBUS, {"unit": 1}), "use two ports"),
        (("tcp://h:1", MODBUS, {"unit": 1}), ("rtu+tcp://H:1", MODBUS, {"unit": 2}), "use two ports"),
        (
            ("tcp://h:1", MODBUS, {"unit": 1}),
            ("tcp://h:1", MODBUS, {"unit": 1}),
            "another instrument already",
        ),
        (("GPIB0::5", TEXT, {}), ("gpib0::5", TEXT, {}), "one instrument only"),
    ],
)
def test_who_may_not_share(
    first: tuple[str, Driver[Any], dict[str, Any]],
    second: tuple[str, Driver[Any], dict[str, Any]],
    advice: str,
) -> None:
    wires = Wires()
    wires.link(first[0], first[1], **first[2])
    with pytest.raises(ValueError, match=advice):
        wires.link(second[0], second[1], **second[2])


@pytest.mark.parametrize(
    ("address", "instrument", "options", "advice"),
    [
        ("tcp://h:502", MODBUS, {}, "needs the unit address"),
        ("tcp://h:502", MODBUS, {"unit": 256}, "needs the unit address"),
        ("/dev/ttyS9", TEXT, {"unit": 1}, "for Modbus only"),
        ("GPIB0::5", TEXT, {"unit": 1}, "for Modbus only"),
        ("GPIB0::5", MODBUS, {"unit": 1}, "does not run over VISA"),
        ("rtu+tcp://h:1", TEXT, {}, "speaks text"),
    ],
)
def test_what_cannot_be_linked(address: str, instrument: Driver[Any], options: dict[str, Any], advice: str) -> None:
    with pytest.raises(ValueError, match=advice):
        Wires().link(address, instrument, **options)


def test_a_driver_speaks_one_language() -> None:
    mixed = Driver("two tongues", TEXT.polls + MODBUS.polls)
    with pytest.raises(ValueError, match="either text or Modbus"):
        Wires().link("/dev/ttyS9", mixed)


def test_only_a_pseudo_terminal_is_spared_its_parity() -> None:
    master, slave = pty.openpty()
    name = os.ttyname(slave)
    assert on_this_port(name, SerialLine(4800, 7, "E", 1, "xonxoff")) == SerialLine(4800, 8, "N", 1, "xonxoff")
    assert on_this_port("/dev/ttyS9", SerialLine(4800, 7, "E")) == SerialLine(4800, 7, "E")
    os.close(slave)
    os.close(master)


def test_what_could_not_be_linked_leaves_nothing_behind() -> None:
    wires = Wires()
    with pytest.raises(ValueError, match="needs the unit address"):
        wires.link("tcp://h:1", MODBUS)
    wires.link("tcp://h:1", TEXT)
    with pytest.raises(ValueError, match="use two ports"):
        wires.link("tcp://h:1", MODBUS, unit=1)


def test_eight_hundred_serial_ports_are_linked_without_holding_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each name is resolved a few times, and not once for each of the others."""
    real, resolved = os.path.realpath, 0

    def realpath(path: str) -> str:
        nonlocal resolved
        resolved += 1
        return real(path)

    monkeypatch.setattr("drivers.links.wires.os.path.realpath", realpath)
    wires = Wires()
    for number in range(800):
        name = tmp_path / f"usb-{number}"
        name.symlink_to(f"/dev/ttyS{number}")
        wires.link(str(name), TEXT)
    assert resolved < 800 * 10
