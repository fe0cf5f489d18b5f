"""Writes the Grafana dashboards: `python tools/dashboards.py` writes configs/grafana/dashboards/ again.

Classic JSON for Grafana 11 to 13, and InfluxQL that every InfluxDB from 1.6 to 3 supports.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "configs" / "grafana" / "dashboards"
SOURCE = {"type": "influxdb", "uid": "${datasource}"}
CHOSEN = """"station" =~ /^${station:regex}$/ AND "instrument" =~ /^${instrument:regex}$/ AND $timeFilter"""
DOUBTS = (
    '"until" / 1000000 AS "until_ms" FROM "doubt" WHERE "station" =~ /^${station:regex}$/ '
    'AND "instrument" =~ /^${instrument:regex}$/ AND "until" >= ${__from}000000 AND time <= ${__to}ms'
)
"""Doubts that reach into the range, also those that began before it; Grafana wants their end in milliseconds."""
STATUS = [
    (0, "good", "green"),
    (1, "unstable", "yellow"),
    (2, "overrange", "red"),
    (3, "underrange", "red"),
    (4, "no value", "purple"),
    (5, "implausible", "purple"),
]
QUANTITIES = [
    ("mass", "Mass", "massg", 4),
    ("resistance", "Resistance", "ohm", 5),
    ("temperature", "Temperature", "celsius", 3),
    ("relative_humidity", "Relative humidity", "humidity", 2),
    ("pressure", "Pressure (in the unit of its channel)", "none", 5),
]


def target(query: str, *, form: str = "time_series", alias: str = "") -> dict[str, Any]:
    """Give one query of a panel."""
    return {
        "refId": "A",
        "datasource": SOURCE,
        "rawQuery": True,
        "query": query,
        "resultFormat": form,
        "alias": alias,
    }


def panel(
    kind: str, title: str, text: str, place: tuple[int, int, int, int], targets: list[dict[str, Any]]
) -> dict[str, Any]:
    """Give a panel; `place` is x, y, width and height in the grid."""
    x, y, width, height = place
    return {
        "type": kind,
        "title": title,
        "description": text,
        "datasource": SOURCE,
        "gridPos": {"x": x, "y": y, "w": width, "h": height},
        "targets": targets,
        "options": {},
        "fieldConfig": {"defaults": {"unit": "none", "noValue": "no data"}, "overrides": []},
    }


def simulated_count() -> dict[str, Any]:
    """Show how many of the readings are simulated."""
    query = f'SELECT count("simulated") FROM "reading" WHERE {CHOSEN}'
    made = panel(
        "stat",
        "Simulated readings",
        "How many of the readings in this range come from simulated instruments. If this is not zero, do not use them.",
        (0, 0, 4, 4),
        [target(query)],
    )
    made["fieldConfig"]["defaults"] |= {
        "noValue": "0",
        "thresholds": {"mode": "absolute", "steps": [{"color": "green", "value": None}, {"color": "red", "value": 1}]},
    }
    made["options"] = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "background", "textMode": "value"}
    return made


def latest() -> dict[str, Any]:
    """Show the newest value of every channel."""
    query = f'SELECT last("value") FROM "reading" WHERE {CHOSEN} GROUP BY "instrument", "channel", "unit"'
    made = panel(
        "stat",
        "Latest value",
        "The newest value of each channel in this range, in the unit that is shown after its name.",
        (4, 0, 20, 4),
        [target(query, alias="$tag_instrument $tag_channel ($tag_unit)")],
    )
    made["options"] = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "none", "graphMode": "area"}
    made["fieldConfig"]["defaults"]["decimals"] = 4
    return made


def series(index: int, quantity: str, title: str, unit: str, decimals: int) -> dict[str, Any]:
    """Plot one quantity over time; where an instrument was not read there is a gap, not a line."""
    query = (
        f'SELECT mean("value") FROM "reading" WHERE {CHOSEN} AND "quantity" = \'{quantity}\' '
        'GROUP BY time($__interval), "instrument", "channel", "unit" fill(null)'
    )
    made = panel(
        "timeseries",
        title,
        f"{title} of every channel: the mean of each interval of the plot. A gap means that nothing was read.",
        (12 * (index % 2), 4 + 8 * (index // 2), 12, 8),
        [target(query, alias="$tag_instrument $tag_channel [$tag_unit]")],
    )
    made["fieldConfig"]["defaults"] |= {
        "unit": unit,
        "decimals": decimals,
        "custom": {"drawStyle": "line", "spanNulls": False, "showPoints": "auto", "insertNulls": False},
    }
    made["options"] = {"legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull"]}}
    return made


def age(y: int) -> dict[str, Any]:
    """Show when each instrument was read last; with two selectors the stamp would be the start of the range."""
    query = f'SELECT last("status"), "serial" FROM "reading" WHERE {CHOSEN} GROUP BY "instrument"'
    made = panel(
        "table",
        "Last reading",
        "When each instrument was read last, the status, and the serial number that it said. Old time: see the events.",
        (0, y, 8, 8),
        [target(query, form="table")],
    )
    made["fieldConfig"]["overrides"] = [
        {"matcher": {"id": "byName", "options": "Time"}, "properties": [{"id": "unit", "value": "dateTimeFromNow"}]},
        {"matcher": {"id": "byName", "options": "last"}, "properties": [{"id": "mappings", "value": mappings()}]},
    ]
    return made


def states(y: int) -> dict[str, Any]:
    """Show the status of each channel over time."""
    query = (
        f'SELECT max("status") FROM "reading" WHERE {CHOSEN} '
        'GROUP BY time($__interval), "instrument", "channel" fill(null)'
    )
    made = panel(
        "state-timeline",
        "Status",
        "The worst status of each interval, as the instrument itself sent it.",
        (8, y, 16, 8),
        [target(query, alias="$tag_instrument $tag_channel")],
    )
    made["fieldConfig"]["defaults"] |= {"mappings": mappings(), "custom": {"spanNulls": False}}
    return made


def mappings() -> list[dict[str, Any]]:
    """Name the numbers of the status field: text as well as colour."""
    named = {str(value): {"text": text, "color": colour, "index": value} for value, text, colour in STATUS}
    return [{"type": "value", "options": named}]


def completeness(y: int) -> dict[str, Any]:
    """Count the readings of each minute."""
    query = f'SELECT count("status") FROM "reading" WHERE {CHOSEN} GROUP BY time(1m), "instrument" fill(0)'
    made = panel(
        "timeseries",
        "Readings in a minute",
        "Readings of each instrument in each minute; compare with its period. The last minute is not complete.",
        (0, y, 12, 8),
        [target(query, alias="$tag_instrument")],
    )
    made["fieldConfig"]["defaults"] |= {
        "unit": "short",
        "decimals": 0,
        "custom": {"drawStyle": "bars", "spanNulls": False},
    }
    return made


def events(y: int) -> dict[str, Any]:
    """List the events."""
    query = (
        'SELECT "text", "missed" FROM "event" WHERE "station" =~ /^${station:regex}$/ AND $timeFilter '
        'GROUP BY "station", "instrument", "kind" ORDER BY time DESC LIMIT 200'
    )
    return panel(
        "table",
        "Events",
        "Why a reading is missing or unusual: connections, gaps, wrong serial numbers, unreadable answers.",
        (12, y, 12, 8),
        [target(query, form="table")],
    )


def doubts(y: int) -> dict[str, Any]:
    """List the doubts."""
    query = f'SELECT "kind", "text", {DOUBTS} GROUP BY "station", "instrument", "channel" ORDER BY time DESC LIMIT 200'
    made = panel(
        "table",
        "Doubts",
        "Readings that may be wrong, from Time to until, and why: another instrument, another setting or unit.",
        (0, y, 24, 8),
        [target(query, form="table")],
    )
    made["fieldConfig"]["defaults"]["noValue"] = "none in this range"
    made["fieldConfig"]["overrides"] = [
        {
            "matcher": {"id": "byName", "options": "until_ms"},
            "properties": [{"id": "unit", "value": "dateTimeAsIso"}, {"id": "displayName", "value": "until"}],
        },
    ]
    return made


def doubt_spans() -> dict[str, Any]:
    """Mark the spans of the doubts in every plot."""
    return {
        "name": "Doubts",
        "datasource": SOURCE,
        "enable": True,
        "hide": False,
        "iconColor": "red",
        "target": {
            "refId": "Doubts",
            "fromAnnotations": True,
            "queryType": "tags",
            "query": f'SELECT "text", "kind", "instrument", "channel", {DOUBTS}',
            "textColumn": "text",
            "tagsColumn": "kind,instrument,channel",
            "timeEndColumn": "until_ms",
            "titleColumn": "",
        },
    }


def variable(name: str, label: str, query: str) -> dict[str, Any]:
    """Give a variable that is filled by a query."""
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": SOURCE,
        "query": query,
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def overview() -> dict[str, Any]:
    """Give the dashboard *Lab overview*."""
    plots = [series(index, *quantity) for index, quantity in enumerate(QUANTITIES)]
    below = 4 + 8 * ((len(plots) + 1) // 2)
    panels = [
        simulated_count(),
        latest(),
        *plots,
        age(below),
        states(below),
        completeness(below + 8),
        events(below + 8),
        doubts(below + 16),
    ]
    for number, one in enumerate(panels, 1):
        one["id"] = number
    return {
        "uid": "daq-overview",
        "title": "Lab overview",
        "description": "Every instrument of a station: newest values, history, status, completeness, events, doubts.",
        "tags": ["daq"],
        "schemaVersion": 41,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "5s",
        "time": {"from": "now-15m", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": [doubt_spans()]},
        "templating": {
            "list": [
                {
                    "type": "datasource",
                    "name": "datasource",
                    "label": "Datasource",
                    "query": "influxdb",
                    "current": {"text": "daq", "value": "daq-influxdb"},
                },
                variable("station", "Station", 'SHOW TAG VALUES FROM "reading" WITH KEY = "station"'),
                variable(
                    "instrument",
                    "Instrument",
                    'SHOW TAG VALUES FROM "reading" WITH KEY = "instrument" WHERE "station" =~ /^${station:regex}$/',
                ),
            ]
        },
        "panels": panels,
    }


def text() -> str:
    """Give the file as it is committed."""
    return json.dumps(overview(), indent=2) + "\n"


def main() -> None:
    """Write the file."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "daq-overview.json").write_text(text())
    sys.stdout.write(f"{FOLDER / 'daq-overview.json'}\n")


if __name__ == "__main__":
    main()
