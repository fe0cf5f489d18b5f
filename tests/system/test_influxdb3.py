"""InfluxDB 3 as its documentation describes it, played by a small server: no proof that the real one agrees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from daq.bridge.influxdb import InfluxDb
from daq.bridge.sink import Misconfigured, Refused
from daq.config import InfluxTable
from daq.road.line_protocol import encode
from tests.spools import reading

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TOKEN = "apiv3_described"


@pytest.fixture
async def described() -> AsyncIterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """Serve /ping, /api/v2/write and /query as the InfluxDB 3 Core documentation describes them."""
    written: list[tuple[dict[str, str], bytes]] = []

    async def ping(_: web.Request) -> web.Response:
        return web.json_response(
            {"version": "3.11.2"}, headers={"X-Influxdb-Version": "3.11.2", "X-Influxdb-Build": "Core"}
        )

    async def health(_: web.Request) -> web.Response:
        return web.Response(text="OK")

    async def write(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Token {TOKEN}":
            return web.json_response({"error": "the request was not authenticated"}, status=401)
        body = await request.read()
        if b"garbage" in body:
            return web.json_response({"error": "partial write of line protocol occurred"}, status=400)
        written.append((dict(request.query), body))
        return web.Response(status=204)

    async def query(request: web.Request) -> web.Response:
        assert (await request.post())["q"] == "SELECT 1"
        return web.json_response(
            {"results": [{"statement_id": 0, "series": [{"name": "x", "columns": [], "values": []}]}]}
        )

    app = web.Application()
    app.add_routes(
        [
            web.get("/ping", ping),
            web.get("/health", health),
            web.post("/api/v2/write", write),
            web.post("/query", query),
        ]
    )
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    yield f"http://127.0.0.1:{port}", written
    await runner.cleanup()


async def test_described_doors_are_used(
    described: tuple[str, list[tuple[dict[str, str], bytes]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, written = described
    monkeypatch.setenv("DAQ_INFLUXDB_TOKEN", TOKEN)
    sink = InfluxDb(InfluxTable(url=url, database="lab"))
    lines = [encode(reading(number), number, "e" * 32) for number in range(1, 4)]
    await sink.write(lines)
    (parameters, body) = written[0]
    assert (parameters["bucket"], parameters["precision"]) == ("lab", "ns")
    assert body == b"\n".join(lines)
    with pytest.raises(Refused, match="partial write"):
        await sink.write([b"garbage"])
    assert await sink.query("SELECT 1")
    await sink.close()
    monkeypatch.setenv("DAQ_INFLUXDB_TOKEN", "wrong")
    sink = InfluxDb(InfluxTable(url=url, database="lab"))
    with pytest.raises(Misconfigured, match="refuses the token"):
        await sink.write(lines)
    await sink.close()
