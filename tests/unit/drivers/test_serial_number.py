"""Answers that identify nothing are told from serial numbers, and reach the instrument as they were sent."""

from __future__ import annotations

import pytest

from drivers import catalogue
from drivers.serial_number import identifies

NOTHING = (
    *("", " ", "0", "000000", "0-0", "0.0", "-", "---", "?", '"0"', "X", "xxxx", "XXXX-XX", "0X0", "X000", "FFFFFFFF"),
    *("N/A", "n/a", "NA", "N.A.", "n.a.", "NaN", "None", "NONE", "<none>", "null", "nil", "Unknown", "(unknown)"),
    *("undefined", "unset", "not set", "not set.", "not_available", "Not Available", "no serial", "no serial number"),
    *("S/N", "SN", "SN 000", "S/N: 0", "serial number"),
    # A label may stand before each of them, and a form may be empty twice.
    *("SN: N/A", "S/N N/A", "Serial number: unknown", "serial no. none", "No. unset", "#N/A", "SN:FFFFFFFF", "S/N-"),
    *("N/A N/A", "N/A, N/A", "none/none", "unknown 0", "Not Applicable", "not-applicable", "No S/N", "SN: not set"),
    # Memory that was never written, as a number.
    *("-1", "65535", "4294967295", "SN: -1", "S/N=65535", "serial number 4294967295", "0xFFFFFFFF", "ffff"),
)
REAL = (
    *("0037402012", "B123456789", "21-P2460", "MY59012345", "SIM0000001", "SIM-P0004", "41234", "A1234567", "LSA12AB"),
    *("1", "321", "XE1", "N100", "0A1", "X1", "NA1", "SN1", "SN0042", "No17", "NONE7", "FFF1", "F00", "E0"),
    *("SN-1", "SN65535", "No-1", "-12", "65536", "65534", "165535", "4294967296", "N/A1", "SN: 17", "FFF", "Error 7A"),
)


@pytest.mark.parametrize("answer", NOTHING)
def test_identifies_nothing(answer: str) -> None:
    assert not identifies(answer)


@pytest.mark.parametrize("answer", REAL)
def test_is_a_serial_number(answer: str) -> None:
    assert identifies(answer)


@pytest.mark.parametrize(
    ("name", "raw", "shown"),
    [
        ("scpi-dmm", b"HEWLETT-PACKARD,34401A,0,11-5-2\n", "0"),
        ("scpi-dmm", b"ACME,DMM1,N/A,1.0\n", "N/A"),
        ("mt-sics", b'I4 A "000000"\r\n', "000000"),
        ("mt-sics", b'I4 A "Unknown"\r\n', "Unknown"),
        ("sartorius-sbi", b"0\r\n", "0"),
        ("sartorius-sbi", b"0000000000\r\n", "0000000000"),
        ("milli-k", b"Isothermal Technology,milliK,-,4.0.0\r", "-"),
        ("digiquartz", b"*0001SN=0\r\n", "0"),
        ("vaisala-ptu", b"Serial number  : 0\r\n", "0"),
    ],
)
def test_no_driver_makes_something_else_of_it(name: str, raw: bytes, shown: str) -> None:
    """Instrument refuses it then, with the way out; a driver that took another field would identify all alike."""
    identity = catalogue.factory(name)().identity
    assert identity is not None
    assert identity.decode(raw) == shown
    assert not identifies(shown)
