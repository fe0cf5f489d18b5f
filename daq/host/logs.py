"""Log messages in the form of their reader: a person at a terminal, systemd's journal, or a program."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from typing import Literal

Form = Literal["auto", "human", "journal", "json"]

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


def configure(form: Form = "auto", *, verbose: bool = False) -> None:
    """Send all log lines to standard error in `form`; "auto" finds out whether that is the journal."""
    handler = logging.StreamHandler(sys.stderr)
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
