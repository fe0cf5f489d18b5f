"""Modbus frames against the examples of the specification and of manuals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.driver import Registers
from drivers.errors import Unreadable
from drivers.links.modbus_frames import RtuFrame, TcpFrame
from tests.conformance.links.peers import crc


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


def framed(body: str) -> bytes:
    from pymodbus.framer import FramerRTU

    raw = bytes.fromhex(body)
    return raw + FramerRTU.compute_CRC(raw).to_bytes(2, "big")


ANSWER = framed("01 03 04 0102 0304")


@pytest.mark.parametrize(
    ("before", "behind", "rubbish"),
    [
        (b"", b"", 0),
        (b"\0", b"\0\0\0", 4),
        (b"\0\xff\x7f", b"", 3),
        (framed("02 03 02 1111"), b"", 0),
        (framed("02 03 02 1111") + b"\0", b"\0", 2),
        (b"", framed("02 03 02 1111"), 0),
        (b"\0\x02\x03\x02", b"", 4),
    ],
)
def test_the_frame_inside_rubbish_is_found_however_it_is_cut(before: bytes, behind: bytes, rubbish: int) -> None:
    whole = before + ANSWER + behind
    for cut in range(len(whole)):
        counted: list[int] = []
        frame = RtuFrame(1, Registers(0, 2), rubbish=counted.append)
        buffer = bytearray(whole[:cut])
        length = frame.measure(buffer)
        if not length:
            buffer += whole[cut:]
            length = frame.measure(buffer)
            assert sum(counted) == rubbish
        assert length == len(buffer)
        assert frame.payload(bytes(buffer)) == bytes.fromhex("0102 0304")


@pytest.mark.parametrize("behind", [b"\x01", b"\0\x01\x03", ANSWER, b"\0" * 40])
def test_what_may_be_another_answer_is_no_rubbish(behind: bytes) -> None:
    buffer = bytearray(ANSWER + behind)
    length = RtuFrame(1, Registers(0, 2)).measure(buffer)
    assert 0 < length < len(buffer)


@pytest.mark.parametrize("before", [b"\x01\x03", ANSWER[:4], b"\0" * 33])
def test_half_an_answer_before_it_is_no_rubbish(before: bytes) -> None:
    buffer = bytearray(before + ANSWER)
    with pytest.raises(Unreadable):
        RtuFrame(1, Registers(0, 2)).measure(buffer)


def test_a_late_answer_is_known_by_its_length() -> None:
    late: list[object] = []

    def overheard(unit: int, form: object, length: int) -> bool:
        late.append((unit, form, length))
        return form == (3, 2)

    frame = RtuFrame(1, Registers(0, 2), overheard=overheard)
    buffer = bytearray(framed("01 03 02 1111") + ANSWER)
    assert frame.measure(buffer) == len(ANSWER)
    assert late == [(1, (3, 2), 7)]
    with pytest.raises(Unreadable, match="6 bytes"):
        frame.measure(bytearray(framed("01 03 06 1111 1111 1111")))


def test_a_late_answer_right_behind_the_answer_is_left_out_and_an_answer_twice_is_not() -> None:
    heard: list[tuple[int, int]] = []

    def overheard(unit: int, form: object, length: int) -> bool:
        assert length == 11
        assert isinstance(form, int)
        heard.append((unit, form))
        return True

    frame = TcpFrame(1, Registers(0, 1), overheard=overheard)
    late = frame.next()[:2] + bytes.fromhex("0000 0005 02 03 02 1111")
    answer = frame.next()[:2] + bytes.fromhex("0000 0005 01 03 02 2222")
    buffer = bytearray(answer + late + late)
    assert frame.measure(buffer) == len(answer) == len(buffer)
    assert heard == [(2, int.from_bytes(late[:2], "big"))] * 2
    for behind in (answer, late[:5], b"\1"):
        buffer = bytearray(answer + behind)
        assert frame.measure(buffer) < len(buffer), "what may be a second answer is not left out"


def test_the_late_frame_of_another_unit_may_contain_what_looks_like_the_own_one() -> None:
    """It comes in pieces, and its registers are the address and the function of the unit that was asked."""
    frame = RtuFrame(1, Registers(0, 2))
    body = bytes.fromhex("02 03 06 0103 0005 0000")
    late = body + crc(body)
    body = bytes.fromhex("01 03 04 0001 0002")
    answer = body + crc(body)
    buffer = bytearray()
    for byte in late + answer[:-1]:
        buffer.append(byte)
        assert frame.measure(buffer) == 0
    buffer.append(answer[-1])
    assert frame.measure(buffer) == len(answer)
    assert bytes(buffer) == answer
