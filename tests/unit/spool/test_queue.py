"""The spool keeps what it promised across closing, killing, filling and damage."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from daq.road.batch import Ack, Rejection
from daq.road.point import seq_of
from daq.spool import salvage
from daq.spool.file import Changes, SpoolFile
from daq.spool.queue import Ledger, Retention, Spool, SpoolError, SpoolFull
from tests.disk import faulty_disk
from tests.spools import GIB, filled, reading

FULL = 2 * 2**20


async def test_survives_closing(tmp_path: Path) -> None:
    spool = await filled(tmp_path / "s.sqlite", 100)
    epoch = spool.epoch
    spool.acknowledge(Ack(epoch, [(1, 40), (51, 60)], [Rejection(45, "no such field")]))
    await spool.close()
    again = Spool(tmp_path / "s.sqlite", GIB)
    assert again.epoch == epoch
    assert again.ledger == Ledger(acquired=100, stored=50, spooled=49, quarantined=1, dropped=0)
    assert again.put(reading(100)) == 101
    first = await again.run_from(1, 100)
    assert first is not None
    assert (first[0], [seq_of(line) for line in first[1]]) == (41, [41, 42, 43, 44])
    second = await again.run_from(45, 100)
    assert second is not None
    assert (second[0], len(second[1])) == (46, 5)
    await again.close()


async def test_has_one_owner(tmp_path: Path) -> None:
    spool = await filled(tmp_path / "s.sqlite", 1)
    with pytest.raises(SpoolError, match="in use by another process"):
        Spool(tmp_path / "s.sqlite", GIB)
    await spool.close()


async def test_numbers_are_never_used_twice_after_pruning(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s.sqlite", GIB, Retention(keep=0.0))
    for number in range(10):
        spool.put(reading(number))
    await spool.flush()
    spool.acknowledge(Ack(spool.epoch, [(1, 10)]))
    await spool.close()
    with sqlite3.connect(tmp_path / "s.sqlite") as connection:
        connection.execute("DELETE FROM record")
    again = Spool(tmp_path / "s.sqlite", GIB)
    assert again.put(reading(1)) == 11
    await again.close()


async def test_file_whose_last_change_was_pruning_is_whole(tmp_path: Path) -> None:
    file = SpoolFile(tmp_path / "s.sqlite", GIB)
    file.commit(Changes([(seq, seq, b"a line") for seq in range(1, 11)], [(1, 5)]))
    assert file.prune(before=100) == 5
    file.close()
    again = SpoolFile(tmp_path / "s.sqlite", GIB)
    assert (again.damage, again.last, again.pruned) == ("", 10, 5)
    again.close()


async def test_damaged_row_goes_to_quarantine_and_stops_nobody(tmp_path: Path) -> None:
    spool = await filled(tmp_path / "s.sqlite", 10)
    await spool.close()
    with sqlite3.connect(tmp_path / "s.sqlite") as connection:
        connection.execute("UPDATE record SET line = replace(line, 'S S', 'S D') WHERE seq = 4")
        connection.execute("DELETE FROM record WHERE seq = 7")
    again = Spool(tmp_path / "s.sqlite", GIB)
    sent, start = [], 1
    while (run := await again.run_from(start, 100)) is not None:
        sent += [seq_of(line) for line in run[1]]
        start = run[0] + len(run[1])
    assert sent == [1, 2, 3, 5, 6, 8, 9, 10]
    assert again.ledger == Ledger(acquired=10, stored=0, spooled=8, quarantined=2, dropped=0)
    await again.close()


async def test_full_file_gives_up_the_oldest_and_says_so(tmp_path: Path) -> None:
    dropped: list[tuple[int, int]] = []
    spool = Spool(tmp_path / "s.sqlite", FULL)
    spool.on_drop = lambda first, last: dropped.append((first, last))
    for number in range(12_000):
        spool.put(reading(number))
    await spool.flush()
    ledger = spool.ledger
    assert ledger.dropped == sum(last - first + 1 for first, last in dropped) > 0
    assert ledger.acquired == 12_000 == ledger.spooled + ledger.dropped
    run = await spool.run_from(1, 10)
    assert run is not None
    assert run[0] == dropped[-1][1] + 1
    await spool.close()
    assert (tmp_path / "s.sqlite").stat().st_size <= FULL


async def test_full_file_removes_stored_rows_first(tmp_path: Path) -> None:
    spool = await filled(tmp_path / "s.sqlite", 5_000, limit=FULL)
    spool.acknowledge(Ack(spool.epoch, [(1, 5_000)]))
    for number in range(5_000, 9_000):
        spool.put(reading(number))
    await spool.flush()
    assert spool.ledger == Ledger(acquired=9_000, stored=5_000, spooled=4_000, quarantined=0, dropped=0)
    await spool.close()


_WRITER = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.spools import reading, GIB
from daq.spool.queue import Spool

async def main():
    spool = Spool(Path({path!r}), GIB)
    number = spool.committed
    spool.on_commit = lambda: print(spool.committed, flush=True)
    while True:
        for _ in range(20):
            spool.put(reading(number))
            number += 1
        await asyncio.sleep(0.001)

asyncio.run(main())
"""


@pytest.mark.parametrize("round_", range(3))
def test_kill_loses_nothing_that_was_committed(tmp_path: Path, round_: int) -> None:
    script = _WRITER.format(root=str(Path(__file__).parents[3]), path=str(tmp_path / "s.sqlite"))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        said = [int(writer.stdout.readline()) for _ in range(5 + 7 * round_)]
        os.kill(writer.pid, signal.SIGKILL)
        said += [int(line) for line in writer.stdout if line.endswith("\n")]
    with sqlite3.connect(tmp_path / "s.sqlite") as connection:
        kept = [seq for (seq,) in connection.execute("SELECT seq FROM record ORDER BY seq")]
    connection.close()
    assert kept[: said[-1]] == list(range(1, said[-1] + 1))


async def test_full_file_that_may_drop_nothing_refuses_new_records_until_there_is_room(tmp_path: Path) -> None:
    told: list[bool] = []
    spool = Spool(tmp_path / "s.sqlite", FULL, Retention(when_full="refuse_new"))
    spool.on_full = told.append
    number = 0
    while not told:
        spool.put(reading(number))
        number += 1
        if number % 500 == 0:
            await spool.flush()
    with pytest.raises(SpoolFull, match="may drop nothing"):
        spool.put(reading(number))
    assert told == [True]
    urgent = spool.put(reading(number), urgent=True)
    await spool.flush()
    assert spool.ledger == Ledger(acquired=number + 1, stored=0, spooled=number + 1, quarantined=0, dropped=0)
    spool.acknowledge(Ack(spool.epoch, [(1, urgent - 10)]))
    while told[-1]:
        await spool.flush()
        await asyncio.sleep(0.01)
    assert told == [True, False]
    assert spool.put(reading(number + 1)) == urgent + 1
    await spool.flush()
    assert (tmp_path / "s.sqlite").stat().st_size <= FULL
    await spool.close()


async def test_record_that_waits_for_too_long_is_given_up_where_the_config_says_so(tmp_path: Path) -> None:
    gone: list[tuple[int, int]] = []
    spool = await filled(tmp_path / "s.sqlite", 10)  # their stamps are of 2023
    await spool.close()
    spool = Spool(tmp_path / "s.sqlite", GIB, Retention(keep_waiting=3600.0))
    spool.on_drop = lambda first, last: gone.append((first, last))
    await spool.flush()
    while not gone:
        await asyncio.sleep(0.01)
    assert gone == [(1, 10)]
    assert spool.ledger == Ledger(acquired=10, stored=0, spooled=0, quarantined=0, dropped=10)
    await spool.close()


async def test_file_that_is_damaged_under_a_running_station_is_begun_again(tmp_path: Path) -> None:
    """What waits in memory gets numbers of the new epoch; what the old file still holds is read from it."""
    path, began = tmp_path / "s.sqlite", asyncio.Event()
    with faulty_disk(tmp_path) as disk:
        spool = Spool(path, GIB)
        spool.on_new_epoch = began.set
        epoch = spool.epoch
        for number in range(3_000):
            spool.put(reading(number))
        await spool.flush()
        await spool.do(lambda file: file._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
        data = bytearray(path.read_bytes())
        data[4096 * 3 : 4096 * 4] = b"\xff" * 4096
        path.write_bytes(data)
        disk.fail("write", 1, sqlite3.SQLITE_IOERR_WRITE)
        for number in range(3_000, 3_100):
            spool.put(reading(number))
        await spool.flush()
        assert began.is_set()
        assert spool.epoch != epoch
        assert "moved away as s.sqlite.damaged-" in spool.damage
        while spool.salvaging:
            await asyncio.sleep(0.01)
        await spool.flush()
        lines = await lines_of(spool)
        values = {int(line.split(b"value=")[1].split(b",")[0]) for line in lines}
        assert values >= set(range(3_000, 3_100))
        assert len(values) > 2_900, "one page is gone, no more"
        assert len(lines) == len(values)
        assert all(spool.epoch.encode() in line for line in lines)
        await spool.close()


async def lines_of(spool: Spool) -> list[bytes]:
    lines, start = [], 1
    while (found := await spool.run_from(start, 500)) is not None:
        start = found[0] + len(found[1])
        lines += found[1]
    return lines


async def test_released_and_recalled_records_wait_again(tmp_path: Path) -> None:
    spool = await filled(tmp_path / "s.sqlite", 10)
    spool.acknowledge(Ack(spool.epoch, [(1, 4), (6, 10)], [Rejection(5, "no such field")]))
    await spool.flush()
    await spool.do(lambda file: file.count(1, 10))
    assert spool.ledger == Ledger(10, 9, 0, 1, 0)
    assert await spool.release(1, 10) == 1
    assert await spool.release(1, 10) == 0
    assert spool.ledger == Ledger(10, 9, 1, 0, 0)
    assert await spool.recall(reading(0).at, reading(3).at) == 3
    assert spool.ledger == Ledger(10, 6, 4, 0, 0)
    assert [seq_of(line) for line in await lines_of(spool)] == [1, 2, 3, 5]
    await spool.close()
    again = Spool(tmp_path / "s.sqlite", GIB)
    assert again.ledger == Ledger(10, 6, 4, 0, 0)
    await again.close()


@pytest.mark.parametrize("where", ["middle", "end"])
async def test_damage_that_shows_only_later_stops_neither_reading_nor_writing(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large file is not checked to its end at the start; the damaged page shows when it is read, or written to."""
    path, count = tmp_path / "s.sqlite", 5_000
    spool = await filled(path, count)
    await spool.close()
    data = bytearray(path.read_bytes())
    pages = [page for page in range(2, len(data) // 4096) if data[page * 4096] == 0x0D]  # leaves of a table
    newest = next(page for page in pages if b"value=4999" in data[page * 4096 : (page + 1) * 4096])
    page = newest if where == "end" else pages[len(pages) // 2]
    data[page * 4096 : (page + 1) * 4096] = b"\xff" * 4096
    path.write_bytes(data)
    monkeypatch.setattr("daq.spool.schema.CHECK_BYTES", 0)
    monkeypatch.setattr("daq.spool.writer.RETRY", 0.01)
    spool = Spool(path, GIB)
    for number in range(count, count + 50):
        spool.put(reading(number))
    await spool.flush()
    await lines_of(spool)  # what is in the way shows here, or has shown already
    while salvage.unread(path):
        await asyncio.sleep(0.01)
    await spool.flush()
    values = {int(line.split(b"value=")[1].split(b",")[0]) for line in await lines_of(spool)}
    assert values >= set(range(count, count + 50))
    assert len(values) > count - 50, "one page is gone, no more"
    assert list(tmp_path.glob("s.sqlite.damaged-*.read"))
    await spool.close()


async def test_full_file_that_may_drop_nothing_takes_what_waits_in_memory_when_the_database_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More was taken than has room, while the disk was slow: rows make room only once they are noted as stored."""
    monkeypatch.setattr("daq.spool.writer.RETRY", 0.01)
    monkeypatch.setattr("daq.spool.queue.RECENT", 0)
    spool = Spool(tmp_path / "s.sqlite", FULL, Retention(when_full="refuse_new"))
    for number in range(12_000):
        spool.put(reading(number))
    while not spool.trouble:
        await asyncio.sleep(0.01)
    assert 0 < spool.committed < 12_000
    async with asyncio.timeout(20.0):
        while spool.ledger.stored < 12_000:
            with suppress(SpoolError):
                while (run := await spool.run_from(1, 500)) is not None:
                    spool.acknowledge(Ack(spool.epoch, [(run[0], run[0] + len(run[1]) - 1)]))
            await asyncio.sleep(0.01)
    assert spool.ledger == Ledger(acquired=12_000, stored=12_000, spooled=0, quarantined=0, dropped=0)
    await spool.close()


async def test_record_that_is_refused_while_it_is_dropped_is_dropped(tmp_path: Path) -> None:
    spool, loop = await filled(tmp_path / "s.sqlite", 10), asyncio.get_running_loop()

    def refuse_and_drop(_: SpoolFile) -> None:
        refusal = Ack(spool.epoch, [], [Rejection(1, "field type conflict")])
        loop.call_soon_threadsafe(spool.acknowledge, refusal)  # the loop hears it before it hears of the drop
        spool._writer._drop(reading(3).at)

    await spool.do(refuse_and_drop)
    await spool.flush()
    expected = Ledger(acquired=10, stored=0, spooled=7, quarantined=0, dropped=3)
    assert spool.ledger == expected
    await spool.close()
    again = Spool(tmp_path / "s.sqlite", GIB)
    assert again.ledger == expected
    await again.close()


@pytest.mark.parametrize("asked", ["release", "recall"])
async def test_record_that_is_refused_while_others_are_asked_for_again_is_in_quarantine(
    tmp_path: Path, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool, loop = await filled(tmp_path / "s.sqlite", 10), asyncio.get_running_loop()
    spool.acknowledge(Ack(spool.epoch, [(1, 2)], [Rejection(3, "field type conflict")]))
    original = getattr(spool._file, asked)

    def slowly(first: int, last: int) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = original(first, last)
        loop.call_soon_threadsafe(spool.acknowledge, Ack(spool.epoch, [], [Rejection(7, "field type conflict")]))
        return found

    monkeypatch.setattr(spool._file, asked, slowly)
    if asked == "release":
        assert await spool.release(1, 5) == 1
        expected = Ledger(acquired=10, stored=2, spooled=7, quarantined=1, dropped=0)
    else:
        assert await spool.recall(0, 2**62) == 2
        expected = Ledger(acquired=10, stored=0, spooled=8, quarantined=2, dropped=0)
    assert spool.ledger == expected
    await spool.close()
    again = Spool(tmp_path / "s.sqlite", GIB)
    assert again.ledger == expected
    await again.close()


async def test_row_that_is_dropped_before_it_is_read_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daq.spool.queue.RECENT", 0)
    spool = await filled(tmp_path / "s.sqlite", 10)
    lost: list[int] = []
    spool.on_lost = lost.extend
    read = spool._file.read

    def late_read(first: int, last: int) -> list[tuple[int, bytes]]:
        spool._writer._drop(reading(3).at)
        return read(first, last)

    monkeypatch.setattr(spool._file, "read", late_read)
    run = await spool.run_from(1, 10)
    assert run is not None
    assert run[0] == 4
    assert lost == []
    assert spool.ledger == Ledger(acquired=10, stored=0, spooled=7, quarantined=0, dropped=3)
    await spool.close()


async def test_damaged_row_is_heard_of_although_nobody_waits_for_it_any_more(tmp_path: Path) -> None:
    spool = await filled(tmp_path / "s.sqlite", 10)
    await spool.close()
    with sqlite3.connect(tmp_path / "s.sqlite") as connection:
        connection.execute("DELETE FROM record WHERE seq = 7")
    again = Spool(tmp_path / "s.sqlite", GIB)
    lost: list[int] = []
    again.on_lost = lost.extend
    reader = asyncio.ensure_future(again.run_from(1, 10))
    await asyncio.sleep(0)
    reader.cancel()
    await again.do(lambda _: None)
    await asyncio.sleep(0)
    assert 7 in lost
    assert again.ledger == Ledger(acquired=10, stored=0, spooled=9, quarantined=1, dropped=0)
    await again.close()


async def test_damaged_note_of_what_is_stored_hides_no_row_that_waits(tmp_path: Path) -> None:
    spool = await filled(tmp_path / "s.sqlite", 10)
    spool.acknowledge(Ack(spool.epoch, [(1, 4)]))
    await spool.close()
    with sqlite3.connect(tmp_path / "s.sqlite") as connection:
        connection.execute("UPDATE stored SET last = 9")
    again = Spool(tmp_path / "s.sqlite", GIB)
    while again.salvaging:
        await asyncio.sleep(0.01)
    await again.flush()
    values = {int(line.split(b"value=")[1].split(b",")[0]) for line in await lines_of(again)}
    assert values >= set(range(4, 10))
    await again.close()
