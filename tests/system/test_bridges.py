"""Two bridges share the work, and either may die; only a bridge may acknowledge, which the broker sees to."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import aiomqtt

from daq.demo.whole_lab import Program
from daq.road.batch import Ack
from tests.system.test_road import KILLED_LAB
from tests.system.world import ROOT, compare, log_of, world

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.world import World


async def test_two_bridges_share_and_one_dies(tmp_path: Path) -> None:
    lab = tmp_path / "lab.simulated.toml"
    lab.write_text(KILLED_LAB)
    async with world(tmp_path, lab) as made:
        second = Program.command_of_daq(tmp_path / "second", "bridge", str(tmp_path / "bridge.toml"))
        await second.start()
        try:
            await asyncio.sleep(6.5)  # they say what they have done every five seconds
            shared = [int(one["stored"]) for one in (await statuses(made)).values()]
            assert len(shared) == 2
            assert all(count > 50 for count in shared), f"both have stored some: {shared}"
            await made.bridge.kill()
            await asyncio.sleep(4.0)
            await made.until_drained()
            await made.station.stop()
            stored = await made.stored()
        finally:
            await second.stop()
    counts = compare(made.truth(), stored)
    ledger = made.ledger()
    assert counts == {name: one["readings"] for name, one in ledger["instruments"].items()}
    assert ledger["stored"] == ledger["acquired"]
    for log in (log_of(made.bridge), log_of(second)):
        assert "takes $share/bridges/daq/1/+/data" in log


async def statuses(made: World) -> dict[str, dict[str, Any]]:
    """Give the last status of every bridge by its name."""
    found: dict[str, dict[str, Any]] = {}
    async with aiomqtt.Client("127.0.0.1", made.broker.port) as client:
        await client.subscribe("daq/1/_bridges/#", qos=1)
        messages = aiter(client.messages)
        try:
            while True:
                message = await asyncio.wait_for(anext(messages), 1.0)
                found[str(message.topic)] = json.loads(message.payload)
        except TimeoutError:
            return found


def shipped_rules() -> str:
    """Give the access list that stands in the example of the broker's configuration, without its comment signs."""
    text = (ROOT / "configs" / "mosquitto.example.conf").read_text()
    rules = text[text.index("#   pattern") :]
    return "".join(f"{line.removeprefix('#').strip()}\n" for line in rules.splitlines())


async def test_nobody_but_the_bridge_can_acknowledge(tmp_path: Path) -> None:
    """With the shipped access list a station's own password, or another one's, acknowledges nothing."""
    lab = tmp_path / "lab.simulated.toml"
    lab.write_text(KILLED_LAB)
    async with world(tmp_path, lab, start=False) as made:
        (tmp_path / "daq.acl").write_text(shipped_rules())
        passwords = tmp_path / "passwords"
        passwords.write_text("lab:l\nbridge:b\nother:o\n")
        passwords.chmod(0o600)
        tool = made.broker.program.parent.parent / "debian" / "usr" / "bin" / "mosquitto_passwd"
        subprocess.run([tool if tool.exists() else "mosquitto_passwd", "-U", passwords], check=True, timeout=20)
        await made.broker.stop()
        made.broker.settings = [
            "allow_anonymous false",
            f"password_file {passwords}",
            f"acl_file {tmp_path / 'daq.acl'}",
        ]
        await made.broker.start()
        for name, user in (("station", "lab"), ("bridge", "bridge")):
            secret = tmp_path / f"{name}.password"
            secret.write_text(user[0])
            config = tmp_path / f"{name}.toml"
            access = f'[broker]\nuser = "{user}"\npassword_file = "{secret}"\n'
            config.write_text(config.read_text().replace("[broker]\n", access))
        await made.station.start()  # no bridge yet: everything waits
        await asyncio.sleep(2.0)
        status = await made.status()
        assert status["spooled"] == status["acquired"] > 20
        forged = Ack(status["epoch"], [(1, 20)], (), "bridge").encode()
        for user in ("lab", "other"):
            old = aiomqtt.ProtocolVersion.V311  # who is refused there is not told
            client = aiomqtt.Client("127.0.0.1", made.broker.port, username=user, password=user[0], protocol=old)
            async with client:
                await client.publish("daq/1/lab/ack", forged, qos=1)
        await asyncio.sleep(0.5)
        after = await made.status()
        assert (after["stored"], after["strange_acks"]) == (0, 0), "the broker let it through"
        async with aiomqtt.Client("127.0.0.1", made.broker.port, username="bridge", password="b") as client:
            await client.publish("daq/1/lab/ack", Ack("e" * 32, [(1, 20)], (), "bridge").encode(), qos=1)
            await client.publish("daq/1/lab/ack", Ack(status["epoch"], [(1, 10**9)], (), "bridge").encode(), qos=1)
            await asyncio.sleep(0.5)
        after = await made.status()
        assert (after["stored"], after["strange_acks"]) == (0, 2), "another epoch, and beyond what was sent"
        assert re.search(r"ack: \d+ acknowledgements ignored", log_of(made.station))
        await made.bridge.start()
        await made.until_drained()
        await made.station.stop()
        stored = await made.stored()
    assert compare(made.truth(), stored)
    assert made.ledger()["stored"] == made.ledger()["acquired"]
