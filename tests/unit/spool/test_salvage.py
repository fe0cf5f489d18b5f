"""A damaged spool keeps no station from acquiring, is never deleted, and loses only the rows of its damaged pages."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

import pytest

from daq.road.batch import Ack
from daq.road.point import seq_of
from daq.spool.queue import Spool, SpoolError
from daq.spool.salvage import mend_header
from tests.spools import GIB, filled, reading

if TYPE_CHECKING:
    from pathlib import Path

PAGE = 4096
ROWS = 2_000


async def damaged(path: Path, places: list[int]) -> None:
    """Fill a spool of which the first half is stored, close it, and write noise over some of its pages."""
    spool = await filled(path, ROWS)
    spool.acknowledge(Ack(spool.epoch, [(1, ROWS // 2)]))
    await spool.close()
    data = bytearray(path.read_bytes())
    for place in places:
        data[place * PAGE : (place + 1) * PAGE] = bytes(random.Random(place).randbytes(PAGE))
    path.write_bytes(data)


async def waiting(spool: Spool) -> list[bytes]:
    while spool.salvaging:
        await asyncio.sleep(0.01)
    lines, start = [], 1
    while (run := await spool.run_from(start, 500)) is not None:
        lines += run[1]
        start = run[0] + len(run[1])
    return lines


@pytest.mark.parametrize("seed", range(12))
async def test_noise_over_some_pages(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "s.sqlite"
    dice = random.Random(seed)
    await damaged(path, [dice.randrange(1, 120) for _ in range(3)])
    begun = time.monotonic()
    spool = Spool(path, GIB)
    spool.put(reading(ROWS + 1))
    await spool.flush()
    assert time.monotonic() - begun < 5.0
    lines = await waiting(spool)
    assert [seq_of(line) for line in lines] == sorted(seq_of(line) for line in lines)
    values = {line.split(b"value=")[1].split(b",")[0] for line in lines}
    assert values <= {str(number).encode() for number in range(ROWS + 2)}, "a row that nobody wrote"
    await spool.close()
    if spool.damage:
        assert "moved away as s.sqlite.damaged-" in spool.damage
        assert list(tmp_path.glob("s.sqlite.damaged-*"))
        assert all(f'epoch="{spool.epoch}"'.encode() in line for line in lines)
    assert str(ROWS + 1).encode() in values


@pytest.mark.parametrize("content", [b"", b"no database at all", b"SQLite format 3\x00" + b"\xff" * 8000])
async def test_file_that_is_no_spool(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "s.sqlite"
    path.write_bytes(content)
    spool = Spool(path, GIB)
    assert spool.put(reading(1)) == 1
    await spool.flush()
    await spool.close()
    assert bool(spool.damage) == bool(content)


async def test_one_damaged_page_costs_only_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    await damaged(path, [])
    middle = path.stat().st_size // PAGE // 2  # nearly all pages of the file are leaves of the table of records
    data = bytearray(path.read_bytes())
    data[middle * PAGE : (middle + 1) * PAGE] = b"\xff" * PAGE
    path.write_bytes(data)
    spool = Spool(path, GIB)
    lines = await waiting(spool)
    await spool.close()
    assert spool.damage
    assert ROWS // 2 - 40 <= len(lines) <= ROWS // 2


@pytest.mark.parametrize("seed", range(6))
async def test_inner_pages_of_the_tree_cost_no_record(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "s.sqlite"
    await damaged(path, [])
    data = bytearray(path.read_bytes())
    inner = [page for page in range(1, len(data) // PAGE) if data[page * PAGE] == 0x05]
    page = random.Random(seed).choice(inner)
    data[page * PAGE : (page + 1) * PAGE] = random.Random(seed).randbytes(PAGE)
    path.write_bytes(data)
    spool = Spool(path, GIB)
    lines = await waiting(spool)
    await spool.close()
    assert len(lines) >= ROWS // 2, "where the table of what is stored is out of reach, more comes, and never less"
    values = {line.split(b"value=")[1].split(b",")[0] for line in lines}
    assert values >= {b"%d" % number for number in range(ROWS // 2, ROWS)}


async def test_folder_is_not_taken_for_a_damaged_spool(tmp_path: Path) -> None:
    folder = tmp_path / "s.sqlite"
    folder.mkdir()
    with pytest.raises(SpoolError, match="cannot be used as a spool"):
        Spool(folder, GIB)
    assert folder.is_dir()


async def test_header_of_a_spool_says_what_salvage_takes_for_granted(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    await damaged(path, [])
    assert not mend_header(path)


@pytest.mark.parametrize("place", [0, 16, 18, 21, 30, 46, 59])
async def test_turned_bit_in_the_header_costs_no_record(tmp_path: Path, place: int) -> None:
    path = tmp_path / "s.sqlite"
    await damaged(path, [])
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << 4
    path.write_bytes(data)
    spool = Spool(path, GIB)
    lines = await waiting(spool)
    await spool.close()
    assert len(lines) == ROWS // 2
