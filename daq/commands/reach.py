"""How a command reaches a spool: by asking the station that owns it, or, where none runs, by opening the file."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from daq.spool.chain import Bounds, Row
from daq.spool.file import SpoolFile
from daq.station import control
from daq.station.questions import ROWS, row_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daq.config import StationConfig

INSTALLED = Path("/var/lib/daq/spool.sqlite")


class Reach(Protocol):
    """What can be done with the spool of a station."""

    running: bool

    def quarantine(self) -> list[dict[str, Any]]:
        """Give what is in quarantine: seq, at_ns, reason, line (None where the record itself is lost)."""

    def release(self, first: int, last: int) -> int:
        """Let first..last wait again; gives how many records that were."""

    def replay(self, start: int, end: int) -> int:
        """Let the stored records of a span (UTC ns) wait again; gives how many."""

    def bounds(self) -> tuple[Bounds, list[tuple[int, int]]]:
        """Give where the chain begins and ends, and the ranges that are stored."""

    def rows(self, after: int, start: int, end: int) -> list[Row]:
        """Give the next kept rows after number `after` with stamps of a span (UTC ns)."""


class Asked:
    """A station that runs, by its control socket."""

    running = True

    def __init__(self, path: Path) -> None:
        self._path = path

    def quarantine(self) -> list[dict[str, Any]]:
        """Ask for what is in quarantine."""
        found: list[dict[str, Any]] = control.ask(self._path, "quarantine")["rows"]
        return found

    def release(self, first: int, last: int) -> int:
        """Ask it to send these again."""
        return int(control.ask(self._path, "release", first=first, last=last)["released"])

    def replay(self, start: int, end: int) -> int:
        """Ask it to send a span again."""
        return int(control.ask(self._path, "replay", start=start, end=end)["recalled"])

    def bounds(self) -> tuple[Bounds, list[tuple[int, int]]]:
        """Ask for the ends of the chain."""
        answer = control.ask(self._path, "bounds")
        dropped = [
            (first, last, bytes.fromhex(digest) if digest else None) for first, last, digest in answer["dropped"]
        ]
        start_digest, head_digest = bytes.fromhex(answer["start_digest"]), bytes.fromhex(answer["head_digest"])
        bounds = Bounds(answer["epoch"], answer["start"], start_digest, answer["head"], head_digest, dropped)
        return bounds, [(first, last) for first, last in answer["stored"]]

    def rows(self, after: int, start: int, end: int) -> list[Row]:
        """Ask for the next rows."""
        return [
            Row(seq, at, line.encode("latin-1"), crc, bytes.fromhex(digest) if digest else None)
            for seq, at, line, crc, digest in control.ask(self._path, "rows", after=after, start=start, end=end)["rows"]
        ]


class Opened:
    """A spool that no station has open."""

    running = False

    def __init__(self, file: SpoolFile) -> None:
        self._file = file

    def quarantine(self) -> list[dict[str, Any]]:
        """Read what is in quarantine."""
        return [row_of(*one) for one in self._file.quarantine_rows()]

    def release(self, first: int, last: int) -> int:
        """Let them wait for the next start."""
        return sum(last - first + 1 for first, last in self._file.release(first, last))

    def replay(self, start: int, end: int) -> int:
        """Let them wait for the next start."""
        return sum(last - first + 1 for first, last in self._file.recall(start, end))

    def bounds(self) -> tuple[Bounds, list[tuple[int, int]]]:
        """Read the ends of the chain."""
        return self._file.bounds, list(self._file.stored)

    def rows(self, after: int, start: int, end: int) -> list[Row]:
        """Read the next rows."""
        return self._file.rows(after, ROWS, start, end)


def spool_of(config: StationConfig) -> Path:
    """Find the spool that a station with this config uses: where the config says, else where the service has it."""
    if config.spool.path is not None:
        return config.spool.path
    if "STATE_DIRECTORY" in os.environ:
        return Path(os.environ["STATE_DIRECTORY"].split(":")[0]) / "spool.sqlite"
    here = Path("spool.sqlite")
    return INSTALLED if INSTALLED.exists() and not here.exists() else here


@contextmanager
def reach(spool: Path) -> Iterator[Reach]:
    """Reach the spool at `spool`; FileNotFoundError where there is none, SpoolError where it cannot be opened."""
    if not spool.exists():
        raise FileNotFoundError(spool)
    place = control.socket_of(spool)
    if control.runs(place):
        yield Asked(place)
        return
    # The limit only matters to the station: nothing that is written here makes the file grow.
    file = SpoolFile(spool, 2**40, may_begin_epoch=False)
    try:
        yield Opened(file)
    finally:
        file.close()
