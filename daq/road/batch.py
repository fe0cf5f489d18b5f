"""The two messages of the road: a batch of lines from a station, and the acknowledgement of a bridge.

A batch is line protocol after one comment line, so any consumer of line protocol can read the topic as it is:

    # daq/1 station=lab-1 epoch=5f0c... first=41 last=43 n=3 sha256=...
    reading,station=lab-1,... value=100.0,...,seq=41i,... 1764000000000000000
    ...

An acknowledgement is JSON:

    {"version": 1, "bridge": "...", "epoch": "...", "stored": [[41, 42]], "rejected": [{"seq": 43, "reason": "..."}]}
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

LIMIT_BYTES = 1 << 20
LIMIT_LINES = 5_000

_HEADER = re.compile(
    rb"# daq/1 station=(?P<station>[A-Za-z0-9_-]{1,64}) epoch=(?P<epoch>[0-9a-f]{32}) first=(?P<first>\d{1,18}) "
    rb"last=(?P<last>\d{1,18}) n=(?P<n>\d{1,5}) sha256=(?P<sha256>[0-9a-f]{64})"
)


class Malformed(Exception):
    """A message is not of the form above; nothing of it may be used."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Lines `first` to `last` of a station's spool, without a gap between them."""

    station: str
    epoch: str
    first: int
    lines: Sequence[bytes]

    @property
    def last(self) -> int:
        """Sequence number of the last line."""
        return self.first + len(self.lines) - 1

    def encode(self) -> bytes:
        """Write the payload of the `data` topic."""
        body = b"\n".join(self.lines)
        header = (
            f"# daq/1 station={self.station} epoch={self.epoch} first={self.first} last={self.last} "
            f"n={len(self.lines)} sha256={hashlib.sha256(body).hexdigest()}\n"
        )
        return header.encode() + body

    @classmethod
    def decode(cls, payload: bytes) -> Batch:
        """Read and check a payload in full: form, count, range and checksum."""
        if len(payload) > LIMIT_BYTES:
            raise Malformed(f"{len(payload)} bytes, more than {LIMIT_BYTES}")
        header, _, body = payload.partition(b"\n")
        match = _HEADER.fullmatch(header)
        if match is None:
            raise Malformed(f"no daq/1 header: {header[:80]!r}")
        if hashlib.sha256(body).hexdigest() != match["sha256"].decode():
            raise Malformed("the checksum does not fit the lines")
        lines = body.split(b"\n")
        first, last, n = int(match["first"]), int(match["last"]), int(match["n"])
        if not (0 < first <= last and last - first + 1 == n == len(lines) <= LIMIT_LINES):
            raise Malformed(f"first={first} last={last} n={n} do not fit {len(lines)} lines")
        return cls(match["station"].decode(), match["epoch"].decode(), first, lines)


@dataclass(frozen=True, slots=True)
class Rejection:
    """One line that the database refuses permanently, and the message of the database."""

    seq: int
    reason: str


@dataclass(frozen=True, slots=True)
class Ack:
    """What a bridge reports for one epoch: ranges (first, last) that are stored, and lines that were rejected."""

    epoch: str
    stored: Sequence[tuple[int, int]]
    rejected: Sequence[Rejection] = ()
    bridge: str = ""

    def encode(self) -> bytes:
        """Write the payload of the `ack` topic."""
        return json.dumps(
            {
                "version": 1,
                "bridge": self.bridge,
                "epoch": self.epoch,
                "stored": [list(pair) for pair in self.stored],
                "rejected": [{"seq": one.seq, "reason": one.reason} for one in self.rejected],
            }
        ).encode()

    @classmethod
    def decode(cls, payload: bytes) -> Ack:
        """Read and check an acknowledgement; Malformed for anything else."""
        try:
            document: Any = json.loads(payload)
            stored = [(_whole(first), _whole(last)) for first, last in document["stored"]]
            rejected = [Rejection(_whole(one["seq"]), str(one["reason"])) for one in document["rejected"]]
            epoch, version, bridge = document["epoch"], document["version"], str(document["bridge"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise Malformed(f"no acknowledgement: {error}") from error
        if version != 1 or not isinstance(epoch, str) or any(first > last for first, last in stored):
            raise Malformed("no acknowledgement of version 1")
        return cls(epoch, stored, rejected, bridge)


def _whole(number: object) -> int:
    if type(number) is not int or number < 1:
        raise ValueError(f"{number!r} is no sequence number")
    return number


def topic(station: str, suffix: str) -> str:
    """Give the topic of a station: `data`, `ack`, `status` or `live/<instrument>/<channel>`."""
    return f"daq/1/{station}/{suffix}"


def station_of(name: str) -> str:
    """Give the station of a topic; Malformed where it is no topic of daq/1."""
    match name.split("/"):
        case ["daq", "1", station, _, *_] if station:
            return station
        case _:
            raise Malformed(f"{name!r} is no topic of daq/1")
