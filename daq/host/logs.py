"""Log messages in the form of their reader: a person at a terminal, systemd's journal, or a program."""

from __future__ import annotations

import json
import logging
import os
import queue
import select
import sys
import threading
import time
from contextlib import suppress
from logging.handlers import QueueHandler
from typing import Literal

Form = Literal["auto", "human", "journal", "json"]

WAITING = 32 * 2**20
"""Characters that wait for their reader at most; what would be more is dropped, and its lines are counted."""
LAST = 1.0
"""Seconds without one written byte after which lines that still wait at the end are given up."""
LONGEST_END = 5.0
"""Seconds for which the end waits for them at most, also where they are being written."""
_STANDARD_ERROR = 2

_PRIORITY = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}
_COLOUR = {logging.CRITICAL: "1;31", logging.ERROR: "31", logging.WARNING: "33", logging.DEBUG: "2"}


class Journal(logging.Formatter):
    """One line with its priority in front, as sd-daemon(3) describes; the journal adds the time itself."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record; a traceback keeps the priority on each of its lines."""
        mark = f"<{_PRIORITY.get(record.levelno, 6)}>"
        return "\n".join(mark + line for line in super().format(record).splitlines() or [""])


class Human(logging.Formatter):
    """Time, level and message, in colours if wanted."""

    def __init__(self, *, colours: bool) -> None:
        super().__init__("%(asctime)s %(levelname)-8s %(message)s", "%H:%M:%S")
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        line = super().format(record)
        colour = _COLOUR.get(record.levelno) if self._colours else None
        return f"\x1b[{colour}m{line}\x1b[0m" if colour else line


class Json(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        entry = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


class Unwaited(QueueHandler):
    """Writes lines in a thread of its own: a reader of standard error that does not read keeps nothing waiting.

    The thread writes to the descriptor itself: the end of the interpreter would wait for the lock of `sys.stderr`.
    """

    def __init__(self, descriptor: int = _STANDARD_ERROR, waiting: int = WAITING) -> None:
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        super().__init__(self._lines)
        self._descriptor = descriptor
        self._all_room = self._room = waiting
        self._written = 0
        self._encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
        self._dropped = 0
        self._counting = threading.Lock()
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
        self._thread.start()

    def prepare(self, record: logging.LogRecord) -> str:
        """Give the line of a record, as it is now: what it speaks of may change before it is written."""
        return self.format(record)

    def enqueue(self, record: object) -> None:
        """Let a line wait; where too much does, it is dropped, and a line in its place says how many were."""
        line = str(record)
        with self._counting:
            if len(line) > self._room and self._room < self._all_room:
                self._dropped += 1
                return
            if self._dropped:
                self._lines.put(self._gap(self._dropped))
                self._dropped = 0
            self._room -= len(line)
            self._lines.put(line)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the name that logging gives it
        """Say in a line where a message cannot be written: logging itself would tell it to `sys.stderr`, and wait."""
        self.enqueue(f"{record.pathname}, line {record.lineno}: a log message that cannot be written")

    def close(self) -> None:
        """Let what waits be written, while its reader reads; logging calls this at the end of the process."""
        self._lines.put(None)
        end, before = time.monotonic() + LONGEST_END, -1
        while self._thread.is_alive() and before != self._written and time.monotonic() < end:
            before = self._written
            self._thread.join(LAST)
        super().close()

    def _gap(self, dropped: int) -> str:
        words = f"{dropped} log lines are missing here: the reader of standard error did not keep up"
        return self.format(logging.LogRecord(__name__, logging.WARNING, __file__, 0, words, None, None))

    def _write_all(self) -> None:
        while (line := self._lines.get()) is not None:
            with self._counting:
                self._room = min(self._all_room, self._room + len(line))  # gaps took no room
            self._write(line)
            if self._lines.empty():
                self._tell_dropped()
        self._tell_dropped()

    def _tell_dropped(self) -> None:
        with self._counting:
            dropped, self._dropped = self._dropped, 0
        if dropped:
            self._write(self._gap(dropped))

    def _write(self, line: str) -> None:
        left = f"{line}\n".encode(self._encoding, "backslashreplace")
        with suppress(OSError):  # the reader has gone: there is nobody to tell
            while left:
                try:
                    written = os.write(self._descriptor, left)
                    self._written += written
                    left = left[written:]
                except BlockingIOError:  # another process has made this pipe or terminal one that does not block
                    select.select([], [self._descriptor], [])


def configure(form: Form = "auto", *, verbose: bool = False) -> None:
    """Send all log lines of a service to standard error in `form`; "auto" finds out whether that is the journal."""
    handler = Unwaited()
    if form == "auto":
        form = "journal" if "JOURNAL_STREAM" in os.environ else "human"
    if form == "journal":
        handler.setFormatter(Journal("%(message)s"))
    elif form == "json":
        handler.setFormatter(Json())
    else:
        terminal = sys.stderr is not None and sys.stderr.isatty()  # it is None where it was closed at the start
        handler.setFormatter(Human(colours=terminal and "NO_COLOR" not in os.environ))
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler], force=True)
    for library in ("pymodbus", "pyvisa", "asyncio"):
        logging.getLogger(library).setLevel(logging.WARNING)
