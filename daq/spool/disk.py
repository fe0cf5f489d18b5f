"""The disk under the spool: how fast it really writes, and a file that is given up when it is full."""

from __future__ import annotations

import os
import statistics
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

TRIES = 5
TOO_FAST = 20e-6
"""Seconds: no disk makes a page durable in less; what answers sooner keeps it in memory."""
TOO_SLOW = 0.25
_FAST = (
    "a write is made durable in {:.0f} µs, which no disk can do: memory, or a disk or virtual machine that says "
    "so too early; a power cut may cost what was committed"
)
_SLOW = (
    "a write takes {:.0f} ms to be durable; the spool keeps up, but what was read in the last moments waits that long"
)


def sync_time(folder: Path) -> float:
    """Measure the seconds that it takes to make a page durable in `folder` (a median); OSError as the disk says."""
    path = folder / f".sync-{os.getpid()}"
    took = []
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        for place in range(TRIES):
            os.pwrite(file, os.urandom(4096), place * 4096)
            started = time.perf_counter()
            os.fdatasync(file)
            took.append(time.perf_counter() - started)
    finally:
        os.close(file)
        path.unlink()
    return statistics.median(took)


def free_bytes(folder: Path) -> int:
    """Give the bytes that a user without privileges can still write to the disk of `folder`."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def judgement(seconds: float) -> str:
    """Say in words what is strange about a time from `sync_time`; empty where nothing is."""
    if seconds < TOO_FAST:
        return _FAST.format(seconds * 1e6)
    if seconds > TOO_SLOW:
        return _SLOW.format(seconds * 1e3)
    return ""


class Ballast:
    """A file of real blocks beside the spool, given up for the next readings where others have filled the disk."""

    def __init__(self, path: Path, size: int) -> None:
        """Remember `path` and `size` (bytes; 0: no ballast); nothing is written yet."""
        self._path = path
        self._size = size

    @property
    def there(self) -> bool:
        """Whether there is something to give up."""
        return self._path.exists()

    def lay(self) -> bool:
        """Lay the ballast where it is not there and the disk has room for twice as much; gives whether it is there."""
        if self._size == 0 or self.there:
            return self.there
        if free_bytes(self._path.parent) < 2 * self._size:
            return False
        new = self._path.with_name(self._path.name + ".new")
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(file, 0, self._size)
        except OSError:
            new.unlink()
            return False
        finally:
            os.close(file)
        new.rename(self._path)
        return True

    def give_up(self) -> bool:
        """Free its blocks; gives whether there were any."""
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        return True
