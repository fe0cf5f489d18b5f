"""The InfluxDB sink: asks the server for its generation, and writes to the path of that generation.

InfluxDB 1.8 and newer, 2, 3 and VictoriaMetrics take `/api/v2/write`, through influxdb-client's async writer with
encoded bytes. The 1.x that Debian and Ubuntu ship knows only `/write`. The client's batching writer is never used:
after some minutes of failures it discards batches. The only importer of influxdb_client.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
from influxdb_client.client.influxdb_client_async import InfluxDBClientAsync
from influxdb_client.rest import ApiException

from daq.bridge.sink import Misconfigured, Refused, SinkError, TooLarge, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daq.config import InfluxTable

log = logging.getLogger(__name__)

WRITE_WITHIN = 30.0
ASK_WITHIN = 5.0
GZIP_LEVEL = 1
"""Lines of one kind become a tenth of their size at the lowest level; higher ones cost more than they save."""
ANSWER_LENGTH = 500
"""Characters of a server's answer that are kept."""


@dataclass(frozen=True, slots=True)
class Generation:
    """Which server it is; `write_path` is the path to which lines are written."""

    name: str
    version: str
    write_path: str


class InfluxDb:
    """A database that takes line protocol; finds out at the first write which server it is."""

    def __init__(self, table: InfluxTable) -> None:
        self.name = f"InfluxDB {table.url}"
        self.generation: Generation | None = None
        self._table = table
        self._token = table.token()
        self._url = table.url.rstrip("/")
        self._session: aiohttp.ClientSession | None = None
        self._client: InfluxDBClientAsync | None = None

    async def write(self, lines: Sequence[bytes]) -> None:
        """Write all lines; returns when the server has answered 204."""
        if self.generation is None:
            await self._prepare()
        body = b"\n".join(lines)
        if self._table.compressed:
            body = await asyncio.to_thread(gzip.compress, body, GZIP_LEVEL)
        if self._client is not None:
            await self._write_v2(self._client, body)
        else:
            await self._write_v1(body)

    async def _prepare(self) -> None:
        found = await self.ask()
        if found.write_path == "/api/v2/write":
            self._client = InfluxDBClientAsync(
                self._url, self._token or "", org=self._table.org or "-", timeout=round(WRITE_WITHIN * 1000)
            )
            if self._table.compressed:  # the client's own gzip would block the event loop
                self._client.api_client.set_default_header("Content-Encoding", "gzip")  # type: ignore[no-untyped-call]
        elif self._table.create:
            await self.query(f'CREATE DATABASE "{self._table.database}"')
        log.info("%s is %s %s and takes lines at %s", self._url, found.name, found.version, found.write_path)
        self.name = f"{found.name} {found.version}"
        self.generation = found

    async def ask(self) -> Generation:
        """Ask the server for its generation: the headers of `/ping` show it, a 2xx alone does not."""
        try:
            async with self._http().get(f"{self._url}/ping", timeout=aiohttp.ClientTimeout(ASK_WITHIN)) as answer:
                version = answer.headers.get("X-Influxdb-Version", "").removeprefix("v")
                build = answer.headers.get("X-Influxdb-Build", "")
            async with self._http().get(f"{self._url}/health", timeout=aiohttp.ClientTimeout(ASK_WITHIN)) as answer:
                healthy = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"{self._url} does not answer: {_reason(error)}") from error
        return _generation(version, build, healthy)

    async def _write_v2(self, client: InfluxDBClientAsync, body: bytes) -> None:
        try:
            await client.write_api().write(self._table.database, record=body)
        except ApiException as error:
            retry = getattr(error, "retry_after", None)
            raise _error_of(error.status or 0, str(error.body or error.reason), retry, self._table.database) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"{self._url}: {_reason(error)}") from error

    async def _write_v1(self, body: bytes) -> None:
        address = f"{self._url}/write"
        parameters = {"db": self._table.database, "precision": "n"}
        try:
            encoding = {"Content-Encoding": "gzip"} if self._table.compressed else {}
            async with self._http().post(
                address, params=parameters, data=body, headers=encoding, timeout=aiohttp.ClientTimeout(WRITE_WITHIN)
            ) as answer:
                if answer.status != 204:
                    retry = answer.headers.get("Retry-After")
                    raise _error_of(answer.status, await answer.text(), retry, self._table.database)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"{self._url}: {_reason(error)}") from error

    async def query(self, influxql: str) -> list[dict[str, Any]]:
        """Ask in InfluxQL; gives the series as the server wrote them, stamps in nanoseconds."""
        parameters = {"db": self._table.database, "epoch": "ns"}
        try:
            async with self._http().post(f"{self._url}/query", params=parameters, data={"q": influxql}) as answer:
                if answer.status != 200:
                    raise _error_of(answer.status, await answer.text(), None, self._table.database)
                document = await answer.json()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"{self._url}: {_reason(error)}") from error
        (result,) = document["results"]
        if "error" in result:
            raise Refused(str(result["error"]))
        series: list[dict[str, Any]] = result.get("series", [])
        return series

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            headers, auth = {}, None
            if self._token is not None and self._table.user is not None:
                auth = aiohttp.BasicAuth(self._table.user, self._token)
            elif self._token is not None:
                headers["Authorization"] = f"Token {self._token}"
            self._session = aiohttp.ClientSession(headers=headers, auth=auth)
        return self._session

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()  # type: ignore[no-untyped-call]  # the library has no type for it
        if self._session is not None:
            await self._session.close()


def _generation(version: str, build: str, health: int) -> Generation:
    match = re.match(r"(\d+)\.(\d+)", version)
    if match is None:
        # VictoriaMetrics names no version; a server without one that answers /health gets the newer path.
        return Generation(
            "VictoriaMetrics or compatible", version or "?", "/api/v2/write" if health != 404 else "/write"
        )
    major, minor = int(match[1]), int(match[2])
    write_path = "/api/v2/write" if (major, minor) >= (1, 8) else "/write"
    return Generation(f"InfluxDB{' ' + build if build else ''}", version, write_path)


def _error_of(status: int, message: str, retry_after: object, database: str) -> SinkError:
    """Make the error of an answer other than 204; its class says what to do with the lines."""
    answer = f"{status} {' '.join(message.split())[:ANSWER_LENGTH]}"
    if status in {400, 422}:
        return Refused(answer)
    if status == 413:
        return TooLarge(answer)
    if status in {401, 403}:
        return Misconfigured(f"the database refuses the token: {answer}")
    if status == 404:
        return Misconfigured(f"there is no database or bucket {database!r}: {answer}")
    seconds = (
        float(retry_after) if isinstance(retry_after, str | int | float) and str(retry_after).isdecimal() else None
    )
    return Unavailable(f"the database cannot store now: {answer}", seconds)


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
