"""Requests are found in any pieces, answers come in order, faults spoil them, the truth is noted."""

from __future__ import annotations

import asyncio
import json
import struct
import time
from typing import TYPE_CHECKING

import pytest

from simulators.balances.mt_sics import MtSics
from simulators.balances.sartorius_sbi import SartoriusSbi
from simulators.climate.vaisala_hmp import VaisalaHmp
from simulators.conversation import Bus, RtuBus, TcpBus, TextConversation, Unit, crc
from simulators.faults import Faults
from simulators.physics import constant
from simulators.place import TextPlace
from simulators.pressure.digiquartz import Digiquartz
from simulators.pressure.keller_33x import Keller33x
from simulators.speaker import Speaker
from simulators.truth import Truth

if TYPE_CHECKING:
    from pathlib import Path

    from simulators.instrument import TextSimulator

NO_TRUTH = Truth(None)


def speaker(faults: Faults | None = None, truth: Truth = NO_TRUTH) -> Speaker:
    return Speaker("one", (faults or Faults()).chooser("seed"), truth, time.monotonic())


def talk(simulator: TextSimulator, *pieces: bytes, faults: Faults | None = None) -> list[bytes]:
    said: list[bytes] = []

    async def speak() -> None:
        conversation = TextConversation(simulator, speaker(faults))
        for piece in pieces:
            conversation.hear(piece, said.append)

    asyncio.run(speak())
    return said


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_requests_in_any_pieces(size: int) -> None:
    asked = b"SI\r\nI4\r\nX\r\n"
    pieces = [asked[at : at + size] for at in range(0, len(asked), size)]
    weight, identity = b"S S     100.00 g\r\n", b'I4 A "SIM0000001"\r\n'
    assert talk(MtSics(decimals=2), *pieces) == [weight, identity, b"ES\r\n"]


def test_line_feed_that_comes_late_is_no_request() -> None:
    class Counting(MtSics):
        def answer(self, request: bytes, now: float) -> None:
            requests.append(request)

    requests: list[bytes] = []
    talk(Counting(), b"SI\r", b"\nSI\r", b"I4\r\n", b"\r\r\n")
    assert requests == [b"SI", b"SI", b"I4", b"", b""]


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        (Faults(lost=1.0), []),
        (Faults(doubled=1.0), [b"ES\r\nES\r\n"]),
        (Faults(echoed=1.0), [b"?ES\r\n"]),
        (Faults(hang=[[0.0, 60.0]]), []),
    ],
)
def test_faults(faults: Faults, said: list[bytes]) -> None:
    assert talk(MtSics(), b"?\r\n", faults=faults) == said


def test_cut_and_garbled_answers_differ_from_the_right_one_and_come_again_by_seed() -> None:
    asked = [b"SI\r\n"] * 50
    right = talk(MtSics(decimals=2), *asked)
    for spoiled in (Faults(cut=1.0), Faults(garbled=1.0)):
        once = talk(MtSics(decimals=2), *asked, faults=spoiled)
        assert once == talk(MtSics(decimals=2), *asked, faults=spoiled)
        assert right[0] not in once
    assert all(right[0].startswith(one) for one in talk(MtSics(decimals=2), *asked, faults=Faults(cut=1.0)))


def test_another_instrument_under_the_same_address() -> None:
    place = TextPlace(MtSics(), MtSics(serial="SIM0SWAPPED", load=constant(150.0), decimals=2))
    assert talk(place, b"I4\r\n") == [b'I4 A "SIM0000001"\r\n']
    place.exchange(stranger=True)
    assert talk(place, b"I4\r\nSI\r\n") == [b'I4 A "SIM0SWAPPED"\r\n', b"S S     150.00 g\r\n"]


@pytest.mark.parametrize("kind", ["cut", "garbled", "doubled", "echoed"])
@pytest.mark.parametrize("reply", [b"x", b">"])
def test_shortest_answers_can_be_spoiled(kind: str, reply: bytes) -> None:
    assert Faults().chooser("a").spoil(kind, b"?", reply) != reply


async def test_second_question_restarts_the_integration() -> None:
    said: list[tuple[float, bytes]] = []
    conversation = TextConversation(Digiquartz(integration=0.3), speaker())

    def write(data: bytes) -> None:
        said.append((time.monotonic(), data))

    conversation.hear(b"*0100P3\r\n", write)
    await asyncio.sleep(0.05)
    again = time.monotonic()
    conversation.hear(b"*0100P3\r", write)
    conversation.hear(b"\nnonsense\r\n", write)
    await asyncio.sleep(0.4)
    ((at, data),) = said
    assert data == b"*00011013.619\r\n"
    assert at - again >= 0.299


async def test_stream_goes_on_until_it_is_stopped_or_nobody_listens() -> None:
    said: list[bytes] = []
    conversation = TextConversation(SartoriusSbi(autoprint=True, every=0.005, interval=0.005), speaker())
    conversation.start(said.append)
    await asyncio.sleep(0.05)
    conversation.hear(b"\x1bP\r\n", said.append)
    stopped = len(said)
    assert stopped >= 3
    await asyncio.sleep(0.02)
    assert len(said) == stopped
    conversation.hear(b"\x1bP\r\n", said.append)
    conversation.end()
    await asyncio.sleep(0.02)
    assert len(said) == stopped


async def test_adjustment_answers_twice_unless_it_is_cancelled() -> None:
    said: list[bytes] = []
    conversation = TextConversation(MtSics(adjustment=0.03), speaker())
    conversation.hear(b"C3\r\n", said.append)
    await asyncio.sleep(0.06)
    assert said == [b"C3 B\r\n", b"C3 A\r\n"]
    conversation.hear(b"C3\r\n@\r\n", said.append)
    await asyncio.sleep(0.06)
    assert said[2:] == [b"C3 B\r\n", b'I4 A "SIM0000001"\r\n']


async def test_truth_holds_the_digits_as_sent(tmp_path: Path) -> None:
    path = tmp_path / "truth.jsonl"
    began = time.time_ns()
    async with Truth(path) as truth:
        conversation = TextConversation(MtSics(decimals=2), speaker(Faults(), truth))
        conversation.hear(b"SI\r\nI4\r\nSI\r\n", lambda _: None)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["n"] for row in rows] == [1, 2]
    assert rows[0]["values"] == {"mass": "100.00"}
    assert (rows[0]["request"], rows[0]["reply"], rows[0]["fault"]) == ("SI", "S S     100.00 g\r\n", None)
    assert began <= rows[0]["at_ns"] <= rows[1]["at_ns"] <= time.time_ns()


# Modbus


def units() -> dict[int, Unit]:
    return {
        240: Unit(VaisalaHmp(constant(30.56), constant(20.5)), speaker()),
        1: Unit(Keller33x(constant(0.9634), constant(22.0)), speaker()),
    }


def exchange(bus: Bus, *pieces: bytes) -> bytes:
    said: list[bytes] = []
    for piece in pieces:
        bus.hear(piece, said.append)  # type: ignore[attr-defined]  # both kinds of bus hear
    return b"".join(said)


HMP_ASKED, HMP_SAID = bytes.fromhex("F0030000 0002 D12A"), bytes.fromhex("F003047AE141F46205")
KELLER_ASKED, KELLER_SAID = bytes.fromhex("010300020002 65CB"), bytes.fromhex("0103043F76A162EF84")


def test_frames_of_the_manuals_over_rtu() -> None:
    """HMP4 quick guide p. 20 and Keller protocol p. 13-16, with their checksums."""
    assert exchange(RtuBus(units()), HMP_ASKED, KELLER_ASKED) == HMP_SAID + KELLER_SAID
    assert exchange(RtuBus(units()), b"\x00\xff", HMP_ASKED[:3], HMP_ASKED[3:]) == HMP_SAID
    assert exchange(RtuBus(units()), HMP_ASKED[:7] + b"\x00") == b""
    nobody = bytes.fromhex("050300000002")
    assert exchange(RtuBus(units()), nobody + crc(nobody)) == b""


def mbap(number: int, unit: int, pdu: bytes) -> bytes:
    return struct.pack(">HHHB", number, 0, len(pdu) + 1, unit) + pdu


def test_pipelined_requests_keep_their_transaction_numbers() -> None:
    asked = mbap(7, 240, HMP_ASKED[1:6]) + mbap(9, 1, KELLER_ASKED[1:6])
    said = mbap(7, 240, HMP_SAID[1:-2]) + mbap(9, 1, KELLER_SAID[1:-2])
    assert exchange(TcpBus(units()), asked) == said
    assert exchange(TcpBus(units()), *(asked[at : at + 5] for at in range(0, len(asked), 5))) == said


@pytest.mark.parametrize(
    ("pdu", "reply"),
    [
        ("06 0000 0001", "86 01"),
        ("03 0016 0001", "83 02"),
        ("03 0014 0004", "83 02"),
        ("03 0000 0000", "83 03"),
        ("03 0000 007E", "83 03"),
        ("03", "83 03"),
        ("03 1F00 0003", "03 06 CFC7 E666 C2F6"),
        ("03 1F03 0004", "03 08 2D31 3233 2E34 3500"),
        ("03 0100 0002", "03 04 0BF0 0802"),
        ("03 0200 0002", "03 04 0001 0001"),
        ("03 0203 0002", "03 04 0000 0000"),
    ],
)
def test_probe_answers_or_refuses(pdu: str, reply: str) -> None:
    assert exchange(TcpBus(units()), mbap(1, 240, bytes.fromhex(pdu))) == mbap(1, 240, bytes.fromhex(reply))


def test_missing_value_is_no_number_and_the_status_says_so() -> None:
    table = VaisalaHmp(constant(float("nan")), constant(20.5)).registers(0.0)
    assert (table[0], table[1]) == (0x0000, 0x7FC0)
    assert (table[0x0100], table[0x0200], table[0x0203]) == (0x8000, 0, 0x0002)


@pytest.mark.parametrize(
    ("most", "pdu", "reply"),
    [
        (4, "03 0100 0004", "03 08 3F76 A162 41B0 0000"),
        (4, "03 0100 0003", "03 06 3F76 A162 41B0"),
        (4, "03 0100 0005", "83 02"),
        (4, "03 0002 0008", "83 02"),
        (4, "04 0000 0006", "84 02"),
        (4, "03 0002 007E", "83 03"),
        (2, "03 0002 0002", "03 04 3F76 A162"),
        (2, "03 0008 0002", "03 04 41B0 0000"),
        (2, "03 0002 0003", "83 02"),
        (2, "03 0100 0002", "83 02"),
    ],
)
def test_keller_gives_few_registers_in_one_question(most: int, pdu: str, reply: str) -> None:
    """Protocol Series 30/40, 4.5 (p. 10) and 4.9 (p. 13): older firmware has no registers from 0x0100 on."""
    unit = Unit(Keller33x(constant(0.9634), constant(22.0), most=most), speaker())
    assert unit.answer(bytes.fromhex(pdu)).reply == bytes.fromhex(reply)


@pytest.mark.parametrize("wrong", ["0001 0000 0000 00 00", "0001 0000 0001 F0 00", "0001 0001 0006 F0 03", "FF" * 12])
def test_what_is_no_modbus_is_dropped(wrong: str) -> None:
    bus = TcpBus(units())
    assert exchange(bus, bytes.fromhex(wrong)) == b""
    assert exchange(bus, mbap(3, 240, HMP_ASKED[1:6])) == mbap(3, 240, HMP_SAID[1:-2])


def test_truth_holds_only_what_the_answer_held() -> None:
    unit = units()[1]

    def told(address: int, count: int) -> dict[str, str | None]:
        return dict(unit.answer(struct.pack(">BHH", 3, address, count)).values)

    assert told(2, 4) == {"pressure": "0.9634"}
    assert told(2, 2) == {"pressure": "0.9634"}
    assert told(2, 1) == {}
    assert told(0x0100, 4) == {"pressure": "0.9634", "temperature": "22"}
    assert told(0x020E, 2) == {}
