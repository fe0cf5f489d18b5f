"""A broker that wants TLS and a client certificate: taken with the right ones, refused with words otherwise."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from daq.config import Broker
from daq.demo.programs import find
from daq.demo.servers import Mosquitto
from daq.road.mqtt import BrokerLost, BrokerRefused, connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


# paho leaves the socket of a failed handshake to the garbage collector.
KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <ssl:ResourceWarning")


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)


def authority(folder: Path, name: str) -> None:
    openssl(folder, "req", "-x509", *KEY, "-days", "2", "-subj", f"/CN={name}", *files(name))


def files(name: str) -> list[str]:
    return ["-keyout", f"{name}.key", "-out", f"{name}.pem"]


def certificate(folder: Path, name: str, signer: str) -> None:
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    wanted = ["-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", "request"]
    openssl(folder, "req", *KEY, *wanted)
    signed = ["-CA", f"{signer}.pem", "-CAkey", f"{signer}.key", "-CAcreateserial", "-out", f"{name}.pem"]
    openssl(folder, "x509", "-req", "-in", "request", "-days", "2", "-extfile", "names", *signed)


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificates of this test and is not installed")
    program = find("mosquitto")
    assert program is not None
    for name in ("lab-ca", "other-ca"):
        authority(tmp_path, name)
    for name, signer in (("broker", "lab-ca"), ("station", "lab-ca"), ("stranger", "other-ca")):
        certificate(tmp_path, name, signer)
    settings = [
        f"cafile {tmp_path}/lab-ca.pem",
        f"certfile {tmp_path}/broker.pem",
        f"keyfile {tmp_path}/broker.key",
        "require_certificate true",
        "use_identity_as_username true",
    ]
    async with Mosquitto(program, tmp_path / "broker-files", settings=settings) as server:
        yield server


def config(broker: Mosquitto, folder: Path, *, ca: str, name: str | None) -> Broker:
    tls = {"ca": folder / f"{ca}.pem"}
    if name is not None:
        tls |= {"certificate": folder / f"{name}.pem", "key": folder / f"{name}.key"}
    return Broker.model_validate({"hosts": [f"127.0.0.1:{broker.port}"], "tls": tls})


async def test_right_certificates_carry_messages(broker: Mosquitto, tmp_path: Path) -> None:
    right = config(broker, tmp_path, ca="lab-ca", name="station")
    async with connect(right, "test", right.addresses[0]) as connection:
        await connection.subscribe("daq/1/lab/data")
        await connection.publish("daq/1/lab/data", b"payload")
        async with asyncio.timeout(5.0):
            async for message in connection.messages():
                assert message.payload == b"payload"
                break


@pytest.mark.parametrize(
    ("ca", "name", "words"),
    [
        ("other-ca", "station", "certificate verify failed"),
        ("lab-ca", None, "client certificate"),
        ("lab-ca", "stranger", "client certificate"),
    ],
)
async def test_wrong_certificates_do_not(
    broker: Mosquitto, tmp_path: Path, ca: str, name: str | None, words: str
) -> None:
    wrong = config(broker, tmp_path, ca=ca, name=name)
    with pytest.raises(BrokerLost, match=words):
        async with connect(wrong, "test", wrong.addresses[0]):
            pass


async def test_missing_file_is_named(broker: Mosquitto, tmp_path: Path) -> None:
    missing = Broker.model_validate({"hosts": [f"127.0.0.1:{broker.port}"], "tls": {"ca": tmp_path / "none.pem"}})
    with pytest.raises(BrokerRefused, match="TLS files"):
        async with connect(missing, "test", missing.addresses[0]):
            pass
