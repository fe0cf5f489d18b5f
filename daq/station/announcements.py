"""Turns what spool and publisher report into events of the station."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from daq.road.reading import EventKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daq.road.batch import Rejection
    from daq.spool.queue import Spool
    from daq.station.publisher import Publisher
    from daq.station.records import Station

log = logging.getLogger(__name__)

STRANGE_ACKS = 60.0
"""Seconds between two events that say how many acknowledgements were ignored."""


class Announcements:
    """Sets and serves the callbacks of one spool and one publisher."""

    def __init__(self, station: Station, spool: Spool, publisher: Publisher) -> None:
        self._station = station
        self._spool = spool
        self._publisher = publisher
        self._trouble = ""
        self._trouble_since = 0
        self._strange_acks: tuple[float, int] = (-STRANGE_ACKS, 0)
        spool.on_trouble = self._troubled
        spool.on_drop = self._dropped
        spool.on_lost = self._lost
        spool.on_new_epoch = self._new_epoch
        spool.on_salvaged = self._salvaged
        publisher.on_rejected = self._rejected
        publisher.on_strange_ack = self._strange_ack

    def _troubled(self, what: str) -> None:
        now = self._station.clock.utc_ns()
        if what and not self._trouble_since:
            self._trouble_since = now
            log.error("spool: %s; records wait in memory", what)
            self._trouble = what
        elif not what and self._trouble_since:
            since, self._trouble_since = self._trouble_since, 0
            text = f"the disk of the spool refused to write: {self._trouble}; it writes again"
            self._station.event(EventKind.DISK, text, at=since, until=now)

    def _dropped(self, first: int, last: int) -> None:
        text = (
            f"the spool is full or its records are too old: {first} to {last} were dropped before the database had them"
        )
        self._station.event(EventKind.DROP, text, missed=last - first + 1)

    def _lost(self, seqs: list[int]) -> None:
        some = ", ".join(str(seq) for seq in seqs[:10]) + (", …" if len(seqs) > 10 else "")
        text = f"{len(seqs)} records are damaged on the disk and are in quarantine: {some}"
        self._station.event(EventKind.QUARANTINE, text, missed=len(seqs))

    def _rejected(self, rejected: Sequence[Rejection]) -> None:
        first = rejected[0]
        more = f", and {len(rejected) - 1} more" if len(rejected) > 1 else ""
        text = f"the database rejects record {first.seq}{more}: {first.reason}"
        self._station.event(EventKind.QUARANTINE, text[:1000], missed=len(rejected))

    def _strange_ack(self, why: str) -> None:
        """Report ignored acknowledgements once a minute at most: anybody may send a thousand a second."""
        (since, count), now = self._strange_acks, self._station.clock.monotonic()
        if now - since >= STRANGE_ACKS:
            self._station.event(EventKind.ACK, f"{count + 1} acknowledgements ignored: {why}")
            self._strange_acks = (now, 0)
        else:
            self._strange_acks = (since, count + 1)

    def _new_epoch(self) -> None:
        self._publisher.begin_epoch()
        self._station.event(EventKind.DAMAGE, self._spool.damage or "the spool has a new file, and a new epoch")

    def _salvaged(self, name: str, count: int) -> None:
        self._station.event(EventKind.DAMAGE, f"{count} records that were not stored yet were read from {name}")
