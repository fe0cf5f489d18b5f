"""Every query of every panel and variable, run against a real InfluxDB that the real road has filled."""

from __future__ import annotations

import asyncio
import json
import re
import time
import tomllib
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import pytest

from tests.system.conftest import needs
from tests.system.world import ROOT, Stored, World, influxql, world
from tools import dashboards

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LAB = ROOT / "configs" / "lab.simulated.toml"
DASHBOARD = json.loads((dashboards.FOLDER / "daq-overview.json").read_text())
FORBIDDEN = re.compile(r"\b(SLIMIT|SOFFSET|SAMPLE|CARDINALITY|INTO|HAVING|SHOW SERIES)\b", re.IGNORECASE)
MEASUREMENTS = {"reading", "event", "doubt"}
FIELDS = {"value", "raw", "text", "status", "seq", "epoch", "rtt_ms", "identified", "simulated", "missed", "until"}
FIELDS |= {"serial", "kind"}
TAGS = {"station", "instrument", "channel", "quantity", "unit", "kind"}
COMPUTED = {"until_ms"}
SERIALS = {
    name: table["serial"] for name, table in tomllib.loads(LAB.read_text())["instruments"].items() if "serial" in table
}
SWAPPED = "balance-1"
"""The instrument that is exchanged for another one some seconds after the start, so that there are doubts."""


def queries() -> Iterator[tuple[str, str]]:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["query"]
    for annotation in DASHBOARD["annotations"]["list"]:
        yield f"{annotation['name']} in the plots", annotation["target"]["query"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]


def expanded(query: str) -> str:
    """Put in what Grafana puts in for "All" and the last hour."""
    query = regex(query).replace("$timeFilter", "time > now() - 1h").replace("$__interval", "1s")
    return between(query, time.time() - 3600.0, time.time() + 60.0)


def regex(query: str) -> str:
    """Put in what Grafana puts in for "All"."""
    for name in ("station", "instrument"):
        query = query.replace("${" + name + ":regex}", ".*")
    return query


def between(query: str, start: float, end: float) -> str:
    """Put in the ends of the range that is shown (in s), as Grafana does: in milliseconds."""
    query = query.replace("${__from}", f"{start * 1000:.0f}").replace("${__to}", f"{end * 1000:.0f}")
    assert "$" not in query.replace("$/", ""), query
    return query


def test_committed_dashboard_is_what_the_generator_writes() -> None:
    assert (dashboards.FOLDER / "daq-overview.json").read_text() == dashboards.text()


def test_dashboard_is_complete() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        assert panel["title"]
        assert len(panel["description"]) > 30, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["fieldConfig"]["defaults"]["noValue"]
        assert panel["datasource"]["uid"] == "${datasource}"
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, f"{panel['title']} lies over another panel"
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@pytest.mark.parametrize(("title", "query"), list(queries()), ids=[title for title, _ in queries()])
def test_query_keeps_to_what_every_influxdb_knows(title: str, query: str) -> None:
    assert not FORBIDDEN.search(query)
    names = set(re.findall(r'"([^"]+)"', query)) - MEASUREMENTS - COMPUTED
    assert names <= FIELDS | TAGS, f"{title}: {names - FIELDS - TAGS} is in no schema"


def exchanged(folder: Path) -> Path:
    """Write a lab in which another balance answers some seconds after the start."""
    path = folder / "lab.simulated.toml"
    table = f"[instruments.{SWAPPED}]"
    text = LAB.read_text()
    assert table in text
    path.write_text(text.replace(table, f"{table}\nfaults = {{ swap = [[5.0, 1000.0]] }}"))
    return path


async def inside_a_doubt_it_is_shown(made: World, row: list[Any]) -> None:
    """Look at a range inside a doubt, which has begun before it and ends after it, and at the ranges beside it."""
    assert made.database is not None
    begin, end = row[0] / 1e9, row[3] / 1000
    for title, query in queries():
        if "Doubts" in title:
            for range_ in ((begin + 0.4, begin + 0.6), (begin - 9.0, begin + 0.1), (end - 0.1, end + 9.0)):
                assert await influxql(made.database, between(regex(query), *range_)), (title, range_)
            for range_ in ((begin - 9.0, begin - 0.1), (end + 0.1, end + 9.0)):
                assert not await influxql(made.database, between(regex(query), *range_)), (title, range_)


def doubt_is_true(doubt: dict[str, Any], plotted: list[dict[str, Any]], stored: list[Stored]) -> None:
    """Hold a row of the table and its mark in the plots against the readings that are stored."""
    assert doubt["tags"] == {"station": "lab", "instrument": SWAPPED, "channel": "mass"}
    assert doubt["columns"] == ["time", "kind", "text", "until_ms"]
    at, kind, text, until_ms = doubt["values"][0]
    assert kind == "identity"
    assert "SIM0SWAPPED" in text
    stamps = sorted(one.at for one in stored if one.instrument == SWAPPED)
    assert at in stamps
    assert until_ms == pytest.approx(stamps[-1] / 1e6, abs=0.001), "nothing of the stranger is stored after its proof"
    (series,) = plotted
    assert series["columns"] == ["time", "text", "kind", "instrument", "channel", "until_ms"]
    assert series["values"] == [[at, text, kind, SWAPPED, "mass", until_ms]]


async def filled(made: World) -> tuple[dict[str, Any], list[Stored], list[dict[str, Any]]]:
    assert made.database is not None
    doubts = 'SELECT "until" FROM "doubt"'
    for _ in range(40):  # until the exchanged instrument was to prove itself again
        await asyncio.sleep(0.5)
        if await influxql(made.database, doubts):
            break
    await asyncio.sleep(1.0)
    await made.station.stop()
    answers = {title: await influxql(made.database, expanded(query)) for title, query in queries()}
    return answers, await made.stored(), made.truth()


@pytest.mark.parametrize("kind", ["influxdb1", "influxdb2"])
async def test_every_query_answers_with_the_truth(tmp_path: Path, kind: str) -> None:
    needs(kind)
    async with world(tmp_path, exchanged(tmp_path), kind) as made:
        answers, stored, truth = await filled(made)
        assert made.database is not None
        (doubt,) = answers["Doubts"]
        await inside_a_doubt_it_is_shown(made, doubt["values"][0])
    empty = [title for title, series in answers.items() if not series]
    assert empty == []
    sent: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for one in truth:
        for channel, digits in one["values"].items():
            if digits is not None:
                sent[one["instrument"], channel].append(float(digits))
    for series in answers["Latest value"]:
        key = (series["tags"]["instrument"], series["tags"]["channel"])
        newest = max((one for one in stored if (one.instrument, one.channel) == key), key=lambda one: one.at)
        assert series["values"][0][1] == newest.value
        assert newest.value in sent[key][-2:]
    assert {(one["tags"]["instrument"], one["tags"]["channel"]) for one in answers["Latest value"]} == set(sent)
    by_instrument = Counter(reading.instrument for reading in stored)
    counted = {
        one["tags"]["instrument"]: sum(row[1] for row in one["values"]) for one in answers["Readings in a minute"]
    }
    assert counted == by_instrument
    assert answers["Simulated readings"][0]["values"][0][1] == len(stored)
    for series in answers["Mass"] + answers["Temperature"] + answers["Relative humidity"] + answers["Resistance"]:
        means = [row[1] for row in series["values"] if row[1] is not None]
        values = sent[series["tags"]["instrument"], series["tags"]["channel"]]
        assert min(values) <= min(means)
        assert max(means) <= max(values)
    last = {one["tags"]["instrument"]: one["values"][0][0] for one in answers["Last reading"]}
    assert answers["Last reading"][0]["columns"] == ["time", "last", "serial"]
    serials = {one["tags"]["instrument"]: one["values"][0][2] for one in answers["Last reading"]}
    assert serials == dict.fromkeys(serials) | SERIALS
    doubt_is_true(doubt, answers["Doubts in the plots"], stored)
    assert last == {name: max(one.at for one in stored if one.instrument == name) for name in by_instrument}
    assert {one["tags"]["kind"] for one in answers["Events"]} >= {"start", "stop", "connect"}
    names = {row[-1] for row in answers["instrument"][0]["values"]}
    assert names == set(by_instrument)


@pytest.mark.parametrize("field", ["value", "status", "simulated"])
async def test_renamed_field_would_be_seen(tmp_path: Path, field: str) -> None:
    """A schema that changes without its dashboard leaves panels empty, and the test above would say so."""
    needs("influxdb1")
    async with world(tmp_path, LAB, "influxdb1") as made:
        await asyncio.sleep(3.0)
        await made.station.stop()
        assert made.database is not None
        titles = [title for title, query in queries() if f'"{field}"' in query]
        assert titles
        for title, query in queries():
            if title in titles:
                assert await influxql(made.database, expanded(query.replace(f'"{field}"', f'"{field}_renamed"'))) == []
