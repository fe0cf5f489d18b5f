"""Every way to write an address, and what is said of the wrong ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.links.address import Address, RtuTcp, Serial, Tcp, Visa, parse


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("/dev/serial/by-id/usb-FTDI_1-if00-port0", Serial("/dev/serial/by-id/usb-FTDI_1-if00-port0")),
        (" /dev/ttyS0 ", Serial("/dev/ttyS0")),
        ("serial:/dev/ttyS0", Serial("/dev/ttyS0")),
        ("serial:///dev/ttyS0", Serial("/dev/ttyS0")),
        ("tcp://balance-1:4001", Tcp("balance-1", 4001)),
        ("tcp://balance-1", Tcp("balance-1", 8001)),
        ("tcp://[fe80::1]:502", Tcp("fe80::1", 502)),
        ("rtu+tcp://10.0.0.7:4002", RtuTcp("10.0.0.7", 4002)),
        ("TCPIP::10.0.0.7::5025::SOCKET", Tcp("10.0.0.7", 5025)),
        ("tcpip0::dmm::5025::socket", Tcp("dmm", 5025)),
        ("TCPIP::[fe80::1]::5025::SOCKET", Tcp("fe80::1", 5025)),
        ("ASRL/dev/ttyUSB0::INSTR", Serial("/dev/ttyUSB0")),
        ("TCPIP::dmm::INSTR", Visa("TCPIP::dmm::INSTR")),
        ("TCPIP::dmm::hislip0::INSTR", Visa("TCPIP::dmm::hislip0::INSTR")),
        ("TCPIP::dmm,1024::inst0::INSTR", Visa("TCPIP::dmm,1024::inst0::INSTR")),
        ("USB0::0x2A8D::0x0101::MY57::INSTR", Visa("USB0::0x2A8D::0x0101::MY57::INSTR")),
        ("GPIB0::22::INSTR", Visa("GPIB0::22::INSTR")),
        ("GPIB::22", Visa("GPIB::22")),
    ],
)
def test_an_address_is_read(text: str, address: Address) -> None:
    assert parse(text, default_port=8001) == address


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", "is no address"),
        ("/dev/tty\0S1", "cannot be printed"),
        ("COM3", "/dev/serial/by-id"),
        ("ttyUSB0", "/dev/serial/by-id"),
        ("10.0.0.7", "tcp://host:port"),
        ("10.0.0.7:5025", "tcp://host:port"),
        ("http://10.0.0.7:80", 'unknown kind "http"'),
        ("tcp://10.0.0.7", "the port is missing"),
        ("tcp://10.0.0.7:0", "the port is missing"),
        ("tcp://10.0.0.7:70000", "1 to 65535"),
        ("tcp://10.0.0.7:x", "1 to 65535"),
        ("tcp://:5025", "tcp://host:port"),
        ("tcp://fe80::1:5025", "brackets"),
        ("tcp://[fe80::1:5025", "brackets"),
        ("tcp://dmm:5025/path", "nothing after it"),
        ("TCPIP::dmm::port::SOCKET", "1 to 65535"),
        ("TCPIP::SOCKET", "no VISA name"),
        ("ASRL1::INSTR", "device of the port"),
        ("GPIB0::INTFC", "names no instrument"),
    ],
)
def test_a_wrong_address_is_told_what_would_be_right(text: str, advice: str) -> None:
    with pytest.raises(ValueError, match=advice):
        parse(text)


@given(st.text(max_size=40) | st.text("TCPIPASRLUSBGPIB:/.[]0123456789", max_size=40))
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    try:
        address = parse(text, default_port=1)
    except ValueError:
        return
    assert parse(str(address)) == address
