"""The hash chain over the records of a spool: each link stands for its record and for every record before it.

A record that was changed, removed or moved breaks the chain at its place; a file that was written anew from some place
on no longer fits the heads that its heartbeats have left in the database (ISO/IEC 17025:2017, 7.11.3: integrity).
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


@dataclass(frozen=True, slots=True)
class Row:
    """One record as it lies in the file; `digest` is None where it was written before there was a chain."""

    seq: int
    at: int
    line: bytes
    crc: int
    digest: bytes | None

    @property
    def whole(self) -> bool:
        """Whether the checksum fits; before there was a chain it stood for the line alone."""
        try:
            if self.digest is None:
                return zlib.crc32(self.line) == self.crc
            return checksum(self.seq, self.at, self.line) == self.crc
        except TypeError:  # a bit that turned has made a number of a line, or a text of a stamp
            return False


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a file says of its chain: it begins behind record `start` with `start_digest` and ends at `head`.

    `dropped` are ranges that the station gave up, each with the link of its last record.
    """

    epoch: str
    start: int
    start_digest: bytes
    head: int
    head_digest: bytes
    dropped: Sequence[tuple[int, int, bytes | None]] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """A record that is not what it was, or is not there."""

    seq: int
    text: str


def checksum(seq: int, at: int, line: bytes) -> int:
    """Give the CRC-32 of a record: what a disk changes by itself is found without following the chain."""
    return zlib.crc32(line, zlib.crc32(b"%d %d " % (seq, at)))


def genesis(epoch: str) -> bytes:
    """Give the link before the first record of an epoch."""
    return hashlib.sha256(b"daq/1 " + epoch.encode()).digest()


def next_digest(previous: bytes, seq: int, at: int, line: bytes) -> bytes:
    """Give the SHA-256 link of a record that follows the record with the link `previous`."""
    return hashlib.sha256(b"%b%d %d %b" % (previous, seq, at, line)).digest()


def check(rows: Iterable[Row], bounds: Bounds) -> Iterator[Finding]:
    """Follow the chain through all rows behind `bounds.start`, in order of number; gives what does not fit."""
    before, expected = bounds.start_digest, bounds.start + 1
    sure = True
    for row in rows:
        if row.seq > expected:
            before, sure, found = _across(expected, row.seq, before, bounds)
            yield from found
        if row.digest is None:
            yield Finding(row.seq, "its link of the chain was removed")
        elif not row.whole:
            yield Finding(row.seq, "changed: its checksum does not fit")
        elif sure and next_digest(before, row.seq, row.at, row.line) != row.digest:
            yield Finding(row.seq, f"changed: it does not follow from record {row.seq - 1}")
        before, sure, expected = row.digest or b"", row.digest is not None, row.seq + 1
    if expected <= bounds.head:
        before, sure, found = _across(expected, bounds.head + 1, before, bounds)
        yield from found
    if sure and before != bounds.head_digest:
        yield Finding(bounds.head, "the head of the chain is not the link of the last record")


def _across(first: int, beyond: int, before: bytes, bounds: Bounds) -> tuple[bytes, bool, list[Finding]]:
    """Step over first..beyond-1, which are not in the file: allowed where the station says that it gave them up."""
    sure = True
    found: list[Finding] = []
    while first < beyond:
        one = next((one for one in bounds.dropped if one[0] <= first <= one[1]), None)
        if one is None:
            nearest = min((begin for begin, _, _ in bounds.dropped if begin > first), default=beyond)
            last = min(nearest, beyond) - 1
            found.append(Finding(first, "removed" if first == last else f"removed, as all up to {last}"))
            first, sure = last + 1, False
        else:
            first, before, sure = one[1] + 1, one[2] or b"", one[2] is not None
    return before, sure, found
