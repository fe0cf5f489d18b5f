"""Late answers: none counts for a later question, whatever the delay, and how late they are is said."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import struct
import time
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from drivers.driver import Channel, Control, Driver, Identity, Poll, Registers, Text
from drivers.errors import InstrumentError, Silent, Unreadable
from drivers.instrument import Instrument
from drivers.links import Wires
from drivers.sample import Sample
from tests.conformance.links.conftest import MODBUS, STREAMS, Bench, make_bench
from tests.conformance.links.peers import ModbusTcp, Mouth, crc, refusal, right

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TIMEOUT = 0.1
only_modbus = pytest.mark.parametrize("bench", MODBUS, indirect=True)
only_rtu = pytest.mark.parametrize("bench", [kind for kind in MODBUS if "rtu" in kind], indirect=True)
on_streams = pytest.mark.parametrize("bench", STREAMS, indirect=True)
on_bytes = pytest.mark.parametrize("bench", STREAMS + MODBUS, indirect=True)

DELAYS: dict[str, Callable[[int, random.Random], float]] = {
    "constant": lambda _, __: 0.25,
    "jittering": lambda _, dice: dice.uniform(0.0, 0.3),
    "single": lambda number, _: 0.25 if number % 6 == 3 else 0.0,
    "growing": lambda number, _: 0.02 * number,
}


def now_ms() -> int:
    return round(time.monotonic() * 1000) % 2**31


def tell_the_time(bench: Bench) -> None:
    """Let the instrument answer with the instant of the question."""
    if isinstance(bench.peer.speech, ModbusTcp):
        speech: Any = bench.peer.speech
        speech.registers = lambda _, count: (struct.pack(">I", now_ms()) * 63)[: 2 * count]
    else:
        answers = {1: lambda: b"IDENTITY 7\r\n"} | dict.fromkeys(range(2, 6), lambda: b"CONTROL\r\n")
        bench.peer.speech.expected = lambda number: answers.get(number, lambda: b"TIME %d\r\n" % now_ms())()


def driver(bench: Bench) -> Driver[Any]:
    """Give a driver whose only value is the instant of the question, in ms."""
    channel = Channel("value", "time", "ms")

    def matched(pattern: bytes) -> Callable[[bytes], bytes]:
        def check(raw: bytes) -> bytes:
            if (found := re.fullmatch(pattern, raw)) is None:
                raise Unreadable("another answer", raw)
            return found[1]

        return check

    def value(raw: bytes) -> tuple[Any, ...]:
        digits = matched(rb"TIME (\d+)\r\n")(raw) if bench.kind in STREAMS else str(int.from_bytes(raw[:4], "big"))
        return (Sample(Decimal(int(digits)), "ms"),)

    if bench.kind in MODBUS:
        return Driver("a clock", (Poll(Registers(0, 2, timeout=TIMEOUT), (channel,), value),), settle=TIMEOUT)
    ask = [Text(b"READ %d\r\n" % number, timeout=TIMEOUT) for number in range(7)]
    return Driver(
        "a clock",
        (Poll(ask[6], (channel,), value),),
        Identity(ask[1], lambda raw: matched(rb"IDENTITY (\d)\r\n")(raw).decode()),
        controls=tuple(Control(one, matched(rb"(CONTROL)\r\n")) for one in ask[2:6]),
        settle=TIMEOUT,
    )


@pytest.mark.parametrize("delays", DELAYS)
@on_bytes
async def test_no_value_was_taken_before_it_was_asked_for(bench: Bench, delays: str) -> None:
    dice, number = random.Random(11), 0

    async def late(mouth: Mouth) -> None:
        nonlocal number
        number += 1
        frame, seconds = mouth.frame(mouth.number), DELAYS[delays](number, dice)
        await asyncio.sleep(seconds)
        mouth.write(frame)

    tell_the_time(bench)
    bench.peer.script = late
    wires = Wires()
    link = wires.link(bench.address, driver(bench), unit=1 if bench.kind in MODBUS else None)
    instrument = Instrument("clock", driver(bench), link, prove_every=1e9)
    (poll,) = instrument.driver.polls
    good, said = 0, []
    until = time.monotonic() + 2.0
    while time.monotonic() < until:
        tick = time.monotonic()
        try:
            answer = await instrument.read(poll)
        except InstrumentError as error:
            said.append(str(error))
        else:
            good += 1
            taken = float(answer.samples[0].value or 0) / 1000
            assert answer.asked - 0.002 <= taken <= answer.answered + 0.002, "the answer to another question"
        await asyncio.sleep(max(0.0, tick + TIMEOUT - time.monotonic()))
    await wires.close()
    if delays == "constant":
        assert good == 0
        assert any("answers come 0." in one and "longer than the time-out of 0.1 s" in one for one in said), said
    if delays == "single":
        assert good >= 3


async def behind(bench: Bench, answers: int, controls: int, pause: float = 0.0) -> tuple[int, int]:
    """Read an instrument that gives each answer so many questions late; gives how many values were right and wrong."""
    waiting: list[bytes] = []

    async def one_by_one(mouth: Mouth) -> None:
        waiting.append(mouth.frame(mouth.number))
        if len(waiting) > answers:
            mouth.write(waiting.pop(0))

    tell_the_time(bench)
    bench.peer.script = one_by_one
    whole = driver(bench)
    clock = replace(whole, controls=whole.controls[:controls])
    unit = 1 if bench.kind in MODBUS else None
    await bench.peer.start_serving()
    instrument = Instrument("clock", clock, bench.wires.link(bench.address, clock, unit=unit), prove_every=1e9)
    right = wrong = 0
    until = time.monotonic() + 6.0
    while time.monotonic() < until:
        await asyncio.sleep(pause)
        with contextlib.suppress(InstrumentError):
            answer = await instrument.read(clock.polls[0])
            taken = float(answer.samples[0].value or 0) / 1000
            fits = answer.asked - 0.002 <= taken <= answer.answered + 0.002
            right, wrong = right + fits, wrong + (not fits)
    await bench.wires.close()
    await bench.peer.stop()
    return right, wrong


@pytest.mark.parametrize("kind", STREAMS + MODBUS)
async def test_an_instrument_that_is_some_answers_behind_gives_no_value(kind: str, tmp_path: Path) -> None:
    """Each question brings the answer to an earlier one: that a control question is answered shows little then."""
    cases = [
        (answers, controls)
        for answers in (0, 1, 2, 3, 4, 5, 8)
        for controls in ((0, 1, 2, 4) if kind in STREAMS else (0,))
    ]
    folders = [tmp_path / f"{answers}-{controls}" for answers, controls in cases]
    for folder in folders:
        folder.mkdir()
    benches = [make_bench(kind, folder) for folder in folders]
    seen = await asyncio.gather(*(behind(bench, *case) for bench, case in zip(benches, cases, strict=True)))
    wrong = {
        case: counts for case, counts in zip(cases, seen, strict=True) if counts[1] or (counts[0] > 0) != (case[0] == 0)
    }
    assert not wrong, "(answers behind, control questions): (right, wrong)"


@pytest.mark.parametrize("kind", ["text on tcp", "modbus rtu over tcp"])
async def test_an_answer_that_is_held_back_for_longer_than_any_counts_for_no_later_question(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway holds one or two answers back until the next question; that is asked after all have expired."""
    monkeypatch.setattr("drivers.links.open_questions._SHORTEST_LIFE", 0.05)
    cases = [(answers, controls) for answers in (1, 2, 3) for controls in ((0, 2) if kind in STREAMS else (0,))]
    folders = [tmp_path / f"{answers}-{controls}" for answers, controls in cases]
    for folder in folders:
        folder.mkdir()
    benches = [make_bench(kind, folder) for folder in folders]
    seen = await asyncio.gather(*(behind(bench, *case, pause=0.45) for bench, case in zip(benches, cases, strict=True)))
    assert not [counts for counts in seen if counts[1]], "(right, wrong)"


@only_rtu
async def test_a_unit_that_failed_answers_two_control_questions_of_other_lengths(bench: Bench) -> None:
    asked: list[tuple[int, int]] = []

    async def deaf_once(mouth: Mouth) -> None:
        asked.append((mouth.number, mouth.request[5]))
        if len(asked) != 2:
            mouth.answer()

    bench.peer.script = deaf_once
    link = bench.link()
    query = Registers(7, 4, timeout=0.08)
    await link.ask(query)
    with pytest.raises(Silent):
        await link.ask(query)
    assert await link.ask(query) == struct.pack(">4H", 7, 8, 9, 10)
    assert await link.ask(query) == struct.pack(">4H", 7, 8, 9, 10)
    assert asked == [(7, 4), (7, 4), (7, 2), (7, 3), (7, 4), (7, 4)]


@only_rtu
async def test_a_control_question_beside_which_a_late_answer_comes_does_not_count(bench: Bench) -> None:
    asked: list[int] = []

    async def late_first(mouth: Mouth) -> None:
        asked.append(mouth.request[5])
        await asyncio.sleep({1: 0.25, 2: 0.2}.get(len(asked), 0.0))
        mouth.answer()

    bench.peer.script = late_first
    link = bench.link(settle=0.1)
    with pytest.raises(Silent):
        await bench.read(link, 5, 0.05)
    await bench.read(link, 5, 0.5)
    assert asked == [2, 1, 4, 6, 2]


@only_rtu
async def test_a_refusal_in_time_answers_a_control_question(bench: Bench) -> None:
    asked: list[int] = []

    async def only_whole(mouth: Mouth) -> None:
        asked.append(mouth.request[5])
        if mouth.request[5] == 2:
            if len(asked) != 1:
                mouth.answer()
            return
        mouth.write(refusal(mouth))

    bench.peer.script = only_whole
    link = bench.link()
    with pytest.raises(Silent):
        await bench.read(link, 5)
    await bench.read(link, 5, 0.5)
    assert asked == [2, 1, 4, 2]


@only_rtu
async def test_refusals_prove_as_much_as_ever_when_what_was_late_has_come(bench: Bench) -> None:
    """Two answers are late, and three times one is lost: two control questions follow each time."""
    asked: list[int] = []

    async def script(mouth: Mouth) -> None:
        asked.append(mouth.request[5])
        if mouth.request[5] != 2:
            mouth.write(refusal(mouth))
        elif len(asked) <= 2:
            late.append(mouth)
        elif lost != len(asked):
            mouth.answer()

    bench.peer.script = script
    link: Any = bench.link(settle=0.01)
    late: list[Mouth] = []
    lost = 0
    for _ in range(2):
        link._questions.clear()  # else the second one would be a control question
        with pytest.raises(Silent):
            await bench.read(link, 5, 0.03)
    for mouth in late:
        mouth.answer()
        await asyncio.sleep(0.02)
    await bench.read(link, 5, 0.5)
    for _ in range(3):
        lost = len(asked) + 1
        with pytest.raises(Silent):
            await bench.read(link, 5, 0.03)
        await bench.read(link, 5, 0.5)
    assert [count == 2 for count in asked] == [True] + [True, False, False, True] * 4


@only_rtu
async def test_a_unit_that_never_answers_other_numbers_is_asked_again_when_no_answer_can_come(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drivers.links.open_questions._SHORTEST_LIFE", 0.4)
    asked: list[int] = []

    async def only_two(mouth: Mouth) -> None:
        asked.append(mouth.request[5])
        if mouth.request[5] == 2 and len(asked) > 1:
            mouth.answer()

    bench.peer.script = only_two
    link = bench.link()
    with pytest.raises(Silent):
        await bench.read(link, 5, 0.05)
    for _ in range(2):  # it has to show it each time: what was taken for such a unit may have been one that was off
        await read_again(bench, link, 2.0)
        *_, poll, one, other, last = asked
        assert poll == last == 2
        assert 2 not in {one, other}
        link.distrust()
    others = asked[: asked.index(2, 1)][1:]
    assert len(set(others)) == len(others), "the same number twice"


async def read_again(bench: Bench, link: Any, longest: float) -> None:
    end = time.monotonic() + longest
    while time.monotonic() < end:
        with contextlib.suppress(Silent):
            await bench.read(link, 5, 0.05)
            return
    raise AssertionError("no value any more")


@only_rtu
async def test_a_unit_that_was_taken_for_one_that_knows_the_poll_alone_is_not_believed_for_ever(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was off, answered one poll and nothing else, and is well then; later the gateway is one answer behind."""
    monkeypatch.setattr("drivers.links.open_questions._SHORTEST_LIFE", 0.3)
    polls, well, behind = 0, False, False
    waiting: list[bytes] = []

    async def script(mouth: Mouth) -> None:
        nonlocal polls
        count = mouth.request[5]
        polls += count == 2
        if not well and (count != 2 or polls == 1):
            return
        body = mouth.request[:2] + bytes((2 * count,)) + struct.pack(">I", polls).ljust(2 * count, b"\0")[: 2 * count]
        waiting.append(body + crc(body))
        if len(waiting) > behind:
            mouth.write(waiting.pop(0))

    bench.peer.script = script
    link: Any = bench.link(settle=0.02)
    query = Registers(5, 2, timeout=0.05)
    with pytest.raises(Silent):
        await link.ask(query)
    end = time.monotonic() + 3.0
    while polls < 3:
        assert time.monotonic() < end, "never believed"
        with contextlib.suppress(Silent):
            await link.ask(query)
    well = behind = True
    end, old = time.monotonic() + 2.0, 0
    while time.monotonic() < end:
        with contextlib.suppress(InstrumentError):
            old += int.from_bytes(await link.ask(query), "big") != polls
        await asyncio.sleep(0.02)
    assert not old


@only_modbus
async def test_the_neighbours_of_a_late_unit_lose_nothing_and_hear_nothing_of_it(bench: Bench) -> None:
    async def unit_2_is_late(mouth: Mouth) -> None:
        await asyncio.sleep(0.15 if mouth.unit == 2 else 0.0)
        mouth.answer()

    bench.peer.script = unit_2_is_late
    one, two = bench.link(1), bench.link(2, settle=0.3)
    with pytest.raises(Silent):
        await bench.read(two, 7)
    unasked, asked = one.unasked, len(bench.peer.asked)
    for number in range(1, 10):
        await bench.read(one, number, 0.5)
        await asyncio.sleep(0.02)
    assert one.unasked == unasked
    assert len(bench.peer.asked) - asked == 9
    assert two.unasked > unasked
    with pytest.raises(Silent, match=r"answers come 0\.[12] s after the question, longer than the time-out of 0\.08 s"):
        await bench.read(two, 7)


@on_bytes
async def test_after_silence_nothing_is_asked_for_the_settle_time(bench: Bench) -> None:
    asked: list[float] = []

    async def deaf_once(mouth: Mouth) -> None:
        asked.append(time.monotonic())
        if len(asked) > 1:
            mouth.answer()

    bench.peer.script = deaf_once
    link = bench.link(settle=0.25)
    with pytest.raises(Silent):
        await bench.read(link, 1, 0.05)
    await bench.read(link, 1, 0.5)
    assert asked[1] - asked[0] > 0.29


@on_streams
async def test_a_late_line_is_measured_and_lengthens_the_quiet(bench: Bench) -> None:
    async def late(mouth: Mouth) -> None:
        await asyncio.sleep(0.2)
        mouth.answer()

    link = bench.link(settle=0.25)
    await bench.read_until_right(link, 1)
    bench.peer.script = late
    with pytest.raises(Silent):
        await bench.read(link, 2)
    assert link.suspect
    assert link.to_prove(bench.question(2)) is None
    assert link.to_prove(bench.question(3)) == 1
    await asyncio.sleep(0.2)
    with pytest.raises(Silent, match=r"answers come 0\.2 s after.*set timeout"):
        await bench.read(link, 3)
    began = time.monotonic()
    bench.peer.script = right
    await bench.read(link, 4, 0.5)
    assert time.monotonic() - began > 0.28


@on_streams
async def test_a_whole_line_that_nobody_awaited_makes_the_link_suspect(bench: Bench) -> None:
    link, mouth = await bench.talking()
    assert (link.suspect, link.unasked) == (False, 0)
    mouth.write(b"I4")
    await asyncio.sleep(0.02)
    assert (link.suspect, link.unasked) == (False, 2)
    mouth.write(b' A "B12"\r\n')
    await asyncio.sleep(0.02)
    assert (link.suspect, link.unasked) == (True, 12)
    await bench.read(link, 2)
    link.trust()
    assert not link.suspect


@on_bytes
async def test_an_answer_seen_beyond_its_time_out_is_not_accepted(bench: Bench) -> None:
    """The loop was held: the answer lies in the kernel, and nothing shows when it came."""
    link = bench.link()
    await bench.read_until_right(link, 1)

    async def soon(mouth: Mouth) -> None:
        mouth.answer()
        time.sleep(0.3)

    bench.peer.script = soon
    with pytest.raises(Silent, match=r"this process was held up for at least 0\.[12]"):
        await bench.read(link, 2, 0.08)
    assert link.suspect == (bench.kind in STREAMS)
    bench.peer.script = right
    await bench.read(link, 3, 0.5)
