"""Each kind of wire with an instrument on it; a test that takes `bench` runs once for each."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from drivers.driver import Channel, Driver, Identity, Poll, Query, SerialLine
from drivers.errors import InstrumentError
from drivers.links import Wires
from tests.conformance.links.peers import Lines, ModbusRtu, ModbusTcp, Mouth, Peer, PtyPeer, TcpPeer
from tests.conformance.links.visa_peers import HislipPeer, Messages, Vxi11Peer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

TIMEOUT = 0.08
SETTLE = 0.05

STREAMS = ["text on pty", "text on tcp"]
MODBUS = ["modbus tcp", "modbus rtu on pty", "modbus rtu over tcp"]
VISA = ["hislip", "vxi-11"]
ALL = STREAMS + MODBUS + VISA


@dataclass
class Bench:
    """One instrument, its address, and links to it."""

    kind: str
    peer: Any
    wires: Wires = field(default_factory=Wires)

    @property
    def address(self) -> str:
        if isinstance(self.peer, PtyPeer):
            return str(self.peer.path)
        if isinstance(self.peer, HislipPeer | Vxi11Peer):
            return str(self.peer.resource())
        scheme = "rtu+tcp" if self.kind == "modbus rtu over tcp" else "tcp"
        return f"{scheme}://127.0.0.1:{self.peer.port}"

    def link(self, unit: int = 1, settle: float = SETTLE, *, echo: bool = False, new: bool = False) -> Any:
        """Make a link; on Modbus one that was asked control questions already, except where it is to be `new`."""
        link: Any = self.wires.link(
            self.address,
            driver(self.question(1), settle),
            unit=unit if self.kind in MODBUS else None,
            connect_timeout=1.0,
            echo=echo,
            line=SerialLine(115200),
        )
        if self.kind in MODBUS and not new:
            link._proven = True
        return link

    def question(self, number: int, timeout: float = TIMEOUT) -> Query:
        query: Query = self.peer.speech.question(number, timeout)
        return query

    def expected(self, number: int) -> bytes:
        expected: bytes = self.peer.speech.expected(number)
        return expected

    async def read(self, link: Any, number: int, timeout: float = TIMEOUT) -> bytes:
        answer: bytes = await link.ask(self.question(number, timeout))
        assert answer == self.expected(number), "the answer to another question"
        return answer

    async def talking(self) -> tuple[Any, Mouth]:
        """Ask once; gives the link, and the mouth of the instrument, which can speak by itself."""
        mouths: list[Mouth] = []

        async def keep(mouth: Mouth) -> None:
            mouths.append(mouth)
            mouth.answer()

        self.peer.script = keep
        link = self.link()
        await self.read(link, 1)
        return link, mouths[0]

    async def read_until_right(self, link: Any, number: int, timeout: float = 0.5) -> int:
        """Read until there is an answer, count the failures; a wrong answer fails the test."""
        for failures in range(20):
            try:
                await self.read(link, number, timeout)
            except InstrumentError:
                await asyncio.sleep(0.02)
            else:
                return failures
        raise AssertionError("no answer any more")


def driver(query: Query, settle: float = SETTLE) -> Driver[Any]:
    """Give the least driver that asks this way."""
    channel = Channel("value", "voltage", "V")
    return Driver("a test instrument", (Poll(query, (channel,), lambda _: ()),), Identity(query, str), settle=settle)


def make_bench(kind: str, folder: Path) -> Bench:
    match kind:
        case "text on pty" | "modbus rtu on pty":
            peer: Peer = PtyPeer(Lines() if kind == "text on pty" else ModbusRtu())
            peer.path = folder / "port"  # type: ignore[attr-defined]
        case "hislip":
            peer = HislipPeer(Messages())
        case "vxi-11":
            peer = Vxi11Peer(Messages())
        case _:
            speech = {"text on tcp": Lines, "modbus tcp": ModbusTcp, "modbus rtu over tcp": ModbusRtu}[kind]()
            peer = TcpPeer(speech)
    return Bench(kind, peer)


@pytest.fixture(params=ALL)
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    made = make_bench(request.param, tmp_path)
    await made.peer.start_serving()
    yield made
    await made.wires.close()
    await made.peer.stop()
