"""Every query of every panel and variable, run against a real InfluxDB that the real road has filled."""

from __future__ import annotations

import asyncio
import json
import re
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
FIELDS = {"value", "raw", "text", "status", "seq", "epoch", "rtt_ms", "identified", "simulated", "missed", "until"}
TAGS = {"station", "instrument", "channel", "quantity", "unit", "kind"}


def queries() -> Iterator[tuple[str, str]]:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["query"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]


def expanded(query: str) -> str:
    """Put in what Grafana puts in for "All" and the last hour."""
    for name in ("station", "instrument"):
        query = query.replace("${" + name + ":regex}", ".*")
    query = query.replace("$timeFilter", "time > now() - 1h").replace("$__interval", "1s")
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
    names = set(re.findall(r'"([^"]+)"', query)) - {"reading", "event"}
    assert names <= FIELDS | TAGS, f"{title}: {names - FIELDS - TAGS} is in no schema"


async def filled(made: World) -> tuple[dict[str, Any], list[Stored], list[dict[str, Any]]]:
    await asyncio.sleep(6.0)
    await made.station.stop()
    assert made.database is not None
    answers = {title: await influxql(made.database, expanded(query)) for title, query in queries()}
    return answers, await made.stored(), made.truth()


@pytest.mark.parametrize("kind", ["influxdb1", "influxdb2"])
async def test_every_query_answers_with_the_truth(tmp_path: Path, kind: str) -> None:
    needs(kind)
    async with world(tmp_path, LAB, kind) as made:
        answers, stored, truth = await filled(made)
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
