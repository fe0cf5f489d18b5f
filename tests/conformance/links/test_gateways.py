"""Gateways in front of Modbus units: what they keep, give back as the answer to another question, or say themselves."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
from typing import TYPE_CHECKING, Any

import pytest

from drivers.driver import Registers
from drivers.errors import InstrumentError, Silent
from tests.conformance.links.conftest import MODBUS
from tests.conformance.links.peers import crc, refusal

if TYPE_CHECKING:
    from tests.conformance.links.conftest import Bench
    from tests.conformance.links.peers import Mouth

only_modbus = pytest.mark.parametrize("bench", MODBUS, indirect=True)
only_rtu = pytest.mark.parametrize("bench", [kind for kind in MODBUS if "rtu" in kind], indirect=True)
TIMEOUT = 0.06


def now_ms() -> int:
    return round(time.monotonic() * 1000) % 2**31


def payload(mouth: Mouth) -> bytes:
    """Give what a unit answers behind its address: the instant of the question, in as many registers as asked."""
    size = 2 * int.from_bytes(mouth.request[-2:] if len(mouth.request) == 12 else mouth.request[4:6], "big")
    return bytes((3, size)) + (struct.pack(">I", now_ms()) * 63)[:size]


def frame(mouth: Mouth, body: bytes) -> bytes:
    """Frame what a unit says as the answer to this question, whichever it was meant for."""
    if len(mouth.request) == 12:
        return mouth.request[:4] + struct.pack(">HB", 1 + len(body), mouth.unit) + body
    body = bytes((mouth.unit,)) + body
    return body + crc(body)


async def older_values(link: Any, seconds: float, pause: float = 0.02) -> tuple[int, int]:
    """Read for so long; gives how many values there were, and how many of them were older than their question."""
    values = older = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(InstrumentError):
            value = int.from_bytes(await link.ask(Registers(5, 2, timeout=TIMEOUT)), "big")
            values += 1
            older += round(link.sent * 1000) % 2**31 - value > 5
        await asyncio.sleep(pause)
    return values, older


@pytest.mark.parametrize("bench", ["modbus tcp"], indirect=True)
@pytest.mark.parametrize("word", [None, 4, 6, 11])
async def test_a_gateway_that_keeps_the_answer_it_gave_up_and_gives_it_for_the_next_question(
    bench: Bench, word: int | None
) -> None:
    """The number of Modbus TCP proves what the gateway answers, and not what the unit behind it does."""
    kept: list[bytes] = []
    asked = 0

    async def script(mouth: Mouth) -> None:
        nonlocal asked
        asked += 1
        kept.append(payload(mouth))
        if asked == 3:  # the unit is slow, once
            if word is not None:
                mouth.write(refusal(mouth, word))
            return
        mouth.write(frame(mouth, kept.pop(0)))

    bench.peer.script = script
    link: Any = bench.link(settle=0.02)
    assert (await older_values(link, 1.0))[1] == 0
    kept.clear()  # somebody starts the gateway again
    values, older = await older_values(link, 1.0)
    assert (values > 5, older) == (True, 0)


@pytest.mark.parametrize("bench", ["modbus tcp"], indirect=True)
@pytest.mark.parametrize("code", [4, 6])
async def test_a_unit_that_says_itself_that_it_is_busy_is_read_again(bench: Bench, code: int) -> None:
    busy = True

    async def script(mouth: Mouth) -> None:
        mouth.write(refusal(mouth, code) if busy else frame(mouth, payload(mouth)))

    bench.peer.script = script
    link: Any = bench.link(settle=0.02)
    assert await older_values(link, 0.5) == (0, 0)
    busy = False
    values, older = await older_values(link, 1.0)
    assert (values > 5, older) == (True, 0)


@pytest.mark.parametrize("bench", ["modbus rtu over tcp"], indirect=True)
@pytest.mark.parametrize("answers", [1, 3, 5])
async def test_the_late_word_of_a_gateway_is_no_answer_of_the_unit(
    bench: Bench, answers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unit refuses other numbers and is some answers behind; of each question the gateway says late: no answer."""
    monkeypatch.setattr("drivers.links.open_questions._SHORTEST_LIFE", 0.05)
    waiting: list[bytes] = []
    polls = 0

    async def script(mouth: Mouth) -> None:
        nonlocal polls
        poll = mouth.request[5] == 2
        polls += poll
        waiting.append(frame(mouth, payload(mouth) if poll else b"\x83\x02"))
        if polls < 4 or len(waiting) > answers:
            mouth.write(waiting.pop(0))
        else:
            await asyncio.sleep(0.09)
            mouth.write(refusal(mouth, 11))

    bench.peer.script = script
    assert (await older_values(bench.link(settle=0.02), 4.0, 0.1))[1] == 0


@only_modbus
async def test_a_new_link_asks_control_questions_first(bench: Bench) -> None:
    asked: list[int] = []

    async def script(mouth: Mouth) -> None:
        asked.append(payload(mouth)[1] // 2)
        mouth.write(frame(mouth, payload(mouth)))

    bench.peer.script = script
    link: Any = bench.link(new=True)
    await older_values(link, 0.0)
    assert len(asked) == 0
    await link.ask(Registers(5, 2, timeout=0.5))
    await link.ask(Registers(5, 2, timeout=0.5))
    assert asked[2:] == [2, 2]
    assert len({*asked[:2], 2}) == 3


@pytest.mark.parametrize("bench", ["modbus rtu over tcp"], indirect=True)
async def test_what_was_asked_by_the_link_before_is_no_value_of_the_next_one(bench: Bench) -> None:
    """After a reload, on a connection that another unit keeps; the gateway holds one answer back."""
    waiting: list[bytes] = []
    holds = False

    async def script(mouth: Mouth) -> None:
        if mouth.unit == 2:
            return
        waiting.append(frame(mouth, payload(mouth)))
        if not holds or len(waiting) > 1:
            mouth.write(waiting.pop(0))

    bench.peer.script = script
    neighbour: Any = bench.link(2)
    with contextlib.suppress(Silent):
        await neighbour.ask(Registers(5, 2, timeout=TIMEOUT))
    first: Any = bench.link(settle=0.02)
    assert (await older_values(first, 0.1))[1] == 0
    holds = True
    with pytest.raises(Silent):
        await first.ask(Registers(5, 2, timeout=TIMEOUT))
    await bench.wires.give_back(first)
    assert (await older_values(bench.link(settle=0.02, new=True), 1.0))[1] == 0


@only_rtu
@pytest.mark.parametrize("after", [0.0, 0.005, 0.02])
async def test_an_answer_that_comes_twice_is_none_to_another_question_of_the_same_length(
    bench: Bench, after: float
) -> None:
    async def twice(mouth: Mouth) -> None:
        await asyncio.sleep(0.03)
        mouth.answer()
        await asyncio.sleep(after)
        mouth.answer()

    bench.peer.script = twice
    link: Any = bench.link(settle=0.02)
    read = 0
    for _ in range(5):
        for number in (4, 9):
            with contextlib.suppress(InstrumentError):
                await bench.read(link, number, 0.2)
                read += 1
    assert read > 0 or not after, "in one piece it is never one answer"
