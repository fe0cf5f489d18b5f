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

WAITING = 2_000
"""Lines of a service that wait for their reader at most; more are dropped and counted."""
LAST = 1.0
"""Seconds that lines which still wait are given at the end."""
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
        self._lines: queue.Queue[str | None] = queue.Queue(waiting)
        super().__init__(self._lines)
        self._descriptor = descriptor
        self._encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
        self._dropped = 0
        self._counting = threading.Lock()
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
        self._thread.start()

    def prepare(self, record: logging.LogRecord) -> str:
        """Give the line of a record, as it is now: what it speaks of may change before it is written."""
        return self.format(record)

    def enqueue(self, record: object) -> None:
        """Let a line wait; where too many do, it is dropped, and a line in its place says how many were."""
        dropped = self._taken()
        try:
            if dropped:
                self._lines.put_nowait(self._gap(dropped))
                dropped = 0
            self._lines.put_nowait(str(record))
        except queue.Full:
            with self._counting:
                self._dropped += dropped + 1

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the name that logging gives it
        """Say in a line where a message cannot be written: logging itself would tell it to `sys.stderr`, and wait."""
        self.enqueue(f"{record.pathname}, line {record.lineno}: a log message that cannot be written")

    def close(self) -> None:
        """Let what waits be written, within `LAST`; logging calls this at the end of the process."""
        end = time.monotonic() + LAST
        with suppress(queue.Full):
            self._lines.put(None, timeout=LAST)
            self._thread.join(max(0.0, end - time.monotonic()))
        super().close()

    def _taken(self) -> int:
        """Give how many lines were dropped since this was asked last."""
        with self._counting:
            dropped, self._dropped = self._dropped, 0
        return dropped

    def _gap(self, dropped: int) -> str:
        words = f"{dropped} log lines are missing here: nobody read standard error"
        return self.format(logging.LogRecord(__name__, logging.WARNING, __file__, 0, words, None, None))

    def _write_all(self) -> None:
        while (line := self._lines.get()) is not None:
            self._write(line)
            if self._lines.empty() and (dropped := self._taken()):
                self._write(self._gap(dropped))

    def _write(self, line: str) -> None:
        left = f"{line}\n".encode(self._encoding, "backslashreplace")
        with suppress(OSError):  # the reader has gone: there is nobody to tell
            while left:
                try:
                    left = left[os.write(self._descriptor, left) :]
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
