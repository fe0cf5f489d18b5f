"""Modbus frames against the examples of the specification and of manuals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.driver import Registers
from drivers.errors import Unreadable
from drivers.links.modbus_frames import RtuFrame, TcpFrame


def test_the_request_of_the_specification() -> None:
    """MODBUS Application Protocol V1.1b3, 6.3: read holding registers 108 to 110."""
    frame = TcpFrame(17, Registers(107, 3))
    assert frame.next()[2:] == bytes.fromhex("0000 0006 11 03 006B 0003")
    assert RtuFrame(17, Registers(107, 3)).next() == bytes.fromhex("11 03 006B 0003 7687")


def test_the_answer_of_the_specification() -> None:
    frame = TcpFrame(17, Registers(107, 3))
    answer = frame.next()[:2] + bytes.fromhex("0000 0009 11 03 06 022B 0000 0064")
    assert frame.measure(bytearray(answer)) == len(answer)
    assert frame.payload(answer) == bytes.fromhex("022B 0000 0064")


def test_a_late_answer_is_left_out_by_its_number() -> None:
    frame = TcpFrame(1, Registers(0, 1))
    rest = bytes.fromhex("0000 0005 01 03 02")
    late = frame.next()[:2] + rest + b"\x11\x11"
    answer = frame.next()[:2] + rest + b"\x22\x22"
    buffer = bytearray(late + answer)
    assert frame.measure(buffer) == len(answer)
    assert frame.payload(bytes(buffer)) == b"\x22\x22"


@pytest.mark.parametrize("frame", [TcpFrame(1, Registers(0, 2)), RtuFrame(1, Registers(0, 2))])
def test_too_many_registers_are_refused(frame: TcpFrame) -> None:
    with pytest.raises(ValueError, match="count"):
        type(frame)(1, Registers(0, 126))


@given(st.binary(max_size=40))
def test_no_bytes_pass_for_an_answer_without_their_checksum(noise: bytes) -> None:
    frame = RtuFrame(1, Registers(0, 2, "input"))
    buffer = bytearray(noise)
    try:
        length = frame.measure(buffer)
    except Unreadable:
        return
    assert length == 0


@given(st.binary(max_size=40))
def test_no_bytes_pass_for_a_numbered_answer(noise: bytes) -> None:
    frame = TcpFrame(1, Registers(0, 2))
    number = frame.next()[:2]
    buffer = bytearray(noise)
    try:
        length = frame.measure(buffer)
    except Unreadable:
        return
    assert length == 0 or bytes(buffer[:9]) == number + bytes.fromhex("0000 0007 01 03 04")
