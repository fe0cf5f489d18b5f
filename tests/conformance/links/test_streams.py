"""What only streams of text do: lines that come by themselves, patterns, several instruments on one line."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING

import pytest

from drivers.driver import Listen, Text
from drivers.errors import Lost, Silent, Unreadable
from drivers.links import Wires
from tests.conformance.links.conftest import STREAMS, Bench, driver, make_bench

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conformance.links.peers import Mouth

on_streams = pytest.mark.parametrize("bench", STREAMS, indirect=True)


@on_streams
async def test_a_line_that_comes_by_itself_is_heard_whole(bench: Bench) -> None:
    _, mouth = await bench.talking()
    link = bench.link()
    mouth.write(b"12")  # the beginning of a line that was cut by nobody's fault
    await asyncio.sleep(0.02)
    heard = asyncio.ensure_future(link.ask(Listen(b"\r\n", 1.0)))
    for part in (b"3.4 g\r\n", b"56", b"7.8", b" g\r", b"\n90"):
        mouth.write(part)
        await asyncio.sleep(0.005)
    assert await heard == b"567.8 g\r\n"
    mouth.write(b"1.2 g\r\n")
    await asyncio.sleep(0.02)
    mouth.write(b"4.5")
    await asyncio.sleep(0.02)
    heard = asyncio.ensure_future(link.ask(Listen(b"\r\n", 1.0)))
    await asyncio.sleep(0.01)
    mouth.write(b"6 g\r\n")
    assert await heard == b"4.56 g\r\n"  # and not the old line that nobody had asked for


@on_streams
async def test_nothing_to_hear(bench: Bench) -> None:
    link = bench.link()
    with pytest.raises(Silent):
        await link.ask(Listen(b"\r\n", 0.05))


@on_streams
async def test_an_answer_of_many_lines_ends_where_its_pattern_says(bench: Bench) -> None:
    async def three_lines(mouth: Mouth) -> None:
        for part in (b"a\r\n", b"b\r\n", b"END\r\n"):
            mouth.write(part)
            await asyncio.sleep(0.005)

    bench.peer.script = three_lines
    answer = await bench.link().ask(Text(b"READ 1\r\n", re.compile(rb"END\r\n"), 1.0))
    assert answer == b"a\r\nb\r\nEND\r\n"


@on_streams
async def test_what_is_not_acknowledged_is_only_sent(bench: Bench) -> None:
    async def silent(mouth: Mouth) -> None:
        pass

    bench.peer.script = silent
    link = bench.link()
    assert await link.ask(Text(b"READ 5\r\n", b"")) == b""
    await asyncio.sleep(0.02)
    assert bench.peer.asked == [5]


@on_streams
async def test_an_instrument_that_never_stops_talking(bench: Bench) -> None:
    async def talkative(mouth: Mouth) -> None:
        while True:
            mouth.write(b"blah ")
            await asyncio.sleep(0.005)

    link = bench.link(settle=0.05)
    bench.peer.script = talkative
    with pytest.raises(Silent):
        await bench.read(link, 1)
    with pytest.raises(Unreadable, match="continuous"):
        await bench.read(link, 2)
    await bench.peer.stop()


@on_streams
async def test_who_cannot_be_asked_its_name_is_first_left_to_fall_silent(bench: Bench) -> None:
    nameless = driver(bench.question(1), settle=0.1)
    object.__setattr__(nameless, "identity", None)
    link = Wires().link(bench.address, nameless)
    began = time.monotonic()
    await bench.read(link, 1)
    assert time.monotonic() - began >= 0.1
    await link.close()


@on_streams
async def test_silence_tells_what_did_come(bench: Bench) -> None:
    async def cut(mouth: Mouth) -> None:
        mouth.write(b"12\x003")

    bench.peer.script = cut
    with pytest.raises(Silent, match=re.escape(r'only 4 bytes: "12\x003"')):
        await bench.read(bench.link(), 1)


@pytest.mark.parametrize("bench", ["text on pty"], indirect=True)
async def test_a_serial_port_is_opened_for_nobody_else(bench: Bench, tmp_path: Path) -> None:
    first = bench.link()
    await bench.read(first, 1)
    stranger = Wires().link(bench.address, driver(bench.question(1)))
    with pytest.raises(Lost, match="in use by another program"):
        await stranger.open()
    await first.close()
    await stranger.open()
    await stranger.close()
    missing = make_bench("text on pty", tmp_path / "none")
    with pytest.raises(Lost, match="no such port"):
        await missing.link().open()


@on_streams
async def test_unplugged_between_two_questions_leaves_no_late_answer_to_wait_for(bench: Bench) -> None:
    link = bench.link(settle=5.0)
    await bench.read_until_right(link, 1)
    await bench.peer.stop()
    await asyncio.sleep(0.02)
    with pytest.raises(Lost):
        await bench.read(link, 2)
    await bench.peer.start_serving()
    began = time.monotonic()
    await bench.read_until_right(link, 3)
    assert time.monotonic() - began < 1.0
