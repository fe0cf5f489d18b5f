"""The status of a station as OpenMetrics text, for node_exporter's textfile collector, Telegraf and the like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_STATION = {
    "acquired": "Records that the station has committed to its spool.",
    "stored": "Records that the database has confirmed.",
    "spooled": "Records that wait in the spool.",
    "quarantined": "Records in quarantine, each with a reason.",
    "dropped": "Records that were given up before the database had them.",
}
_SPOOL = {
    "used_bytes": "Bytes of the spool file that hold something.",
    "waiting_bytes": "Bytes of the spool file that hold what waits.",
    "limit_bytes": "Bytes that the spool file never exceeds.",
    "capacity_bytes": "Bytes that it can have: its limit, or less where the disk has less.",
    "full_in_s": "Seconds until the spool is full if nothing were stored.",
    "records_per_s": "Records a second over the last minute.",
}
_INSTRUMENT = {
    "readings": "Readings that were taken.",
    "errors": "Answers that failed or could not be read.",
    "missed": "Readings that were not taken.",
    "restarts": "Times that it was followed anew because it made no progress.",
}


def openmetrics(said: Mapping[str, Any], *, online: bool) -> str:
    """Write a status as text; a station that is not heard of gives `daq_up 0` alone. Source: OpenMetrics 1.0."""
    station = f'station="{_escaped(said["station"])}"'
    lines = [*_gauge("daq_up", "Whether the station is heard of.", [(station, int(online))])]
    if online:
        lines += _numbers(said, station)
    return "\n".join([*lines, "# EOF", ""])


def _numbers(said: Mapping[str, Any], station: str) -> Iterator[str]:
    for name, words in _STATION.items():
        yield from _gauge(f"daq_{name}_records", words, [(station, said[name])])
    unaccounted = said["acquired"] - said["stored"] - said["spooled"] - said["quarantined"] - said["dropped"]
    words = "acquired - stored - spooled - quarantined - dropped: anything but 0 is a lost record."
    yield from _gauge("daq_unaccounted_records", words, [(station, unaccounted)])
    for name, words in _SPOOL.items():
        if said["spool"][name] is not None:
            yield from _gauge(f"daq_spool_{name}", words, [(station, said["spool"][name])])
    synchronised = said["clock"]["synchronised"]
    if synchronised is not None:
        words = "Whether the wall clock follows a time server."
        yield from _gauge("daq_clock_synchronised", words, [(station, int(synchronised))])
    for name, words in _INSTRUMENT.items():
        rows = [
            (f'{station},instrument="{_escaped(instrument)}"', one[name])
            for instrument, one in said["instruments"].items()
        ]
        yield from _gauge(f"daq_instrument_{name}", words, rows)


def _gauge(name: str, words: str, rows: list[tuple[str, float]]) -> Iterator[str]:
    yield f"# TYPE {name} gauge"
    yield f"# HELP {name} {words}"
    for labels, value in rows:
        yield f"{name}{{{labels}}} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
