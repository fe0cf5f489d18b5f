"""When a wire is closed and opened again: idle connections, dead sessions, a line that XOFF stopped, descriptors."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import termios
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from drivers.driver import SerialLine, Text
from drivers.errors import InstrumentError, Lost, Silent
from drivers.links import Wires
from drivers.links.opening import open_serial, open_tcp
from tests.conformance.links.conftest import MODBUS, STREAMS, Bench, driver, make_bench
from tests.conformance.links.peers import Lines, Mouth, TcpPeer, refusal, right

if TYPE_CHECKING:
    from collections.abc import Iterator

on_tcp = pytest.mark.parametrize("bench", ["text on tcp", "modbus tcp", "modbus rtu over tcp"], indirect=True)
on_bytes = pytest.mark.parametrize("bench", STREAMS + MODBUS, indirect=True)


async def silent(mouth: Mouth) -> None:
    pass


@on_tcp
async def test_a_peer_that_closes_between_two_questions_is_asked_again_without_a_failure(bench: Bench) -> None:
    async def once(mouth: Mouth) -> None:
        mouth.answer()
        mouth.hang_up()

    bench.peer.script = once
    link, other = bench.link(1), bench.link(2)
    await bench.read(link, 1)
    for number in range(2, 6):
        await asyncio.sleep(0.02)
        unasked = link.unasked
        await bench.read(link, number)
        assert link.unasked == unasked + 1, "who answers need not be proven again"
    assert link.reopened == 4
    await asyncio.sleep(0.02)
    await other.open()
    await asyncio.sleep(0.02)
    await bench.read(link, 7)
    await asyncio.sleep(0.02)
    await bench.read(other, 8)


@on_bytes
async def test_a_session_without_one_byte_is_opened_anew_after_three_rounds(bench: Bench) -> None:
    link = bench.link(settle=0.02)
    await bench.read(link, 1)
    bench.peer.script = silent
    connections = [link_connection(link)]
    for number in range(2, 8):
        with pytest.raises(Silent):
            await bench.read(link, number, 0.03)
        if link_connection(link) is not connections[-1]:
            connections.append(link_connection(link))
    assert [bool(one.lost) for one in connections] == [True, True]
    bench.peer.script = right
    await bench.read(link, 9, 0.5)


def link_connection(link: Any) -> Any:
    wire = link._wire if hasattr(link, "_wire") else link._bus.wire
    return wire._connection


async def test_a_dead_session_gives_way_to_one_that_is_served() -> None:
    """The first connection is accepted and never answered; later ones are."""
    accepted: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(writer)
        dead = len(accepted) == 1
        while await reader.readline():
            if not dead:
                writer.write(b"VALUE 1 of 1\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    query = Text(b"READ 1\r\n", timeout=0.05)
    wires = Wires()
    link = wires.link(f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}", driver(query, 0.02))
    for _ in range(3):
        with pytest.raises(Silent):
            await link.ask(query)
    assert await link.ask(query) == b"VALUE 1 of 1\r\n"
    assert len(accepted) == 2
    await wires.close()
    await asyncio.sleep(0.02)
    server.close()


@pytest.mark.parametrize("bench", ["text on pty"], indirect=True)
async def test_one_stray_xoff_does_not_silence_a_balance(bench: Bench) -> None:
    line = SerialLine(9600, flow="xonxoff")
    link = bench.wires.link(bench.address, driver(bench.question(1), 0.02), line=line)
    await bench.read(link, 1)
    bench.peer.write(b"\x13")
    await asyncio.sleep(0.02)
    failures = await failures_until_right(bench, link)
    assert 1 <= failures <= 3


async def failures_until_right(bench: Bench, link: Any) -> int:
    for failures in range(8):
        try:
            await bench.read(link, 2, 0.05)
        except Silent:
            continue
        return failures
    return 99


@pytest.mark.parametrize("bench", ["text on pty"], indirect=True)
async def test_a_port_keeps_its_lines_when_it_is_closed_and_costs_one_descriptor(bench: Bench) -> None:
    settings = termios.tcgetattr(bench.peer.slave)
    settings[2] |= termios.HUPCL
    termios.tcsetattr(bench.peer.slave, termios.TCSANOW, settings)
    before = descriptors()
    connection = await open_serial(bench.address, SerialLine(9600), "port")
    (fd,) = descriptors() - before
    assert not termios.tcgetattr(int(fd))[2] & termios.HUPCL
    with pytest.raises(Lost, match="in use by another program"):
        await open_serial(bench.address, SerialLine(9600), "port")
    connection.lose("done")
    (await open_serial(bench.address, SerialLine(9600), "port")).lose("done")


@contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """Leave this process so many free descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(descriptors()) + 30, hard))
    try:
        with suppress(OSError):
            while True:
                held.append(os.dup(0))
        for _ in range(count):
            os.close(held.pop())
        yield
    finally:
        for fd in held:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def descriptors() -> set[str]:
    return {one.name for one in Path("/proc/self/fd").iterdir()}


@pytest.mark.parametrize("left", range(5))
@pytest.mark.parametrize("bench", ["text on pty"], indirect=True)
async def test_a_serial_port_without_descriptors_is_lost_and_leaves_none_behind(bench: Bench, left: int) -> None:
    """A port needs five while it is opened: pyserial has four for threads."""
    before = descriptors()
    with descriptors_left(left), pytest.raises(Lost, match="LimitNOFILE"):
        await open_serial(bench.address, SerialLine(9600), "port")
    assert descriptors() == before
    await bench.read(bench.link(), 1)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("bench", ["text on tcp"], indirect=True)
async def test_a_connection_without_descriptors_is_lost_and_costs_no_other_one(bench: Bench, host: str) -> None:
    link = bench.link()
    await bench.read(link, 1)
    with descriptors_left(0), pytest.raises(Lost, match="LimitNOFILE"):
        await open_tcp(host, bench.peer.port, "balance", 1.0)
    with descriptors_left(0):
        await bench.read(link, 2)
    (await open_tcp(host, bench.peer.port, "balance", 1.0)).lose("done")


async def test_names_whose_look_up_hangs_delay_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = TcpPeer(Lines())
    await peer.start_serving()
    real, freed = socket.getaddrinfo, threading.Event()

    def getaddrinfo(host: str, *args: Any, **options: Any) -> Any:
        if "flags" in options:
            return real(host, *args, **options)
        if host.startswith("hangs"):
            freed.wait(5)
            raise socket.gaierror(-2, "Name or service not known")
        return real("127.0.0.1", *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    hanging = [asyncio.create_task(open_tcp(f"hangs-{one}", 1, "x", 0.3)) for one in range(20) for _ in range(2)]
    await asyncio.sleep(0.05)
    threads = threading.active_count()
    began = time.monotonic()
    for _ in range(5):
        (await open_tcp("healthy", peer.port, "healthy", 1.0)).lose("done")
    assert time.monotonic() - began < 0.3
    outcomes = await asyncio.gather(*hanging, return_exceptions=True)
    assert all(isinstance(one, Lost) and "no connection within 0.3 s" in str(one) for one in outcomes)
    assert threads <= 20 + 5
    freed.set()
    await peer.stop()


@pytest.mark.parametrize("host", ["balance..lab", "b" * 70 + ".lab", "caf\u00e9\u2028.lab"])
async def test_what_can_be_no_name_is_lost(host: str) -> None:
    with pytest.raises(Lost):
        await open_tcp(host, 8001, "balance", 1.0)


@on_tcp
async def test_a_wire_that_is_released_while_it_is_opened_again_is_left_closed(bench: Bench) -> None:
    async def once(mouth: Mouth) -> None:
        mouth.answer()
        mouth.hang_up()

    bench.peer.script = once
    link: Any = bench.link()
    await bench.read(link, 1)
    await asyncio.sleep(0.02)
    wire = link._wire if hasattr(link, "_wire") else link._bus.wire
    connect = wire._connect

    async def slow() -> Any:
        await asyncio.sleep(0.05)
        return await connect()

    wire._connect = slow
    asking = asyncio.create_task(bench.read(link, 1))
    await asyncio.sleep(0.02)
    await link.close()
    with pytest.raises(Lost, match="closed while it was opened"):
        await asking
    assert wire._connection is None


@pytest.mark.parametrize("bench", ["text on tcp"], indirect=True)
async def test_a_command_without_an_answer_also_survives_a_peer_that_closes_after_each_answer(bench: Bench) -> None:
    async def once(mouth: Mouth) -> None:
        if mouth.number != 5:
            mouth.answer()
            mouth.hang_up()

    bench.peer.script = once
    link = bench.link()
    for _ in range(3):
        await bench.read(link, 1)
        await link.ask(Text(b"READ 5\r\n", b""))
        await bench.read(link, 2)
    assert bench.peer.asked == [1, 5, 2] * 3


@pytest.mark.parametrize("bench", ["modbus tcp", "modbus rtu over tcp"], indirect=True)
async def test_dead_units_do_not_close_the_wire_of_one_that_answers(bench: Bench) -> None:
    async def only_unit_1(mouth: Mouth) -> None:
        if mouth.unit == 1:
            mouth.answer()

    bench.peer.script = only_unit_1
    live, *dead = (bench.link(unit, settle=0.01) for unit in range(1, 6))
    await bench.read(live, 1)
    connection = link_connection(live)
    for one in dead:
        with pytest.raises(Silent):
            await bench.read(one, 1, 0.02)
    await bench.read(live, 2)
    assert link_connection(live) is connection
    assert (live.reopened, live.unasked) == (0, 0)


@pytest.mark.parametrize("bench", ["modbus tcp", "modbus rtu over tcp"], indirect=True)
async def test_a_refusal_is_an_answer_of_a_session_that_is_not_dead(bench: Bench) -> None:
    asked = 0

    async def every_third(mouth: Mouth) -> None:
        nonlocal asked
        asked += 1
        if asked % 3 == 0:
            mouth.write(refusal(mouth))

    bench.peer.script = every_third
    link: Any = bench.link(settle=0.01)
    connections = set()
    for _ in range(9):
        with pytest.raises(InstrumentError):
            await bench.read(link, 1, 0.02)
        connections.add(link_connection(link))
        assert link._place.failing is (asked % 3 != 0)
    assert len(connections) == 1


async def test_one_that_answered_before_the_session_died_does_not_keep_it(tmp_path: Path) -> None:
    """It is asked once a minute: that it answered shows nothing of the session since the other one fell silent."""
    bench = make_bench("modbus tcp", tmp_path)
    dead: set[Any] = set()

    async def script(mouth: Mouth) -> None:
        if mouth.write.__self__ not in dead:  # type: ignore[attr-defined]  # the connection that it came by
            mouth.answer()

    bench.peer.script = script
    await bench.peer.start_serving()
    often, seldom = bench.link(1, settle=0.02), bench.link(2, settle=0.02)
    await bench.read(often, 1, 0.1)
    await bench.read(seldom, 1, 0.1)
    dead.update(bench.peer.writers)
    failures = await bench.read_until_right(often, 2, 0.1)
    assert failures < 10
    await bench.wires.close()
    await bench.peer.stop()


async def test_an_address_that_does_not_answer_leaves_the_next_ones_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = TcpPeer(Lines())
    await peer.start_serving()
    deaf, waiting = socket.create_server(("127.0.0.1", 0), backlog=0), []
    for _ in range(3):  # its queue is full: a further connection gets no answer at all
        waiting.append(socket.socket())
        waiting[-1].setblocking(False)
        with suppress(BlockingIOError):
            waiting[-1].connect(deaf.getsockname())

    async def three_addresses(host: str, port: int) -> Any:
        del host
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*kind, deaf.getsockname()), (*kind, deaf.getsockname()), (*kind, ("127.0.0.1", port))]

    monkeypatch.setattr("drivers.links.opening.look_up", three_addresses)
    began = time.monotonic()
    (await open_tcp("gateway", peer.port, "gateway", 0.9)).lose("done")
    assert time.monotonic() - began < 0.8
    for one in (deaf, *waiting):
        one.close()
    await peer.stop()


async def test_a_kind_of_address_that_this_machine_has_not_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = TcpPeer(Lines())
    await peer.start_serving()

    async def two_addresses(host: str, port: int) -> Any:
        del host
        kind = (socket.SOCK_STREAM, 6, "")
        return [(9, *kind, ("x", 1)), (socket.AF_INET, *kind, ("127.0.0.1", port))]

    monkeypatch.setattr("drivers.links.opening.look_up", two_addresses)
    (await open_tcp("gateway", peer.port, "gateway", 0.9)).lose("done")
    await peer.stop()


@pytest.mark.parametrize("bench", ["text on tcp"], indirect=True)
async def test_a_link_released_while_it_waits_for_its_turn_opens_nothing(bench: Bench) -> None:
    first, second = bench.link(), bench.link()
    await bench.read_until_right(first, 1)

    async def slow(mouth: Mouth) -> None:
        await asyncio.sleep(0.15)
        mouth.answer()

    bench.peer.script = slow
    asking = asyncio.create_task(bench.read(first, 2, 0.5))
    await asyncio.sleep(0.02)
    opening = asyncio.create_task(second.open())
    await asyncio.sleep(0.02)
    await second.close()
    await asking
    with pytest.raises(Lost, match="closed while it waited"):
        await opening
    await first.close()
    assert first._wire._connection is None, "nobody keeps the wire open"
