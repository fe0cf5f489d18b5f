"""Refusals that come late on RTU: nothing in them shows which question they refuse."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
from typing import TYPE_CHECKING, Any

import pytest

from drivers.driver import Registers
from drivers.errors import InstrumentError, Silent
from tests.conformance.links.conftest import make_bench
from tests.conformance.links.peers import crc, refusal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conformance.links.conftest import Bench
    from tests.conformance.links.peers import Mouth

only_rtu = pytest.mark.parametrize("bench", ["modbus rtu on pty", "modbus rtu over tcp"], indirect=True)
TIMEOUT = 0.1


def now_ms() -> int:
    return round(time.monotonic() * 1000) % 2**31


def only_two_registers(mouth: Mouth) -> bytes:
    """Answer with the instant of the question; refuse every other number of registers."""
    if mouth.request[5] == 2:
        body = mouth.request[:2] + b"\4" + struct.pack(">I", now_ms())
        return body + crc(body)
    return refusal(mouth)


@only_rtu
@pytest.mark.parametrize("delay", [0.16, 0.2])
@pytest.mark.parametrize("settle", [0.01, 0.05])
async def test_late_refusals_of_control_questions_prove_nothing(bench: Bench, delay: float, settle: float) -> None:
    """The answer to the first question is lost; each later one comes while the question after it waits."""
    asked = 0

    async def late(mouth: Mouth) -> None:
        nonlocal asked
        asked += 1
        if asked > 1:
            frame = only_two_registers(mouth)
            await asyncio.sleep(delay)
            mouth.write(frame)

    bench.peer.script = late
    link: Any = bench.link(settle=settle)
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        try:
            value = int.from_bytes(await link.ask(Registers(0, 2, timeout=TIMEOUT)), "big")
        except InstrumentError:
            continue
        assert value >= round(link.sent * 1000) % 2**31 - 5, "a value from before its question"


@only_rtu
async def test_a_refusal_while_another_answer_may_come_leaves_its_own_question_open(bench: Bench) -> None:
    """The first poll is refused late, in the time of the second one, whose own answer comes in the next period."""
    asked = 0

    async def late(mouth: Mouth) -> None:
        nonlocal asked
        asked += 1
        frame = only_two_registers(mouth)
        await asyncio.sleep({1: 0.22, 2: 0.3, 3: 0.3}.get(asked, 0.0))
        mouth.write(frame)

    bench.peer.script = late
    link: Any = bench.link(settle=0.05)
    with pytest.raises(Silent):
        await link.ask(Registers(0, 4, timeout=TIMEOUT))
    with pytest.raises(InstrumentError, match="refuses"):
        await link.ask(Registers(0, 2, timeout=TIMEOUT))
    await asyncio.sleep(0.15)
    for _ in range(10):
        try:
            value = int.from_bytes(await link.ask(Registers(0, 2, timeout=TIMEOUT)), "big")
        except InstrumentError:
            continue
        assert value >= round(link.sent * 1000) % 2**31 - 5, "a value from before its question"
        return
    raise AssertionError("no answer any more")


@only_rtu
async def test_a_late_refusal_shows_how_late_answers_are(bench: Bench) -> None:
    async def late(mouth: Mouth) -> None:
        frame = only_two_registers(mouth)
        await asyncio.sleep(0.2)
        mouth.write(frame)

    bench.peer.script = late
    link: Any = bench.link(settle=0.2)
    with pytest.raises(Silent):
        await link.ask(Registers(0, 4, timeout=TIMEOUT))
    await asyncio.sleep(0.2)
    assert "answers come 0.2 s after the question" in link.lateness


@only_rtu
@pytest.mark.parametrize("code", [5, 10, 11])
async def test_a_gateway_that_gives_up_does_not_speak_for_the_unit(bench: Bench, code: int) -> None:
    """The unit's own answer comes behind the gateway's word, while the next question waits."""
    asked = 0

    async def gives_up(mouth: Mouth) -> None:
        nonlocal asked
        asked += 1
        frame = only_two_registers(mouth)
        if asked == 1:
            mouth.write(refusal(mouth, code))
        await asyncio.sleep(0.13 if asked == 1 else 0.08)
        mouth.write(frame)

    bench.peer.script = gives_up
    link: Any = bench.link(settle=0.05)
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        try:
            value = int.from_bytes(await link.ask(Registers(0, 2, timeout=TIMEOUT)), "big")
        except InstrumentError:
            await asyncio.sleep(0.03)
            continue
        assert value >= round(link.sent * 1000) % 2**31 - 5, "a value from before its question"


async def behind(bench: Bench, answers: int, from_poll: int) -> list[int]:
    """Read a unit that refuses other numbers, through a gateway that is so many answers behind from that poll on.

    Gives how much too old each value was, in ms.
    """
    waiting: list[bytes] = []
    polls, wrong = 0, []

    async def script(mouth: Mouth) -> None:
        nonlocal polls
        polls += mouth.request[5] == 2
        waiting.append(only_two_registers(mouth))
        if polls < from_poll or len(waiting) > answers:
            mouth.write(waiting.pop(0))

    bench.peer.script = script
    await bench.peer.start_serving()
    link: Any = bench.link(settle=0.02)
    end = time.monotonic() + 8.0
    while time.monotonic() < end:
        await asyncio.sleep(0.1)
        with contextlib.suppress(InstrumentError):
            value = int.from_bytes(await link.ask(Registers(0, 2, timeout=0.05)), "big")
            if (late := round(link.sent * 1000) % 2**31 - value) > 5:
                wrong.append(late)
    await bench.wires.close()
    await bench.peer.stop()
    assert polls > from_poll
    return wrong


async def test_a_unit_that_refuses_other_numbers_and_is_some_answers_behind_gives_no_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusals of control questions are those of the questions before, and prove nothing."""
    monkeypatch.setattr("drivers.links.open_questions._SHORTEST_LIFE", 0.05)
    cases = [(answers, from_poll) for answers in (1, 2, 3, 5, 8) for from_poll in (1, 4)]
    seen = await asyncio.gather(*(behind(make_bench("modbus rtu over tcp", tmp_path), *case) for case in cases))
    assert not {case: wrong for case, wrong in zip(cases, seen, strict=True) if wrong}


async def switched_on_after(bench: Bench, comes: int) -> list[int]:
    """Read a unit that is off until so many questions were asked; gives how much too old each value was, in ms.

    The gateway holds the answer to the first question, and each later one, until another question comes.
    """
    waiting: list[bytes] = []
    asked, wrong = 0, []

    async def off_for_long(mouth: Mouth) -> None:
        nonlocal asked
        asked += 1
        if asked == 1 or asked > comes:
            body = mouth.request[:2] + bytes((2 * mouth.request[5],))
            body += (struct.pack(">I", now_ms()) * 63)[: 2 * mouth.request[5]]
            waiting.append(body + crc(body))
        if asked > comes and len(waiting) > 1:
            mouth.write(waiting.pop(0))

    bench.peer.script = off_for_long
    await bench.peer.start_serving()
    link: Any = bench.link(settle=0.01)
    end = time.monotonic() + 12.0
    while time.monotonic() < end:
        await asyncio.sleep(0.06)
        with contextlib.suppress(InstrumentError):
            value = int.from_bytes(await link.ask(Registers(0, 2, timeout=0.03)), "big")
            if (late := round(link.sent * 1000) % 2**31 - value) > 5:
                wrong.append(late)
    await bench.wires.close()
    await bench.peer.stop()
    assert asked > comes
    return wrong


async def test_a_unit_that_is_off_is_not_taken_for_one_that_knows_no_other_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drivers.links.open_questions._SHORTEST_LIFE", 0.05)
    places = range(3, 15)
    benches = [make_bench("modbus rtu over tcp", tmp_path) for _ in places]
    seen = await asyncio.gather(*map(switched_on_after, benches, places))
    assert not {place: wrong for place, wrong in zip(places, seen, strict=True) if wrong}


@pytest.mark.parametrize("bench", ["modbus tcp", "modbus rtu over tcp"], indirect=True)
async def test_units_that_refuse_in_time_keep_the_wire_from_nobody(bench: Bench) -> None:
    """Neither from a neighbour that answers, nor from one that is back."""
    deaf = True

    async def script(mouth: Mouth) -> None:
        if mouth.unit > 3:
            mouth.write(refusal(mouth))
        elif mouth.unit != 3 or not deaf:
            mouth.answer()

    bench.peer.script = script
    read: dict[int, int] = {}

    async def follow(unit: int) -> None:
        link = bench.link(unit, settle=0.1)
        while True:
            with contextlib.suppress(InstrumentError):
                await link.ask(Registers(1, 2, timeout=0.1))
                read[unit] = read.get(unit, 0) + 1
            await asyncio.sleep(0.05)

    tasks = [asyncio.create_task(follow(unit)) for unit in range(1, 8)]
    await asyncio.sleep(3.0)
    assert 3 not in read
    deaf = False
    await asyncio.sleep(3.0)
    for task in tasks:
        task.cancel()
    assert read[1] > 70, "where each refusal kept the wire for 0.05 s it had 41"
    assert read[3] > 5
    assert set(read) == {1, 2, 3}
