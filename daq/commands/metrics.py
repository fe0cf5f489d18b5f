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
    "dropped": "Records that were dropped before the database had them.",
}
_SINCE_START = {
    "missed_polls": ("missed", "Polls that were due and not taken since the start, also of instruments that are gone."),
    "doubts": ("doubts", "Doubts since the start: spans of readings that may be wrong."),
}
_SPOOL = {
    "used_bytes": "Bytes of the spool file in use.",
    "waiting_bytes": "Bytes of the spool file that hold waiting records.",
    "limit_bytes": "Bytes that the spool file never exceeds.",
    "capacity_bytes": "Bytes that it can have: its limit, or less where the disk has less.",
    "full_in_s": "Seconds until the spool is full if nothing were stored.",
    "records_per_s": "Records a second over the last minute.",
}
_INSTRUMENT = {
    "readings": "Readings that were taken.",
    "errors": "Answers that failed or could not be read.",
    "missed": "Polls that were due and not taken.",
    "restarts": "Times that its follower was started again because it made no progress.",
    "doubts": "Doubts since the start: spans of readings that may be wrong.",
    "identified": "Whether the serial number that it said last is the expected one.",
    "prove_every_s": "Seconds after which its serial number is read again; absent: at the connection only, or never.",
}


def openmetrics(status: Mapping[str, Any], *, online: bool) -> str:
    """Write a status as text; a station that is offline or silent gives only `daq_up 0`. Source: OpenMetrics 1.0."""
    station = f'station="{_escaped(status["station"])}"'
    lines = [*_gauge("daq_up", "Whether the station is online.", [(station, int(online))])]
    if online:
        lines += _numbers(status, station)
    return "\n".join([*lines, "# EOF", ""])


def _numbers(status: Mapping[str, Any], station: str) -> Iterator[str]:
    for name, help_text in _STATION.items():
        yield from _gauge(f"daq_{name}_records", help_text, [(station, status[name])])
    unaccounted = status["acquired"] - status["stored"] - status["spooled"] - status["quarantined"] - status["dropped"]
    help_text = "acquired - stored - spooled - quarantined - dropped: anything but 0 is a lost record."
    yield from _gauge("daq_unaccounted_records", help_text, [(station, unaccounted)])
    for name, (key, help_text) in _SINCE_START.items():
        if key in status:
            yield from _gauge(f"daq_{name}", help_text, [(station, status[key])])
    for name, help_text in _SPOOL.items():
        if status["spool"][name] is not None:
            yield from _gauge(f"daq_spool_{name}", help_text, [(station, status["spool"][name])])
    synchronised = status["clock"]["synchronised"]
    if synchronised is not None:
        help_text = "Whether the wall clock follows a time server."
        yield from _gauge("daq_clock_synchronised", help_text, [(station, int(synchronised))])
    for name, help_text in _INSTRUMENT.items():
        rows = [
            (f'{station},instrument="{_escaped(instrument)}"', +one[name])  # plus makes 0 or 1 of a truth
            for instrument, one in status["instruments"].items()
            if one.get(name) is not None
        ]
        yield from _gauge(f"daq_instrument_{name}", help_text, rows)


def _gauge(name: str, help_text: str, rows: list[tuple[str, float]]) -> Iterator[str]:
    yield f"# TYPE {name} gauge"
    yield f"# HELP {name} {help_text}"
    for labels, value in rows:
        yield f"{name}{{{labels}}} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
