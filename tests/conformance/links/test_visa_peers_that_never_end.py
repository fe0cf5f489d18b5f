"""A VISA peer costs no more than its own time-out: no thread, no memory, no moment of the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pyvisa

from drivers.driver import Text
from drivers.errors import InstrumentError, Lost, Silent, Unreadable
from drivers.links.visa import VisaLink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

TIMEOUT = 0.3
CONNECT = 0.2
OPENING = 3 * CONNECT
SETTLE = 0.02
MOST_BYTES = 10 << 20
LONGEST_HOLD = 0.05


@dataclass
class RudePeer:
    """The program beside this file; `behave` says how it behaves from the next question on."""

    kind: str
    program: subprocess.Popen[str]
    port: int
    links: list[VisaLink] = field(default_factory=list)

    def behave(self, how: str) -> None:
        assert self.program.stdin is not None
        assert self.program.stdout is not None
        print(how, file=self.program.stdin, flush=True)
        assert self.program.stdout.readline() == "yes\n"

    def link(self, settle: float = SETTLE) -> VisaLink:
        name = {
            "hislip": f"TCPIP::127.0.0.1::hislip0,{self.port}::INSTR",
            "vxi-11": f"TCPIP::127.0.0.1,{self.port}::inst0::INSTR",
        }[self.kind]
        self.links.append(VisaLink(name, settle, open_timeout=CONNECT))
        return self.links[-1]


@pytest.fixture(scope="module", params=["hislip", "vxi-11"])
def running(request: pytest.FixtureRequest) -> Iterator[RudePeer]:
    program = subprocess.Popen(
        [sys.executable, "-S", str(Path(__file__).with_name("visa_rude_peers.py")), request.param],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    with program:
        yield RudePeer(request.param, program, int(program.stdout.readline()))
        program.kill()


@pytest.fixture
async def peer(running: RudePeer) -> AsyncIterator[RudePeer]:
    running.behave("right")
    yield running
    while running.links:
        await running.links.pop().close()


def ask(number: int, timeout: float = TIMEOUT) -> Text:
    return Text(b"READ %d\n" % number, b"\n", timeout)


async def healthy(link: VisaLink, number: int) -> None:
    assert await link.ask(ask(number, 1.0)) == b"VALUE %d of %d\n" % (number, number)


def waits(link: VisaLink) -> bool:
    return link.waiting  # a call: mypy holds a property for constant


def threads() -> int:
    return sum(thread.name.startswith("visa ") for thread in threading.enumerate())


async def no_thread_left(before: int = 0) -> None:
    for _ in range(60):
        if threads() <= before:
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"{threads()} threads, {before} before")


@dataclass
class Costs:
    """What the cheaper of two attempts costs: what else the computer does costs as well, and rarely both times.

    Seconds in which the loop did not run, in all and as the processor time of this process, and the most memory at
    once of both attempts, in bytes.
    """

    holds: list[tuple[float, float]] = field(default_factory=list)
    bytes: int = 0

    @contextlib.asynccontextmanager
    async def measured(self) -> AsyncIterator[None]:
        holds = [(0.0, 0.0)]

        async def tick() -> None:
            while True:
                began, burnt = time.monotonic(), time.process_time()
                await asyncio.sleep(0.002)
                holds.append((time.monotonic() - began, time.process_time() - burnt))

        gc.collect()
        tracemalloc.start(1)
        ticking = asyncio.ensure_future(tick())
        try:
            yield
        finally:
            await asyncio.sleep(0.01)
            ticking.cancel()
            self.bytes = max(self.bytes, tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            self.holds.append((max(wall for wall, _ in holds), max(min(hold) for hold in holds)))

    def bounded(self) -> None:
        assert self.bytes < MOST_BYTES
        assert min(own for _, own in self.holds) < LONGEST_HOLD
        assert min(wall for wall, _ in self.holds) < 10 * LONGEST_HOLD


async def is_well_again(peer: RudePeer, link: VisaLink, costs: Costs) -> None:
    """Let the peer behave: it is read at once, and what it did has cost little."""
    peer.behave("right")
    began = time.monotonic()
    await healthy(link, 4)
    assert time.monotonic() - began < 0.3
    costs.bounded()
    await link.close()
    await no_thread_left()


@pytest.mark.parametrize(
    ("how", "expected", "words"),
    [
        ("is silent", Silent, r"no whole answer within 0\.3 s"),
        ("drips", Silent, r"no whole answer within 0\.3 s"),
        ("answers another question", Unreadable, "17 messages came that do not belong to the question"),
        (
            "sends fragments without end",
            Unreadable,
            r"1\d{5} bytes came without the end of an answer|bytes came without END",
        ),
        ("sends empty fragments without end", Unreadable, "257 messages came without the end of an answer"),
        ("claims 2000 MiB", Unreadable, "a message claims 2097152000 bytes, and an answer has 65536 at most"),
        ("claims 2000 MiB for another question", Unreadable, "a message claims 2097152000 bytes"),
    ],
)
async def test_an_answer_that_never_ends(peer: RudePeer, how: str, expected: type[InstrumentError], words: str) -> None:
    link, costs = peer.link(), Costs()
    await healthy(link, 1)
    peer.behave(how)
    for number in (2, 3):
        async with costs.measured():
            began = time.monotonic()
            with pytest.raises(expected, match=words):
                await link.ask(ask(number))
            assert time.monotonic() - began < TIMEOUT + 0.5
            await no_thread_left()
    await is_well_again(peer, link, costs)


@pytest.mark.parametrize(
    "how",
    [
        "says nothing",
        "drips its greeting",
        "floods the opening",
        "claims 2000 MiB at the opening",
        "takes 0 bytes",
        "is silent on its second channel",
    ],
)
async def test_an_opening_that_never_ends(peer: RudePeer, how: str) -> None:
    if peer.kind == "vxi-11" and "second channel" in how:
        pytest.skip("VXI-11 has one channel")
    link, costs = peer.link(), Costs()
    peer.behave(how)
    for _ in range(2):
        async with costs.measured():
            began = time.monotonic()
            with pytest.raises(Lost):
                await link.open()
            assert time.monotonic() - began < OPENING + 0.5
            await no_thread_left()
    await is_well_again(peer, link, costs)


@pytest.mark.parametrize("give_up", ["cancel", "close"])
@pytest.mark.parametrize("how", ["drips", "is silent"])
async def test_a_question_that_is_given_up_frees_its_thread(peer: RudePeer, how: str, give_up: str) -> None:
    link = peer.link(settle=0.15)
    await healthy(link, 1)
    peer.behave(how)
    question = asyncio.ensure_future(link.ask(ask(2, 30.0)))
    await asyncio.sleep(0.05)
    if give_up == "cancel":
        question.cancel()
        with pytest.raises(asyncio.CancelledError):
            await question
    else:
        await link.close()
        with pytest.raises(Lost, match="closed on this side"):
            await question
    began = time.monotonic()
    await no_thread_left()
    peer.behave("right")
    await healthy(link, 3)
    assert 0.1 < time.monotonic() - began < 0.6


async def test_some_answers_to_an_earlier_question_are_passed_over(peer: RudePeer) -> None:
    link = peer.link()
    peer.behave("answers an earlier question first")
    for number in range(1, 11):
        await healthy(link, number)


async def test_an_answer_that_is_seen_late_does_not_count(peer: RudePeer) -> None:
    """The loop was held: the answer had come, and nothing shows when."""
    link = peer.link()
    await healthy(link, 1)
    question = asyncio.ensure_future(link.ask(ask(2, 0.1)))
    await asyncio.sleep(0)
    time.sleep(0.15)  # the library's time-out has a margin of 0.1 s
    with pytest.raises(Silent, match=r"seen 0\.1\d+ s after the question"):
        await question
    await healthy(link, 3)


async def test_a_new_session_counts_as_unasked_bytes(peer: RudePeer) -> None:
    link = peer.link()
    await healthy(link, 1)
    await healthy(link, 2)
    assert link.unasked == 0
    for sessions in (1, 2):
        link.distrust()
        await healthy(link, 3)
        assert link.unasked == sessions


async def test_waits_while_it_opens_and_not_while_it_asks(peer: RudePeer) -> None:
    link = peer.link()
    peer.behave("says nothing")
    question = asyncio.ensure_future(link.ask(ask(1)))
    await asyncio.sleep(0.1)
    assert waits(link)
    with pytest.raises(Lost):
        await question
    peer.behave("right")
    await healthy(link, 2)
    peer.behave("is silent")
    question = asyncio.ensure_future(link.ask(ask(3)))
    await asyncio.sleep(0.1)
    assert not waits(link)
    with pytest.raises(Silent):
        await question
    assert not link.suspect  # the session was replaced, and its answers with it


async def test_sockets_that_are_not_guarded_are_not_used(peer: RudePeer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of pyvisa-py may open them another way; nothing would bound it then."""
    await healthy(peer.link(), 1)
    for protocol in ("hislip", "rpc"):
        monkeypatch.setattr(f"pyvisa_py.protocols.{protocol}.socket", socket)
    with pytest.raises(Lost, match="opens sockets in a way that is not known"):
        await peer.link().open()


async def test_a_closed_session_is_forgotten(peer: RudePeer) -> None:
    """pyvisa-py keeps each session that was ever opened, and pyvisa the last status of each."""
    link = peer.link()
    await healthy(link, 0)
    library = pyvisa.ResourceManager("@py").visalib
    tables = [library.sessions, library._last_status_in_session, library._ignore_warning_in_session]  # type: ignore[attr-defined]
    before = [len(table) for table in tables]
    for number in range(1, 6):
        link.distrust()
        await healthy(link, number)
    await no_thread_left(1)
    assert [len(table) for table in tables] == before


async def test_descriptors_beyond_1023(peer: RudePeer) -> None:
    """`select` of the C library ends there; a station with many instruments does not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2048:
        pytest.skip("this user may not have so many descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2048, hard))
    held: list[int] = []
    try:
        while not held or held[-1] < 1024:
            held.append(os.dup(0))
        link = peer.link()
        await healthy(link, 1)
        await link.close()
        await no_thread_left()
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
