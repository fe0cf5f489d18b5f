"""Compressed writes: every real database unpacks them, and stores what was sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from daq.bridge.influxdb import InfluxDb
from daq.config import InfluxTable
from daq.road.line_protocol import encode
from tests.spools import reading
from tests.system.conftest import needs
from tests.system.world import influxql, make_database

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 2_000


@pytest.mark.parametrize("kind", ["influxdb1", "influxdb2"])
async def test_database_unpacks_what_is_written(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    needs(kind)
    database = make_database(kind, tmp_path)
    assert database is not None
    async with database:
        if database.token:
            monkeypatch.setenv("DAQ_INFLUXDB_TOKEN", database.token)
        table = InfluxTable(url=database.url, database=database.database, org=database.org, compress="always")
        sink = InfluxDb(table)
        lines = [encode(reading(number), number, "e" * 32) for number in range(COUNT)]
        await sink.write(lines)
        await sink.close()
        (series,) = await influxql(database, "SELECT text, seq FROM reading")
    assert [row[2] for row in series["values"]] == list(range(COUNT))


def test_compresses_for_another_machine_only() -> None:
    assert InfluxTable(url="https://influx.lab:8086").compressed
    assert not InfluxTable(url="http://127.0.0.1:8086").compressed
    assert not InfluxTable(url="http://localhost:8086").compressed
    assert InfluxTable(url="http://[::1]:8086", compress="always").compressed
    assert not InfluxTable(url="https://influx.lab", compress="never").compressed
