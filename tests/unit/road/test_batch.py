"""Batches and acknowledgements are what they say, or nothing of them is used."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daq.road.batch import LIMIT_BYTES, Ack, Batch, Malformed, Rejection, station_of, topic

LINES = [b"reading,station=lab value=1 1", b"reading,station=lab value=2 2"]
GOOD = Batch("lab", "a" * 32, 41, LINES)


def test_batch_comes_back() -> None:
    assert Batch.decode(GOOD.encode()) == GOOD
    assert GOOD.encode().startswith(b"# daq/1 station=lab epoch=" + b"a" * 32 + b" first=41 last=42 n=2 sha256=")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\n",
        b"# daq/1\n",
        b"{}",
        b"\xff\xfe",
        GOOD.encode()[:-1],
        GOOD.encode() + b"\n",
        GOOD.encode().replace(b"first=41", b"first=40"),
        GOOD.encode().replace(b"last=42", b"last=43"),
        GOOD.encode().replace(b"n=2", b"n=3"),
        GOOD.encode().replace(b"value=2", b"value=3"),
        GOOD.encode().replace(b"station=lab epoch", b"station=a/b epoch"),
        GOOD.encode().replace(b"a" * 32, b"A" * 32),
        GOOD.encode().replace(b"daq/1", b"daq/2"),
        GOOD.encode().replace(b"first=41", b"first=0"),
        b"x" * (LIMIT_BYTES + 1),
    ],
)
def test_anything_else_is_malformed(payload: bytes) -> None:
    with pytest.raises(Malformed):
        Batch.decode(payload)


@given(st.binary(max_size=300))
def test_bytes_are_a_batch_or_malformed(payload: bytes) -> None:
    with pytest.raises(Malformed):
        Batch.decode(payload)


def test_ack_comes_back() -> None:
    ack = Ack("a" * 32, [(1, 5), (7, 9)], [Rejection(6, 'field type conflict: "value"')], "bridge-1")
    assert Ack.decode(ack.encode()) == ack


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"version": 1, "bridge": "", "epoch": "a", "stored": [[5, 1]], "rejected": []}',
        b'{"version": 1, "bridge": "", "epoch": "a", "stored": [[0, 1]], "rejected": []}',
        b'{"version": 1, "bridge": "", "epoch": "a", "stored": [[1.5, 2]], "rejected": []}',
        b'{"version": 1, "bridge": "", "epoch": "a", "stored": [[true, 2]], "rejected": []}',
        b'{"version": 1, "bridge": "", "epoch": 7, "stored": [], "rejected": []}',
        b'{"version": 2, "bridge": "", "epoch": "a", "stored": [], "rejected": []}',
        b'{"version": 1, "bridge": "", "epoch": "a", "stored": [[1]], "rejected": []}',
        b'{"version": 1, "bridge": "", "epoch": "a", "stored": [], "rejected": [{"seq": 1}]}',
    ],
)
def test_no_ack(payload: bytes) -> None:
    with pytest.raises(Malformed):
        Ack.decode(payload)


def test_topics() -> None:
    assert station_of(topic("lab", "data")) == "lab"
    for name in ("daq/2/lab/data", "daq/1/lab", "daq/1//data", "x"):
        with pytest.raises(Malformed):
            station_of(name)
