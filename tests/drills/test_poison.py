"""R12: one bad line in a batch of 500 is the only one that is not stored, and no message stops the bridge."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from daq.config import Broker
from daq.road.batch import LIMIT_BYTES, LIMIT_LINES, Ack, Batch, topic
from daq.road.mqtt import connect
from tests.drills.report import LONG, SEED, note
from tests.poison import EPOCH, POISON, good
from tests.system.conftest import needs
from tests.system.world import influxql, log_of, world

if TYPE_CHECKING:
    from pathlib import Path

    from daq.demo.servers import InfluxDb1, InfluxDb2
    from daq.road.mqtt import Connection
    from tests.system.world import World

KINDS = ["influxdb1", "influxdb2"] if LONG else ["influxdb1"]
BATCH = 500
WITHIN = 2.0
LAB = """
[instruments.balance]
simulator = "mt-sics"
serve = "pty"
serial = "SIM0000001"
"""
TYPES = {
    "reading": {"value": "float", "raw": "float", "rtt_ms": "float", "text": "string", "status": "integer"},
    "event": {"text": "string", "raw_text": "string", "until": "integer", "missed": "integer"},
    "doubt": {"kind": "string", "text": "string", "until": "integer"},
    "station": {"acquired": "integer", "uptime_s": "float", "load": "float", "head": "string"},
}
"""What the database must say of its fields afterwards; each measurement has seq and epoch, too."""


@dataclass
class Station:
    """A station that sends what it is told, and hears what the bridges say."""

    connection: Connection
    name: str = "lab"
    acks: asyncio.Queue[Ack] = field(default_factory=asyncio.Queue)
    bridge: dict[str, Any] = field(default_factory=dict)
    slowest: float = 0.0
    first: int = 1

    async def listen(self) -> None:
        async for message in self.connection.messages():
            if message.topic.endswith("/ack"):
                self.acks.put_nowait(Ack.decode(message.payload))
            else:
                self.bridge = json.loads(message.payload)

    async def send(self, lines: list[bytes]) -> Ack:
        """Send the next batch; gives its acknowledgement, which must be the next that is heard."""
        batch = Batch(self.name, EPOCH, self.first, lines)
        self.first += len(lines)
        started = time.monotonic()
        await self.connection.publish(topic(self.name, "data"), batch.encode())
        async with asyncio.timeout(10.0):
            ack = await self.acks.get()
        self.slowest = max(self.slowest, time.monotonic() - started)
        assert self.acks.empty()
        assert ack.epoch == EPOCH
        return ack


def mixed(first: int) -> list[bytes]:
    """Give the lines of a good batch: readings, and now and then an event and a state of the station."""
    kinds = {10: "event", 20: "doubt", 35: "station"}
    return [good(kinds.get(number % 50, "reading"), first + number) for number in range(BATCH)]


async def emptied(database: InfluxDb1 | InfluxDb2) -> None:
    """Make the database as new: no field has a type."""
    if not database.token:
        await influxql(database, f'DROP DATABASE "{database.database}"')
        await influxql(database, f'CREATE DATABASE "{database.database}"')
        return
    headers, buckets = {"Authorization": f"Token {database.token}"}, f"{database.url}/api/v2/buckets"
    async with aiohttp.ClientSession(headers=headers, raise_for_status=True) as session:
        async with session.get(buckets, params={"name": database.database}) as answer:
            (bucket,) = (await answer.json())["buckets"]
        await session.delete(f"{buckets}/{bucket['id']}")
        await session.post(buckets, json={"orgID": bucket["orgID"], "name": database.database, "retentionRules": []})


async def numbers_in(database: InfluxDb1 | InfluxDb2) -> list[int]:
    """Give the numbers of all records that are stored, in every measurement that there is."""
    return sorted(row[1] for one in await influxql(database, "SELECT seq FROM /.*/") for row in one["values"])


async def types_in(database: InfluxDb1 | InfluxDb2) -> dict[str, dict[str, str]]:
    """Give the types that the fields have taken."""
    return {one["name"]: dict(one["values"]) for one in await influxql(database, "SHOW FIELD KEYS")}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    needs(request.param)
    return str(request.param)


async def ready(made: World) -> None:
    await made.bridge.start()
    async with asyncio.timeout(20.0):
        while " takes " not in log_of(made.bridge):
            await asyncio.sleep(0.05)


async def drill(made: World, station: Station, database: InfluxDb1 | InfluxDb2) -> dict[str, Any]:
    dice = random.Random(SEED)
    stored, silenced = 0, []
    for name, poison in POISON.items():
        await emptied(database)
        first, lines = station.first, mixed(station.first)
        places = [number for number in range(BATCH) if lines[number].startswith(poison.kind.encode())]
        # The first line of its kind is the one that would give the fields their types.
        place = dice.choice(places) if dice.random() < 0.5 else places[0]
        lines[place] = poison.line(first + place)
        ack = await station.send(lines)
        expected = [number for number in range(first, first + BATCH) if number != first + place]
        assert [one.seq for one in ack.rejected] == [first + place], name
        assert poison.words in ack.rejected[0].reason, name
        assert [number for low, high in ack.stored for number in range(low, high + 1)] == expected, name
        assert await numbers_in(database) == expected, name
        types = await types_in(database)
        assert types == {one: {**TYPES[one], "seq": "integer", "epoch": "string"} for one in types}, name
        stored += len(expected)
    await emptied(database)
    for number, (name, (where, payload)) in enumerate(envelopes(dice).items(), 1):
        await station.connection.publish(where, payload)
        first = station.first
        ack = await station.send(mixed(first))
        assert (list(ack.stored), list(ack.rejected)) == ([(first, first + BATCH - 1)], []), name
        if log_of(made.bridge).count("discarded, no batch of daq/1") != number:
            silenced.append(name)
    first = station.first - BATCH * len(envelopes(dice))
    assert await numbers_in(database) == list(range(first, station.first))
    assert silenced == []
    async with asyncio.timeout(10.0):
        while station.bridge.get("malformed") != len(envelopes(dice)):
            await asyncio.sleep(0.1)
    assert station.bridge["rejected"] == len(POISON)
    return {"stored": stored, "slowest": station.slowest}


def envelopes(dice: random.Random) -> dict[str, tuple[str, bytes]]:
    """Give messages that are no batch, by name: topic and payload."""
    mine = topic("lab", "data")
    whole = Batch("lab", EPOCH, 1_000_001, [good("reading", 1_000_001 + number) for number in range(3)]).encode()
    header, _, body = whole.partition(b"\n")
    long = [good("reading", 1_000_001).replace(b"S S", b"S" * 60_000)] * 18
    many = [good("event", 1_000_001)[:150]] * (LIMIT_LINES + 1)
    assert len(b"\n".join(long)) > LIMIT_BYTES > len(b"\n".join(many))
    other = Batch("lab-2", EPOCH, 1_000_001, [good("reading", 1_000_001)]).encode()
    nothing = hashlib.sha256(b"").hexdigest().encode()
    changed = {
        "another version": whole.replace(b"daq/1", b"daq/2"),
        "header without its end": header,
        "header without lines": header.replace(header[-64:], nothing) + b"\n",
        "header alone, n=0": header.replace(b"n=3", b"n=0").replace(header[-64:], nothing) + b"\n",
        "header with a field more": header + b" x=1\n" + body,
        "header in another order": header.replace(b"n=3 ", b"").replace(b"daq/1 ", b"daq/1 n=3 ") + b"\n" + body,
        "header ends with CR": header + b"\r\n" + body,
        "blank before it": b" " + whole,
        "byte order mark": b"\xef\xbb\xbf" + whole,
        "no header": body,
        "two batches in one": whole + b"\n" + whole,
        "wrong sha256": whole.replace(header[-64:], b"0" * 64),
        "changed line": whole.replace(b"value=1000002", b"value=1000003"),
        "cut off": whole[:-1],
        "line end too many": whole + b"\n",
        "wrong n": whole.replace(b"n=3", b"n=2"),
        "wrong last": whole.replace(b"last=1000003", b"last=1000004"),
        "first is 0": whole.replace(b"first=1000001", b"first=0"),
        "first is negative": whole.replace(b"first=1000001", b"first=-1"),
        "last before first": whole.replace(b"last=1000003", b"last=1"),
        "huge numbers": whole.replace(b"1000001 ", b"9" * 40 + b" ").replace(b"last=1000003", b"last=" + b"9" * 5_000),
        "huge n": whole.replace(b"n=3", b"n=" + b"9" * 100_000),
        "epoch too short": whole.replace(EPOCH.encode(), b"e" * 31, 1),
        "epoch in capitals": whole.replace(EPOCH.encode(), b"E" * 32, 1),
        "station of an empty name": whole.replace(b"station=lab", b"station=", 1),
        "station is a pattern": whole.replace(b"station=lab", b"station=+", 1),
        "station is no UTF-8": whole.replace(b"station=lab", b"station=l\xe4b", 1),
        "station too long": whole.replace(b"station=lab", b"station=" + b"l" * 65, 1),
        "too many bytes": Batch("lab", EPOCH, 1_000_001, long).encode(),
        "too many lines": Batch("lab", EPOCH, 1_000_001, many).encode(),
        "2 MB of nothing": bytes(2_000_000),
        "gzip": gzip.compress(whole),
        "UTF-16": whole.decode().encode("utf-16"),
        "empty": b"",
        "JSON": b'{"version": 1, "stored": [[1, 1]]}',
        "deep JSON": b"[" * 100_000,
        "an acknowledgement": Ack(EPOCH, [(1, 10**17)]).encode(),
        "random bytes": dice.randbytes(10_000),
        "0xff": b"\xff" * 1_000,
        "zeros": bytes(1_000),
        "station of another topic": other,
    }
    found = {name: (mine, payload) for name, payload in changed.items()}
    found["other station's topic"] = (topic("lab-2", "data"), whole)
    found["topic without a station"] = (topic("", "data"), whole)
    return found


@pytest.mark.timeout(240)
async def test_poison(tmp_path: Path, kind: str) -> None:
    lab = tmp_path / "small.toml"
    lab.write_text(LAB)
    async with world(tmp_path, lab, kind, start=False) as made:
        database: Any = made.database
        await ready(made)
        config = Broker(hosts=[f"127.0.0.1:{made.broker.port}"])
        async with connect(config, "poisoner", config.addresses[0]) as connection:
            station = Station(connection)
            for pattern in (topic("lab", "ack"), topic("lab-2", "ack"), "daq/1/_bridges/+"):
                await connection.subscribe(pattern)
            listening = asyncio.create_task(station.listen())
            try:
                seen = await drill(made, station, database)
            finally:
                listening.cancel()
                await asyncio.wait([listening])
        said, version = log_of(made.bridge), station.bridge["database"]
    assert "Traceback" not in said
    assert station.slowest <= WITHIN
    note(
        f"R12 {kind}",
        claim="a bad line is the only one of its batch that is not stored, and no message stops a bridge",
        aim=f"30 classes of bad lines, each in a batch of {BATCH} into an empty database: {BATCH - 1} stored, 1 "
        f"rejected with a reason, within {WITHIN:.0f} s; no bad message stores anything or stops anything",
        seen=f"{version}: {len(POISON)} classes of bad lines: {seen['stored']:,} of {len(POISON) * (BATCH - 1):,} good "
        f"lines stored, {len(POISON)} rejected in words, every field of its type; "
        f"{len(envelopes(random.Random(SEED)))} classes of bad messages: all counted, none stored or acknowledged, the "
        f"good batch behind each stored; slowest acknowledgement {seen['slowest'] * 1000:.0f} ms",
        test="pytest tests/drills/test_poison.py",
        seed=SEED,
    )
