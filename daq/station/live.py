"""The newest value of every channel, published for viewers on separate topics; records are never delayed by it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from daq.road.batch import topic

if TYPE_CHECKING:
    from daq.host.clock import Clock
    from daq.road.mqtt import Connection
    from daq.road.reading import Reading, Series

EVERY = 0.2
"""Seconds between two rounds."""
MESSAGES = 100
"""Live values published in one round at most; the rest waits, so that records are not delayed."""


class LiveView:
    """Remembers the newest value of each channel and publishes it several times a second."""

    def __init__(self, station: str, clock: Clock) -> None:
        self._station = station
        self._clock = clock
        self._newest: dict[Series, Reading] = {}

    def show(self, reading: Reading) -> None:
        """Remember the newest value of a channel."""
        self._newest[reading.series] = reading

    async def serve(self, connection: Connection) -> None:
        """Publish on one connection until it breaks."""
        while True:
            await self._clock.sleep_until(self._clock.monotonic() + EVERY)
            for series in list(self._newest)[:MESSAGES]:
                reading = self._newest.pop(series)
                name = topic(self._station, f"live/{series.instrument}/{series.channel}")
                await connection.publish(name, payload(reading), 0, retain=True)


def payload(reading: Reading) -> bytes:
    """Write the newest value of a channel as flat JSON; `value` is null where the instrument gave none."""
    return json.dumps(
        {
            "at_ns": reading.at,
            "value": None if reading.value is None else float(reading.value),
            "text": "" if reading.value is None else str(reading.value),
            "unit": reading.series.unit,
            "quantity": reading.series.quantity,
            "status": reading.status.name.lower(),
            "identified": reading.identified,
            "simulated": reading.simulated,
        }
    ).encode()
