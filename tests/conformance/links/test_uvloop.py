"""The loop of libuv polls descriptors in its own way: what breaks a wire must be noticed on it as well."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from drivers.errors import Lost, Silent
from tests.conformance.links.conftest import MODBUS, STREAMS, make_bench

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conformance.links.peers import Mouth

uvloop = pytest.importorskip("uvloop")


async def silent(mouth: Mouth) -> None:
    pass


async def hang_up(mouth: Mouth) -> None:
    mouth.hang_up()


@pytest.mark.parametrize("kind", STREAMS + MODBUS)
def test_reads_loses_and_comes_back(kind: str, tmp_path: Path) -> None:
    async def scene() -> None:
        bench = make_bench(kind, tmp_path)
        await bench.peer.start_serving()
        link = bench.link()
        await bench.peer.stop()
        with pytest.raises(Lost):
            await link.open()
        await bench.peer.start_serving()
        for number in range(1, 50):
            await bench.read(link, number, 1.0)
        right, bench.peer.script = bench.peer.script, silent
        with pytest.raises(Silent):
            await bench.read(link, 50)
        bench.peer.script = right
        await bench.read(link, 51, 1.0)
        bench.peer.script = hang_up
        began, burnt = time.monotonic(), time.process_time()
        with pytest.raises(Lost):
            await bench.read(link, 52, 2.0)
        assert time.monotonic() - began < 0.2
        await asyncio.sleep(0.2)
        assert time.process_time() - burnt < 0.1
        await bench.peer.stop()
        await bench.peer.start_serving()
        bench.peer.script = right
        await bench.read_until_right(link, 53)
        await bench.wires.close()
        await bench.peer.stop()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scene())
