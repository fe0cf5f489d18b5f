"""Bytes that belong to no answer: turnaround bytes of RTU, changed bytes of a line with parity, continuous mode."""

from __future__ import annotations

import asyncio
import os
import pty
import time
import tty
from typing import TYPE_CHECKING

import pytest

from drivers.driver import Listen, Text
from drivers.errors import Unreadable
from drivers.links.connection import Connection
from drivers.links.ends import measure_of
from drivers.links.parity import Marks
from tests.conformance.links.conftest import STREAMS, Bench, driver
from tests.conformance.links.peers import Mouth, refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

only_rtu = pytest.mark.parametrize("bench", ["modbus rtu on pty", "modbus rtu over tcp"], indirect=True)
on_streams = pytest.mark.parametrize("bench", STREAMS, indirect=True)


@only_rtu
@pytest.mark.parametrize("pieces", [False, True])
async def test_turnaround_bytes_around_each_answer_are_counted_and_no_failure(bench: Bench, pieces: bool) -> None:
    async def rude(mouth: Mouth) -> None:
        for part in (b"\0", mouth.frame(mouth.number), b"\0\0\0"):
            mouth.write(part)
            await asyncio.sleep(0.002 if pieces else 0)

    bench.peer.script = rude
    link = bench.link()
    for number in range(1, 11):
        await bench.read(link, number, 0.5)
        await asyncio.sleep(0.01)
    await bench.read(link, 11, 0.5)
    assert 40 <= link.rubbish <= 44
    assert link.unasked == 0


@only_rtu
async def test_a_byte_long_after_an_answer_is_unasked(bench: Bench) -> None:
    link, mouth = await bench.talking()
    await asyncio.sleep(0.15)
    mouth.write(b"\0")
    await asyncio.sleep(0.02)
    await bench.read(link, 2)
    assert (link.rubbish, link.unasked) == (0, 1)


@only_rtu
async def test_what_may_be_a_frame_of_the_unit_is_no_rubbish(bench: Bench) -> None:
    async def half_before(mouth: Mouth) -> None:
        mouth.write(mouth.frame(mouth.number)[:4] + mouth.frame(mouth.number))

    async def half_behind(mouth: Mouth) -> None:
        mouth.write(mouth.frame(mouth.number) + mouth.frame(mouth.number)[:1])

    for script in (half_before, half_behind):
        link = bench.link()
        bench.peer.script = script
        with pytest.raises(Unreadable):
            await bench.read(link, 1)
        await bench.wires.give_back(link)


@only_rtu
async def test_rubbish_does_not_hide_a_refusal(bench: Bench) -> None:
    async def refuse(mouth: Mouth) -> None:
        mouth.write(b"\0\xff" + refusal(mouth))

    bench.peer.script = refuse
    with pytest.raises(Unreadable, match="illegal address"):
        await bench.read(bench.link(), 1)


@on_streams
async def test_continuous_mode_is_ended_by_what_the_driver_has_for_it(bench: Bench) -> None:
    talking: list[asyncio.Task[None]] = []

    async def talk(mouth: Mouth) -> None:
        while True:
            mouth.write(b"VALUE 9 of 9\r\n")
            await asyncio.sleep(0.01)

    async def script(mouth: Mouth) -> None:
        if mouth.number == 99:  # what ends it
            for task in talking:
                task.cancel()
            talking.clear()
        elif not talking and mouth.number == 1:
            talking.append(asyncio.create_task(talk(mouth)))
            return
        mouth.answer()

    bench.peer.script = script
    made = driver(bench.question(1), 0.15)
    object.__setattr__(made, "quieting", (Text(b"READ 99\r\n"),))
    link = bench.wires.link(bench.address, made)
    for _ in range(2):
        talking_at_first = asyncio.create_task(link.ask(Text(b"READ 1\r\n", b"END", 0.08)))
        with pytest.raises(Exception, match="no whole answer"):
            await talking_at_first
        began = time.monotonic()
        await bench.read(link, 2, 0.5)
        assert time.monotonic() - began < 2.0
    assert bench.peer.asked == [1, 99, 2, 1, 99, 2]


@on_streams
async def test_continuous_mode_is_noticed_by_answers_that_are_none(bench: Bench) -> None:
    """Between two of its lines it is quiet for as long as is waited for after an answer that was not understood."""
    talking: list[asyncio.Task[None]] = []

    async def talk(mouth: Mouth) -> None:
        while True:
            mouth.write(b"STREAM\r\n")
            await asyncio.sleep(0.08)

    async def script(mouth: Mouth) -> None:
        if mouth.number == 99:
            talking.pop().cancel()
            return
        if mouth.number == 1:
            talking.append(asyncio.create_task(talk(mouth)))
        if not talking:
            mouth.answer()

    bench.peer.script = script
    made = driver(bench.question(1), 0.3)
    object.__setattr__(made, "quieting", (Text(b"READ 99\r\n"),))
    link = bench.wires.link(bench.address, made)
    await link.ask(Text(b"READ 1\r\n"))
    link.distrust()
    for _ in range(3):
        if await link.ask(Text(b"READ 2\r\n")) == b"VALUE 2 of 2\r\n":
            break
        link.distrust()
    assert bench.peer.asked[-2:] == [99, 2]


@on_streams
async def test_where_quieting_does_not_help_the_words_say_so(bench: Bench) -> None:
    async def talk(mouth: Mouth) -> None:
        while True:
            mouth.write(b"VALUE 9 of 9\r\n")
            await asyncio.sleep(0.01)

    bench.peer.script = talk
    made = driver(bench.question(1), 0.2)
    object.__setattr__(made, "quieting", (Text(b"READ 99\r\n"),))
    link = bench.wires.link(bench.address, made)
    with pytest.raises(Exception, match="no whole answer"):
        await link.ask(Text(b"READ 1\r\n", b"END", 0.08))
    with pytest.raises(Unreadable, match=r"not become quiet, even after .READ 99.*continuous mode"):
        await bench.read(link, 2)
    await bench.peer.stop()


@on_streams
async def test_what_is_listened_to_is_not_unasked(bench: Bench) -> None:
    link, mouth = await bench.talking()
    heard = asyncio.ensure_future(link.ask(Listen(b"\r\n", 1.0)))
    await asyncio.sleep(0.01)
    for part in (b"rest\r\n", b"1 g\r\n", b"2 g\r\n"):
        mouth.write(part)
        await asyncio.sleep(0.01)
    assert await heard == b"rest\r\n"
    assert (link.unasked, link.suspect) == (0, False)


@pytest.fixture
def marked() -> Iterator[tuple[int, int]]:
    master, slave = pty.openpty()
    tty.setraw(slave)
    yield master, slave
    os.close(master)


class Device:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        os.close(self._fd)


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"S S    1\xff\x00\xb2.00 g\r\n", None),
        (b"S S     1\xff\x00\x00.00 g\r\n", None),
        (b"S S    1.00 g\r\xff\x00\x0a", None),
        (b"S S    1.00 \xff\xff g\r\n", b"S S    1.00 \xff g\r\n"),
        (b"S S    1.00 g\r\n", b"S S    1.00 g\r\n"),
    ],
)
async def test_a_byte_that_the_line_changed_makes_the_answer_unreadable(
    marked: tuple[int, int], sent: bytes, answer: bytes | None
) -> None:
    """A pty knows no parity: what the kernel would mark is written with its marks, in one piece and byte by byte."""
    master, slave = marked
    connection = Connection(Device(slave), "port", Marks())
    try:
        for size in (len(sent), 1):
            future = connection.ask(b"SI\r\n", measure_of(b"\r\n", b""), 0.5)
            os.read(master, 100)
            for at in range(0, len(sent), size):
                os.write(master, sent[at : at + size])
                await asyncio.sleep(0.001)
            if answer is None:
                with pytest.raises(Unreadable, match="the wire changed a byte: parity error"):
                    await future
            else:
                assert await future == answer
    finally:
        connection.lose("done")


async def test_an_end_that_the_line_changed_is_told_at_the_time_out(marked: tuple[int, int]) -> None:
    master, slave = marked
    connection = Connection(Device(slave), "port", Marks())
    future = connection.ask(b"SI\r\n", measure_of(b"\r\n", b""), 0.05)
    os.write(master, b"S S    1.00 g\r\xff\x00\x8a")
    with pytest.raises(Unreadable, match="parity error, at byte 15"):
        await future
    connection.lose("done")


@on_streams
async def test_a_peer_that_drips_behind_64_kilobytes_does_not_hold_the_loop(bench: Bench) -> None:
    stop = asyncio.Event()

    async def drip(mouth: Mouth) -> None:
        mouth.write(b"O" * 3000)
        for _ in range(20):
            mouth.write(b"O" * 3000)
            await asyncio.sleep(0.002)
        while not stop.is_set():
            mouth.write(b"O")
            await asyncio.sleep(0.0005)

    bench.peer.script = drip
    link = bench.link(settle=0.01)
    burnt = time.process_time()
    with pytest.raises(Exception, match="no whole answer"):
        await link.ask(Text(b"READ 1\r\n", timeout=0.6))
    stop.set()
    assert time.process_time() - burnt < 0.5
