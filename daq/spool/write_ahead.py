"""Finds commits in a write-ahead log of SQLite that SQLite itself would pass over without a word.

SQLite reads its log up to the first frame whose checksum does not fit, and takes the rest for the torn end of a power
cut. A bit that turned in the middle would so cost every commit behind it. What a power cut can tear is one commit: the
one before it was durable when it began. Two commits behind the end are damage.

Format: "WAL-mode File Format", sqlite.org/fileformat2.html#the_write_ahead_log.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MAGIC = 0x377F0682
LOG_HEADER, FRAME_HEADER = 32, 24
TORN = 1
"""Commits behind the end that a power cut explains."""


def commits(path: Path) -> list[int]:
    """Give the numbers (from 1) of the frames that end a commit, as the log at `path` itself says; checks no sum."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    if len(data) < LOG_HEADER + FRAME_HEADER:
        return []
    page_size, salts = struct.unpack_from(">I4x8s", data, 8)
    if not _sound(data[:LOG_HEADER]):  # the header itself is damaged: the first frame says what it said
        salts = data[LOG_HEADER + 8 : LOG_HEADER + 16]
        page_size = 4096
    places = range(LOG_HEADER, len(data) - FRAME_HEADER + 1, FRAME_HEADER + page_size)
    return [
        number
        for number, place in enumerate(places, 1)
        if data[place + 8 : place + 16] == salts and data[place + 4 : place + 8] != bytes(4)
    ]


def passed_over(found: list[int], frames: int) -> int:
    """Count the commits of `found` that SQLite, which has read `frames` frames, lost to damage; 0 where none."""
    behind = sum(number > frames for number in found)
    return behind if behind > TORN else 0


def _sound(header: bytes) -> bool:
    """Whether the checksum of the header fits."""
    magic, _, page_size = struct.unpack_from(">III", header)
    if magic & ~1 != MAGIC or page_size not in {2**power for power in range(9, 17)}:
        return False
    order = ">" if magic & 1 else "<"
    first = second = 0
    words = struct.unpack_from(f"{order}6I", header)
    for one, two in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + two + first) & 0xFFFFFFFF
    return (first, second) == struct.unpack_from(">II", header, 24)
