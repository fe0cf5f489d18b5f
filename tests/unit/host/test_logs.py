"""The lines of a service are written by a thread: a reader that does not read costs lines, which are counted."""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from typing import TYPE_CHECKING

import pytest

from daq.host import logs
from daq.host.logs import Human, Journal, Json, Unwaited

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def record(text: str, *values: object) -> logging.LogRecord:
    return logging.LogRecord("daq.test", logging.WARNING, __file__, 1, text, values, None)


def fill(writer: int) -> int:
    """Fill a pipe; gives the bytes."""
    count = 0
    os.set_blocking(writer, False)
    try:
        while True:
            count += os.write(writer, b"." * 512)
    except BlockingIOError:
        return count
    finally:
        os.set_blocking(writer, True)


@pytest.mark.parametrize("form", [Journal("%(message)s"), Human(colours=True), Human(colours=False), Json()])
def test_lines_are_those_of_the_formatter(pipe: tuple[int, int], form: logging.Formatter) -> None:
    reader, writer = pipe
    handler = Unwaited(writer)
    handler.setFormatter(form)
    try:
        raise ValueError("why")  # noqa: TRY301  # a traceback is wanted
    except ValueError as error:
        told = record("é %d", 7)
        told.exc_info = (ValueError, error, error.__traceback__)
    handler.handle(told)
    handler.close()
    assert os.read(reader, 10_000).decode() == form.format(told) + "\n"
    assert "Traceback" in form.format(told)


@pytest.mark.parametrize("more", [0, 1])
def test_what_nobody_reads_is_counted_and_told(pipe: tuple[int, int], more: int) -> None:
    reader, writer = pipe
    filled = fill(writer)
    handler = Unwaited(writer, waiting=20)  # three of the lines that follow
    handler.handle(record("the one that is being written"))
    while not handler._lines.empty():
        time.sleep(0.001)
    for number in range(10):
        handler.handle(record(f"line {number}"))
    while filled:
        filled -= len(os.read(reader, filled))
    gap = "7 log lines are missing here: the reader of standard error did not keep up"
    said = b""
    while gap.encode() not in said:  # it is told as soon as there is room, and not only with the next line
        said += os.read(reader, 10_000)
    for _ in range(more):
        handler.handle(record("the next one"))
    handler.close()
    lines = (said + (os.read(reader, 10_000) if more else b"")).decode().splitlines()
    assert lines == ["the one that is being written", "line 0", "line 1", "line 2", gap, *["the next one"] * more]


def test_what_is_dropped_last_is_told_at_the_end(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    filled = fill(writer)
    handler = Unwaited(writer, waiting=20)
    handler.handle(record("first"))
    while not handler._lines.empty():
        time.sleep(0.001)
    for number in range(10):
        handler.handle(record(f"line {number}"))
    ending = threading.Thread(target=handler.close)
    ending.start()
    while handler._lines.qsize() < 4:  # the end waits for its turn behind three lines
        time.sleep(0.001)
    said = bytearray()
    while ending.is_alive() or len(said) <= filled or select.select([reader], [], [], 0)[0]:
        if select.select([reader], [], [], 0.01)[0]:
            said += os.read(reader, 10_000)
    assert said[filled:].decode().splitlines()[-1].startswith("7 log lines are missing here")


def test_a_burst_is_written_whole_where_somebody_reads(tmp_path: Path) -> None:
    """A batch may reject 5,000 records in one turn of the loop, with a line for each."""
    with (tmp_path / "log").open("wb") as file:
        handler = Unwaited(file.fileno())
        for number in range(20_000):
            handler.handle(record(f"record {number} is rejected"))
        handler.close()
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines == [f"record {number} is rejected" for number in range(20_000)]


def test_end_waits_while_somebody_reads(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    handler = Unwaited(writer)
    for number in range(4_000):
        handler.handle(record(f"{number} " + "." * 50))

    read = bytearray()

    def slowly() -> None:
        while not read.endswith(b"\n") or b"\n3999 " not in read:
            read.extend(os.read(reader, 16_384))
            time.sleep(0.02)

    thread = threading.Thread(target=slowly)
    thread.start()
    handler.close()
    thread.join(10.0)
    assert read.count(b"\n") == 4_000


def test_end_waits_for_nobody_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    assert logs.LAST == 1.0
    monkeypatch.setattr(logs, "LAST", 0.05)
    reader, writer = os.pipe()
    fill(writer)
    handlers = [Unwaited(writer, waiting) for waiting in (1, 10)]
    for handler in handlers:
        for _ in range(3):
            handler.handle(record("unread"))
        began = time.monotonic()
        handler.close()
        assert time.monotonic() - began < 0.5
    os.close(reader)
    deadline = time.monotonic() + 5.0
    while not all(handler._lines.empty() for handler in handlers):  # or a thread would write into another test
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.close(writer)


def test_reader_that_has_gone_and_a_message_that_is_none_are_no_failure(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    handler = Unwaited(writer)
    handler.handle(record("%d", "no number"))
    handler.close()
    assert os.read(reader, 1_000).decode() == f"{__file__}, line 1: a log message that cannot be written\n"
    gone, writer = os.pipe()
    os.close(gone)
    try:
        handler = Unwaited(writer)
        handler.handle(record("to nobody"))
        handler.close()
        assert not handler._thread.is_alive()
    finally:
        os.close(writer)


def test_pipe_that_does_not_block_is_waited_for(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    filled = fill(writer)
    os.set_blocking(writer, False)
    handler = Unwaited(writer)
    handler.handle(record("in the end"))
    while filled:
        filled -= len(os.read(reader, filled))
    handler.close()
    assert os.read(reader, 1_000) == b"in the end\n"
