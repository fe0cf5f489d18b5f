"""The state of a station: its status over MQTT, the health record that it stores, and its alarms."""

from __future__ import annotations

import logging
import math
import socket
from collections import deque
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from daq import __version__
from daq.host.threads import in_thread
from daq.road.reading import EventKind, Health
from daq.spool import disk

if TYPE_CHECKING:
    from pathlib import Path

    from daq.host.clock import Clock
    from daq.spool.queue import Spool
    from daq.station.kept import Kept
    from daq.station.publisher import Publisher
    from daq.station.records import Station
    from daq.station.supervision import Supervisor
    from drivers.instrument import Instrument

log = logging.getLogger(__name__)

LEVELS = (50, 80, 95)
"""Per cent of the spool's limit at which an alarm is raised."""
ALARM_ENDS = 40
"""Per cent below which the alarm ends."""
RATE_OVER = 60.0
"""Seconds over which the rate of records is taken."""
DAY, HOUR, MINUTE = 86400.0, 3600.0, 60.0


class Monitor:
    """Reads the state of every part of a station and changes none."""

    def __init__(
        self, station: Station, spool: Spool, publisher: Publisher, supervisor: Supervisor, alarm_after: float
    ) -> None:
        """`alarm_after`: age in seconds of the oldest waiting record at which an alarm is raised."""
        self.state = "online"
        self.alarm_after = alarm_after
        self.sync_s = 0.0
        """Seconds that the disk takes to make a page durable, measured at the start."""
        self._station = station
        self._clock: Clock = station.clock
        self._spool = spool
        self._publisher = publisher
        self._supervisor = supervisor
        self._started = self._clock.monotonic()
        self._acquired: deque[tuple[float, int]] = deque()
        self._level = 0
        self._late = False

    async def measure_disk(self, folder: Path) -> None:
        """Measure the disk of the spool, beside the reading: one that is slow, or hangs, delays no instrument."""
        try:
            self.sync_s = await in_thread(lambda: disk.sync_time(folder))
        except OSError:
            self.sync_s = 0.0  # the disk is full or broken, which the spool itself reports
        if (room := self._spool.capacity) < self._spool.limit:
            text = f"the disk of the spool has room for {room >> 20} MiB; its limit is {self._spool.limit >> 20} MiB"
            self._station.event(EventKind.FILL, text)
        if warning := disk.judgement(self.sync_s):
            log.warning("%s: %s", folder, warning)

    @property
    def waiting_bytes(self) -> float:
        """Bytes of the spool that hold what the database does not have yet."""
        return self._spool.ledger.spooled * self._spool.bytes_for_each

    @property
    def rate(self) -> float:
        """Records a second, over the last minute."""
        now = (self._clock.monotonic(), self._spool.committed)
        if not self._acquired or now[0] - self._acquired[-1][0] >= 1.0:
            self._acquired.append(now)
        while len(self._acquired) > 2 and now[0] - self._acquired[0][0] > RATE_OVER:
            self._acquired.popleft()
        oldest = self._acquired[0]
        return max(0.0, (now[1] - oldest[1]) / (now[0] - oldest[0])) if now[0] > oldest[0] else 0.0

    @property
    def full_in(self) -> float | None:
        """Seconds until the spool is full if nothing is stored from now on; None where no records come."""
        growth = self.rate * self._spool.bytes_for_each
        return max(0.0, self._spool.capacity - self.waiting_bytes) / growth if growth else None

    def status(self) -> dict[str, Any]:
        """Give the status of the station, as published and as `daq status` shows it."""
        spool, clock, full_in = self._spool, self._clock, self.full_in
        number, digest = spool.head
        backfill = self._publisher.outgoing.backfill
        return {
            "station": self._station.name,
            "state": self.state,
            "version": __version__,
            "host": socket.gethostname(),
            "epoch": spool.epoch,
            "at_ns": clock.utc_ns(),
            "clock": {"synchronised": self._station.synchronised},
            "uptime_s": round(clock.monotonic() - self._started, 1),
            **asdict(spool.ledger),
            "head": {"seq": number, "sha256": digest.hex()},
            "spool": {
                "used_bytes": spool.used,
                "waiting_bytes": round(self.waiting_bytes),
                "limit_bytes": spool.limit,
                "capacity_bytes": spool.capacity,
                "full_in_s": None if full_in is None else round(full_in),
                "oldest_waiting_ns": spool.oldest_waiting or None,
                "records_per_s": round(self.rate, 1),
                "sync_ms": round(self.sync_s * 1000, 3),
                "full": spool.full,
                "trouble": spool.trouble,
            },
            "backfill": None
            if backfill is None
            else {"left": backfill.left, "of": backfill.total, "records_per_s": round(backfill.rate)},
            "resent_batches": self._publisher.outgoing.resent,
            "strange_acks": self._publisher.strange_acks,
            "missed": self._station.missed,
            "doubts": self._station.doubts,
            "instruments": {name: _instrument(one) for name, one in self._supervisor.followers.items()},
        }

    def record(self) -> Health:
        """Give the health record of the station, with the head of the hash chain for later comparison."""
        number, digest = self._spool.head
        followers = self._supervisor.followers.values()
        numbers: dict[str, int | float] = {
            "uptime_s": round(self._clock.monotonic() - self._started, 1),
            **asdict(self._spool.ledger),
            "spool_bytes": self._spool.used,
            "waiting_bytes": round(self.waiting_bytes),
            "resent_batches": self._publisher.outgoing.resent,
            "errors": sum(one.errors for one in followers),
            "missed": self._station.missed,
            "doubts": self._station.doubts,
            "restarts": sum(one.restarts for one in followers),
            "head_seq": number,
        }
        if (full_in := self.full_in) is not None:
            numbers["full_in_s"] = float(round(full_in))
        if self._station.synchronised is not None:
            numbers["clock_synchronised"] = int(self._station.synchronised)
        return Health(self._station.name, self._clock.utc_ns(), numbers, digest.hex())

    def raise_alarms(self) -> None:
        """Record an event when the spool fills, when its oldest record has waited too long, and when either ends."""
        fill = 100.0 * self.waiting_bytes / max(1, self._spool.capacity)
        level = max((one for one in LEVELS if fill >= one), default=0)
        waiting = f"{self._spool.ledger.spooled} records wait"
        if level > self._level:
            full_in = self.full_in
            forecast = f"full in {in_words(full_in)} at this rate" if full_in else "no records come at this moment"
            self._event(f"the spool is {fill:.0f} % full: {waiting}; {forecast}")
            self._level = level
        elif self._level and fill < ALARM_ENDS:
            self._event(f"the spool has room again: {fill:.0f} % full, {waiting}")
            self._level = 0
        oldest = self._spool.oldest_waiting
        age = (self._clock.utc_ns() - oldest) / 1e9 if oldest else 0.0
        if age > self.alarm_after and not self._late:
            self._event(f"the oldest record has waited for {in_words(age)}: {waiting}")
            self._late = True
        elif self._late and age < self.alarm_after:
            self._event(f"no record waits for long any more: {waiting}")
            self._late = False

    def _event(self, text: str) -> None:
        self._station.event(EventKind.FILL, text)


def _instrument(kept: Kept) -> dict[str, Any]:
    """Give the state of one instrument; `serial` is what the wire said last, `identified` whether it was right."""
    follower = kept.follower
    instrument: Instrument[Any] | None = None if follower is None else follower.instrument
    serial = None if instrument is None else instrument.serial
    expected = None if instrument is None else instrument.expected_serial
    return {
        "state": kept.state,
        "serial": serial,
        "expected_serial": expected,
        "identified": serial is not None and serial == expected,
        "proven": "not identified" if instrument is None else proven(instrument),
        "prove_every_s": None if instrument is None else proof_interval(instrument),
        "readings": kept.readings,
        "errors": kept.errors,
        "missed": kept.missed,
        "restarts": kept.restarts,
        "doubts": 0 if follower is None else follower.doubts.count,
        "last_doubt": "" if follower is None else follower.doubts.last,
        "last_at_ns": kept.last_at,
        "last_error": kept.last_error,
    }


def proof_interval(instrument: Instrument[Any]) -> float | None:
    """Give the seconds after which the serial number is read again and compared; None: at the connection only."""
    identity = instrument.driver.identity
    if identity is None or instrument.expected_serial is None:
        return None
    return None if identity.disturbs or instrument.prove_every == math.inf else instrument.prove_every


def proven(instrument: Instrument[Any]) -> str:
    """Say how often the instrument proves that it is the expected one."""
    if instrument.driver.identity is None or instrument.expected_serial is None:
        return "not identified"
    interval = proof_interval(instrument)
    if interval is None:
        return "proven at connection only"
    return f"proven every {interval:.10g} s" if interval else "proven before every reading"


def in_words(seconds: float) -> str:
    """Write a duration with one unit: "3.2 d", "5.0 h", "12 min", "40 s"."""
    for unit, name in ((DAY, "d"), (HOUR, "h")):
        if seconds >= unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds / MINUTE:.0f} min" if seconds >= 2 * MINUTE else f"{seconds:.0f} s"
