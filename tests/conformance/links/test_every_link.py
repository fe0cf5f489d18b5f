"""What every link must do, on every kind of wire."""

from __future__ import annotations

import asyncio
import gc
import time
from pathlib import Path
from typing import Any

import pytest

from drivers.errors import InstrumentError, Lost, Silent, Unreadable
from tests.conformance.links.conftest import MODBUS, STREAMS, TIMEOUT, VISA, Bench
from tests.conformance.links.peers import Mouth, Script, crc, refusal, right

only_modbus = pytest.mark.parametrize("bench", MODBUS, indirect=True)
only_bytes = pytest.mark.parametrize("bench", STREAMS + MODBUS, indirect=True)

# pyvisa-py leaves the socket of a refused HiSLIP connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed .socket:ResourceWarning")


async def test_answers_the_question(bench: Bench) -> None:
    link = bench.link()
    await link.open()
    for number in range(1, 100):
        await bench.read(link, number)


async def test_a_late_answer_is_never_taken_for_another(bench: Bench) -> None:
    """A thousand readings, each a question of its own; now and then an answer comes after the time-out."""
    link = bench.link(settle=0.04)
    count = 0

    async def now_and_then_late(mouth: Mouth) -> None:
        nonlocal count
        count += 1
        if count % 90 == 0:
            await asyncio.sleep(0.05)
        mouth.answer()

    bench.peer.script = now_and_then_late
    right_ones = silent = 0
    for reading in range(1000):
        number = 1 + reading % 250
        try:
            await bench.read(link, number, 0.03)
            right_ones += 1
        except InstrumentError:
            silent += 1
    assert right_ones + silent == 1000
    assert silent >= 8
    assert right_ones > 900


async def test_a_late_answer_as_slow_as_the_manual_allows(bench: Bench) -> None:
    """It comes just before the settle time ends, when a question asked at once would await its own answer."""
    link = bench.link(settle=0.15)

    def after(seconds: float) -> Script:
        async def script(mouth: Mouth) -> None:
            await asyncio.sleep(seconds)
            mouth.answer()

        return script

    await bench.read_until_right(link, 1)
    for number in range(2, 4):
        bench.peer.script = after(0.12)
        with pytest.raises(Silent):
            await bench.read(link, number, 0.03)
        bench.peer.script = after(0.1)
        await bench.read(link, number + 100, 0.5)


async def test_silence(bench: Bench) -> None:
    async def silent(mouth: Mouth) -> None:
        pass

    link = bench.link()
    await link.open()
    bench.peer.script = silent
    began = time.monotonic()
    with pytest.raises(Silent, match="answer"):
        await bench.read(link, 1, 0.2)
    assert 0.19 <= time.monotonic() - began < 0.45
    bench.peer.script = right
    await bench.read(link, 2, 0.5)


async def test_cut_answer(bench: Bench) -> None:
    async def cut(mouth: Mouth) -> None:
        mouth.cut()

    link = bench.link()
    bench.peer.script = cut
    with pytest.raises(InstrumentError):
        await bench.read(link, 1)
    bench.peer.script = right
    await bench.read_until_right(link, 2)


async def test_garbage(bench: Bench) -> None:
    async def garbage(mouth: Mouth) -> None:
        mouth.write(b"\x00\xff\x80#?" * 8)

    link = bench.link()
    bench.peer.script = garbage
    with pytest.raises(InstrumentError):
        await bench.read(link, 1)
    bench.peer.script = right
    await bench.read_until_right(link, 2)


@only_bytes
async def test_garbled_answers_are_never_believed_again(bench: Bench) -> None:
    """Every second answer has a wrong byte: a digit where a checksum guards them, else the first one."""
    count = 0

    async def garbled(mouth: Mouth) -> None:
        nonlocal count
        if bench.kind in MODBUS and mouth.request[4 if "rtu" in bench.kind else 10 :][:2] != b"\0\2":
            mouth.answer()  # a control question after a failure
            return
        count += 1
        answer = bytearray(mouth.frame(mouth.number))
        answer[4 if "rtu" in bench.kind else 0] ^= 0x55 if count % 2 else 0
        mouth.write(bytes(answer))

    link = bench.link(settle=0.02)
    bench.peer.script = garbled
    good = 0
    for number in range(1, 13):
        try:
            answer = await link.ask(bench.question(number))
        except InstrumentError:
            continue
        if bench.kind in STREAMS and answer != bench.expected(number):
            continue  # whole lines are judged by the driver
        assert answer == bench.expected(number)
        good += 1
    assert good == 6


@only_bytes
async def test_an_echo_is_no_answer(bench: Bench) -> None:
    async def echo(mouth: Mouth) -> None:
        mouth.write(mouth.request + mouth.frame(mouth.number))

    link = bench.link()
    bench.peer.script = echo
    for number in range(1, 4):
        with pytest.raises(Unreadable):
            await bench.read(link, number)
    bench.peer.script = right
    await bench.read(link, 4)


@pytest.mark.parametrize("bench", [kind for kind in STREAMS + MODBUS if kind != "modbus tcp"], indirect=True)
async def test_an_adapter_that_hears_itself(bench: Bench) -> None:
    async def echo(mouth: Mouth) -> None:
        mouth.write(mouth.request)
        await asyncio.sleep(0.01)
        mouth.answer()

    link = bench.link(echo=True)
    bench.peer.script = echo
    for number in range(1, 4):
        await bench.read(link, number)
    bench.peer.script = right
    with pytest.raises(Unreadable, match="echo"):
        await bench.read(link, 4)


@only_bytes
async def test_two_answers_to_one_question_are_none(bench: Bench) -> None:
    async def doubled(mouth: Mouth) -> None:
        mouth.write(mouth.frame(mouth.number) + mouth.frame(mouth.number + 1))

    link = bench.link(settle=0.02)
    bench.peer.script = doubled
    with pytest.raises(Unreadable, match="after the end"):
        await bench.read(link, 1)
    bench.peer.script = right
    await bench.read(link, 3)


@only_bytes
async def test_what_came_unasked_is_no_answer(bench: Bench) -> None:
    """A second answer comes after the first; the loop has read it before the next question, or not yet."""
    link, mouth = await bench.talking()
    for seconds in (0.02, None):
        mouth.answer()
        if seconds:
            await asyncio.sleep(seconds)
        await bench.read(link, 2)


@only_bytes
async def test_a_flood_is_cut_off(bench: Bench) -> None:
    flooding = asyncio.Event()

    async def flood(mouth: Mouth) -> None:
        flooding.set()
        head = mouth.frame(mouth.number)[:1]
        for _ in range(40):
            mouth.write(head * 2048)
            await asyncio.sleep(0.001)

    link = bench.link()
    bench.peer.script = flood
    with pytest.raises(InstrumentError) as caught:
        await bench.read(link, 1, 2.0)
    assert isinstance(caught.value, Unreadable)
    assert len(caught.value.raw) < 70_000
    assert flooding.is_set()


async def test_the_peer_closes_in_the_middle(bench: Bench) -> None:
    async def hang_up(mouth: Mouth) -> None:
        await asyncio.sleep(0.02)
        mouth.hang_up()

    link = bench.link()
    await bench.read_until_right(link, 1)
    bench.peer.script = hang_up
    began, burnt = time.monotonic(), time.process_time()
    with pytest.raises(Lost):
        await bench.read(link, 2, 2.0)
    assert time.monotonic() - began < 0.2
    await asyncio.sleep(0.3)
    assert time.process_time() - burnt < 0.1


async def test_nobody_there_fails_at_open(bench: Bench) -> None:
    await bench.peer.stop()
    link = bench.link()
    with pytest.raises(Lost):
        await link.open()
    with pytest.raises(Lost):
        await bench.read(link, 1)


async def test_unplugged_and_plugged_in_again(bench: Bench) -> None:
    link = bench.link()
    await bench.read_until_right(link, 1)
    for number in range(2, 4):
        await bench.peer.stop()
        with pytest.raises(Lost):
            await bench.read(link, number)
        with pytest.raises(Lost):
            await bench.read(link, number)
        await bench.peer.start_serving()
        await asyncio.sleep(0.05)
        await bench.read(link, number, 0.5)


async def test_cancelled_in_the_middle(bench: Bench) -> None:
    async def slow(mouth: Mouth) -> None:
        await asyncio.sleep(0.06)
        mouth.answer()

    link = bench.link(settle=0.1)
    await bench.read_until_right(link, 1)
    for number in range(2, 4):
        bench.peer.script = slow
        question = asyncio.ensure_future(bench.read(link, number, 1.0))
        await asyncio.sleep(0.03)
        question.cancel()
        with pytest.raises(asyncio.CancelledError):
            await question
        bench.peer.script = right
        await bench.read(link, number + 100, 0.5)


@pytest.mark.parametrize("bench", VISA, indirect=True)
async def test_distrust_waits_for_what_may_still_come(bench: Bench) -> None:
    """An answer that is not believed may have been a late one, and its own still be under way."""
    link = bench.link(settle=0.12)
    await bench.read_until_right(link, 1)
    link.distrust()
    began = time.monotonic()
    await bench.read(link, 3, 0.5)
    assert time.monotonic() - began > 0.08


@only_bytes
async def test_distrust_leaves_the_question_open_until_control_questions_are_answered(bench: Bench) -> None:
    """No full settle time is waited for: the answer to a control question shows that nothing older can come."""
    link = bench.link(settle=5.0)
    await bench.read_until_right(link, 1)
    link.distrust()
    assert link.suspect == (bench.kind in STREAMS)
    assert (link.to_prove(bench.question(1)) == 1) != (bench.kind in STREAMS)
    assert link.to_prove(bench.question(2)) == 1
    began = time.monotonic()
    asked = len(bench.peer.asked)
    await bench.read(link, 1, 0.5)
    assert 0.04 < time.monotonic() - began < 1.0
    assert len(bench.peer.asked) - asked == (3 if bench.kind in MODBUS else 1)
    link.trust()
    assert not link.suspect
    assert link.to_prove(bench.question(1)) == 1


async def test_never_two_questions_in_flight(bench: Bench) -> None:
    busy = False

    async def alone(mouth: Mouth) -> None:
        nonlocal busy
        assert not busy
        busy = True
        await asyncio.sleep(0.002)
        busy = False
        mouth.answer()

    link = bench.link()
    await link.open()
    bench.peer.script = alone
    await asyncio.gather(*(bench.read(link, number, 1.0) for number in range(1, 20)))


async def test_close_is_safe_at_any_time(bench: Bench) -> None:
    async def silent(mouth: Mouth) -> None:
        pass

    link = bench.link()
    await link.close()
    await link.open()
    bench.peer.script = silent
    question = asyncio.ensure_future(bench.read(link, 1, 0.3))
    await asyncio.sleep(0.02)
    await link.close()
    await link.close()
    with pytest.raises(InstrumentError):
        await question
    bench.peer.script = right
    await bench.read_until_right(link, 2)


@only_modbus
async def test_a_dead_unit_costs_the_others_its_time_out_only(bench: Bench) -> None:
    async def unit_2_is_dead(mouth: Mouth) -> None:
        if mouth.unit != 2:
            mouth.answer()

    bench.peer.script = unit_2_is_dead
    links: list[Any] = [bench.link(unit, settle=1.0) for unit in (1, 2, 3)]
    for link in links:
        await link.open()
    with pytest.raises(Silent, match="unit 2"):
        await bench.read(links[1], 5)
    began = time.monotonic()
    dead = asyncio.ensure_future(bench.read(links[1], 5))
    await asyncio.sleep(0)
    for _ in range(10):
        await bench.read(links[0], 1)
        await bench.read(links[2], 1)
    assert time.monotonic() - began < TIMEOUT + 0.4
    dead.cancel()


@only_modbus
async def test_a_late_answer_of_another_unit(bench: Bench) -> None:
    async def unit_2_is_late(mouth: Mouth) -> None:
        await asyncio.sleep(0.15 if mouth.unit == 2 else 0.07)
        mouth.answer()

    bench.peer.script = unit_2_is_late
    one, two = bench.link(1), bench.link(2, settle=0.3)
    await one.open()
    await two.open()
    with pytest.raises(Silent):
        await bench.read(two, 7)
    await bench.read(one, 8, 0.5)


@only_modbus
async def test_a_refusal_is_told_by_its_name(bench: Bench) -> None:
    async def refuse(mouth: Mouth) -> None:
        mouth.write(refusal(mouth))

    bench.peer.script = refuse
    with pytest.raises(Unreadable, match=r"unit 1 refuses the registers: illegal address \(2\)"):
        await bench.read(bench.link(), 1)


@only_modbus
async def test_the_wrong_number_of_registers(bench: Bench) -> None:
    async def three(mouth: Mouth) -> None:
        if bench.kind == "modbus tcp":
            mouth.write(mouth.request[:4] + b"\x00\x09" + bytes([mouth.unit, 3, 6]) + bytes(6))
        else:
            body = bytes([mouth.unit, 3, 6]) + bytes(6)
            mouth.write(body + crc(body))

    bench.peer.script = three
    with pytest.raises(Unreadable, match="6 bytes"):
        await bench.read(bench.link(), 1)


@only_bytes
async def test_who_shares_a_wire_identifies_again_when_it_was_opened_anew(bench: Bench) -> None:
    first, second = bench.link(1), bench.link(2)
    await bench.read_until_right(first, 1)
    await bench.read_until_right(second, 2)
    await bench.peer.stop()
    with pytest.raises(Lost):
        await bench.read(first, 3)
    await bench.peer.start_serving()
    await asyncio.sleep(0.12)
    await bench.read(first, 4, 0.5)
    with pytest.raises(Lost, match="anew"):
        await bench.read(second, 5)
    await bench.read(second, 6)


@only_bytes
async def test_one_that_leaves_does_not_close_the_wire_of_the_others(bench: Bench) -> None:
    first, second = bench.link(1), bench.link(2)
    await bench.read(first, 1)
    await bench.read(second, 2)
    await first.close()
    await bench.read(second, 3)
    await first.open()
    await bench.read(first, 4)
    await bench.read(second, 5)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_nothing_is_left_open(bench: Bench) -> None:
    link = bench.link()
    await bench.read_until_right(link, 1)
    await bench.peer.stop()
    with pytest.raises(Lost):
        await bench.read(link, 2)
    await asyncio.sleep(0.06)
    gc.collect()
    before = open_descriptors()
    for number in range(3, 6):
        with pytest.raises(Lost):
            await bench.read(link, number)
    await link.close()
    gc.collect()
    assert open_descriptors() <= before
