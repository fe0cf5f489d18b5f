"""What becomes of an answer: a reading for each of its channels, with its stamp and what it can say for itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from daq.road.reading import Reading, Series

if TYPE_CHECKING:
    from daq.station.grid import Grid
    from daq.station.records import Station
    from drivers.driver import Poll
    from drivers.instrument import Answer, Instrument


@dataclass(slots=True)
class Readings:
    """Makes the readings of one instrument; those of a simulator are marked, whatever the config says."""

    station: Station
    instrument: Instrument[Any]
    grid: Grid
    simulated: bool
    _series: dict[str, Series] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        name = self.instrument.name
        for channel in self.instrument.driver.channels:
            self._series[channel.name] = Series(self.station.name, name, channel.name, channel.quantity, channel.unit)

    def of(self, poll: Poll[Any], answer: Answer) -> list[Reading]:
        """Give one reading for each channel of the poll, in their order."""
        station, instrument = self.station, self.instrument
        instant = answer.answered if poll.stamp == "answer" else (answer.asked + answer.answered) / 2
        true = self.grid.utc(instant)
        rtt = (answer.answered - answer.asked) * 1000
        serial = instrument.serial or ""
        simulated = self.simulated or serial.startswith("SIM")
        clock_state = "unsynchronised" if station.synchronised is False else ""
        readings = []
        for channel, sample in zip(poll.channels, answer.samples, strict=True):
            series = self._series[channel.name]
            at = station.stamp(series, true)
            held = at != true
            readings.append(
                Reading(
                    series,
                    at,
                    sample.value,
                    sample.status,
                    answer.text,
                    rtt,
                    instrument.identified,
                    simulated,
                    "held" if held else clock_state,
                    true if held else None,
                    serial,
                )
            )
        return readings
