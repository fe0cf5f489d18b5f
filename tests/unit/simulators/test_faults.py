"""Each fault does what `simulators.faults` says, and the truth file tells what was really sent and measured."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from typing import TYPE_CHECKING, Any, Self

import pytest

from simulators.balances.mt_sics import MtSics
from simulators.balances.sartorius_sbi import SartoriusSbi
from simulators.climate.vaisala_ptu import VaisalaPtu
from simulators.conversation import TextConversation
from simulators.faults import Faults
from simulators.gateway import Gateway
from simulators.lab import Lab, LabError
from simulators.physics import constant
from simulators.pressure.digiquartz import Digiquartz
from simulators.speaker import Speaker
from simulators.thermometers.milli_k import MilliK
from simulators.thermometers.scpi_dmm import ScpiDmm
from simulators.truth import Truth

if TYPE_CHECKING:
    from pathlib import Path

    from simulators.instrument import TextSimulator

BALANCE = {"simulator": "mt-sics", "serve": "tcp", "serial": "SIM1", "options": {"hold_s": 600.0}}
PROBE = {"simulator": "vaisala-hmp", "serve": "rtu-tcp", "unit": 240}


def said(simulator: TextSimulator, request: bytes, now: float = 0.0) -> bytes | None:
    answer = simulator.answer(request, now)
    return None if answer is None else answer.reply


# Single answers


@pytest.mark.parametrize(
    ("kind", "length"), [("dropped", -1), ("inserted", 1), ("bit7", 0), ("framing", 0), ("rubbish", 4), ("garbled", 0)]
)
def test_spoiled_answer(kind: str, length: int) -> None:
    right = b"S S     100.00 g\r\n"
    for seed in range(50):
        spoiled = Faults().chooser(str(seed)).spoil(kind, b"SI", right)
        assert len(spoiled) == len(right) + length
        assert spoiled != right or kind == "inserted"
    match kind:
        case "bit7":
            assert bytes(one & 0x7F for one in spoiled) == right
            assert min(spoiled) >= 0x80
        case "framing":
            assert spoiled.count(b"\0") == 1
        case "rubbish":
            assert spoiled == b"\0" + right + b"\0\0\0"
        case "garbled":
            (changed,) = [one ^ two for one, two in zip(spoiled, right, strict=True) if one != two]
            assert changed.bit_count() == 1


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        (Faults(delay_s=0.5), [0.5, 0.6, 0.7]),
        (Faults(single=[(2, 1.0)]), [0.0, 1.1, 1.1]),
        (Faults(growing_s=0.25, growing_most_s=0.6), [0.25, 0.6, 0.8]),
        (Faults(), [0.0, 0.1, 0.2]),
    ],
)
def test_gateway_delays_in_order(faults: Faults, expected: list[float]) -> None:
    gateway = Gateway(faults, random.Random(1))
    leaves = [now + gateway.hold(now) for now in (0.0, 0.1, 0.2)]
    assert leaves == pytest.approx(expected, abs=1e-5)


def test_jitter_never_lets_an_answer_overtake() -> None:
    gateway = Gateway(Faults(jitter_s=1.0), random.Random(1))
    leaves = [now / 100 + gateway.hold(now / 100) for now in range(100)]
    assert leaves == sorted(leaves)
    assert len(set(leaves)) == 100
    assert max(leave - now / 100 for now, leave in enumerate(leaves)) > 0.5
    assert leaves[-1] < 2.0


# States of the instruments


def test_power_cycle_loses_tare_and_unit_of_a_balance() -> None:
    balance = MtSics(decimals=2, tare=20.0, unit="mg")
    assert said(balance, b"SI") == b"S S      80000 mg\r\n"
    balance.power_on()
    assert said(balance, b"SI") == b"S S     100.00 g\r\n"
    assert balance.every == 0.0
    talking = MtSics(streams=True)
    talking.power_on()
    assert talking.every > 0
    printing = SartoriusSbi(tare=20.0, unit="kg", prints=True, decimals=2)
    assert said(printing, b"\x1bP") == b"N     +  0.08000 kg \r\n"
    printing.power_on()
    assert printing.unasked(0.0).reply == b"N     +   100.00 g  \r\n"
    assert (printing.every, said(printing, b"\x1bP")) == (0.1, None)


def test_power_cycle_of_the_others() -> None:
    meter = ScpiDmm(resistance=constant(107.7935))
    meter.power_on()
    answer = meter.answer(b"READ?;:FUNC?", 0.0)
    assert answer is not None
    assert answer.reply == b'+1.07793500E-01;"VOLT"\n'
    assert answer.units == {"resistance": "V"}
    meter.change("function", "FRES")
    assert said(meter, b"READ?;:FUNC?") == b'+1.07793500E+02;"FRES"\n'
    bridge = MilliK(remote=True, channel="2")
    bridge.power_on()
    assert (bridge.remote, bridge.channel) == (False, "1")
    barometer = Digiquartz(pressure=constant(1000.0), factory_unit_code=4)
    barometer.power_on()
    assert said(barometer, b"*0100P3") == b"*0001100.0000\r\n"
    assert said(barometer, b"*0100UN") == b"*0001UN=4\r\n"
    room = VaisalaPtu(quantities={"P": constant(1000.0)}, echo=False, form='"P=" 4.1 P U4 #r #n')
    room.change("unit", "inHg")
    assert said(room, b"SEND") == b"P=  29.5inHg\r\n"
    room.power_on()
    assert (said(room, b"") or b"").endswith(b">")
    assert room.units["P"] == "hPa"


def test_busy_balance_answers_not_now() -> None:
    balance = MtSics()
    balance.change("busy", "yes")
    assert [said(balance, one) for one in (b"SI", b"S", b"I4")] == [b"S I\r\n", b"S I\r\n", b"I4 I\r\n"]
    balance.change("busy", "no")
    assert said(balance, b"I4") == b'I4 A "SIM0000001"\r\n'


def test_esc_p_is_silent_until_stable() -> None:
    balance = SartoriusSbi(stable_only=True, at_rest=lambda t: t >= 2.0)
    answer = balance.answer(b"\x1bP", 1.0)
    assert answer is not None
    assert (answer.delay, answer.measured) == (1.0, 1.0)
    never = SartoriusSbi(stable_only=True, at_rest=lambda _: False)
    assert never.answer(b"\x1bP", 0.0) is None


@pytest.mark.parametrize("made", [MilliK(), ScpiDmm(), Digiquartz()])
def test_what_an_instrument_does_not_have_cannot_be_set(made: Any) -> None:
    if not made.settings:
        with pytest.raises(ValueError, match="cannot be set"):
            made.change("unit", "mg")
    else:
        assert made.settings


# On wires


async def rows(made: Lab, truth: Path) -> list[dict[str, Any]]:
    made._truth.write()
    return [json.loads(line) for line in truth.read_text().splitlines()]


class Client:
    """One TCP connection to an instrument."""

    def __init__(self, made: Lab, name: str = "a") -> None:
        host, _, port = made.listening[name].address.rpartition("//")[2].rpartition(":")
        self.where = (host, int(port))

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection(*self.where)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    async def hear(self, within: float = 0.15) -> bytes:
        """Give what comes within some time; None after the end is left out."""
        heard = b""
        end = time.monotonic() + within
        while (left := end - time.monotonic()) > 0:
            try:
                data = await asyncio.wait_for(self.reader.read(1000), left)
            except TimeoutError:
                break
            except ConnectionResetError:
                return heard + b"<end>"
            if not data:
                return heard + b"<end>"
            heard += data
        return heard

    async def ask(self, request: bytes, within: float = 0.15) -> bytes:
        self.writer.write(request)
        return await self.hear(within)


def lab(folder: Path, faults: dict[str, Any], **table: Any) -> Lab:
    made = {**BALANCE, "faults": faults, **table}
    return Lab({"instruments": {"a": made}}, truth=folder / "truth", pty_folder=folder)


async def test_power_cycle_with_the_wire_up(tmp_path: Path) -> None:
    faults = {"power": [[0.2, 0.2]]}
    options = {"hold_s": 600.0, "tare_g": 20.0, "noise_g": 0.0}
    async with lab(tmp_path, faults, options=options) as made, Client(made) as client:
        assert await client.ask(b"SI\r\n", 0.1) == b"S S    80.0000 g\r\n"
        await asyncio.sleep(0.15)
        assert await client.ask(b"SI\r\n", 0.05) == b""
        assert await client.hear(0.25) == b'I4 A "SIM1"\r\n'
        assert await client.ask(b"SI\r\n") == b"S S   100.0000 g\r\n"
        assert [one["values"]["mass"] for one in await rows(made, tmp_path / "truth")] == ["80.0000", "100.0000"]


@pytest.mark.parametrize("says", [True, False])
async def test_exchanged_instrument_is_another_one(tmp_path: Path, says: bool) -> None:
    async with lab(tmp_path, {"swap": [[0.1, 0.3]], "swap_says": says}) as made, Client(made) as client:
        assert await client.hear(0.2) == (b'I4 A "SIM0SWAPPED"\r\n' if says else b"")
        assert await client.ask(b"I4\r\n", 0.05) == b'I4 A "SIM0SWAPPED"\r\n'
        assert (await client.ask(b"SI\r\n", 0.05)).startswith(b"S S   1")
        await asyncio.sleep(0.2)
        await client.hear(0.05)
        await client.ask(b"SI\r\n", 0.05)
        found = await rows(made, tmp_path / "truth")
    assert [one["serial"] for one in found] == ["SIM0SWAPPED", "SIM1"]
    assert [round(float(one["values"]["mass"])) for one in found] == [150, 100]


async def test_key_and_xoff_at_their_instants(tmp_path: Path) -> None:
    faults = {"set": [[0.1, "unit", "kg"], [0.25, "stream", "on"], [0.4, "stream", "off"]], "xoff": [0.15]}
    async with lab(tmp_path, faults) as made, Client(made) as client:
        assert await client.hear(0.2) == b"\x13"
        assert (await client.ask(b"SI\r\n", 0.02)).endswith(b" kg\r\n")
        assert (await client.hear(0.3)).count(b"S S ") >= 1
        assert await client.hear(0.1) == b""
        found = await rows(made, tmp_path / "truth")
    assert {one["units"]["mass"] for one in found} == {"kg"}
    assert [one["asked_ns"] is None for one in found[:2]] == [False, True]


async def test_late_answer_is_told_from_its_question(tmp_path: Path) -> None:
    async with lab(tmp_path, {"delay_s": 0.1}) as made, Client(made) as client:
        await client.ask(b"SI\r\n", 0.2)
        (row,) = await rows(made, tmp_path / "truth")
    assert 0.099e9 <= row["at_ns"] - row["asked_ns"] <= 0.15e9
    assert row["measured_ns"] == row["asked_ns"]


async def test_converter_gives_each_value_more_than_once(tmp_path: Path) -> None:
    options = {"hold_s": 600.0, "noise_g": 0.01}
    async with lab(tmp_path, {"renewed_hz": 10}, options=options) as made, Client(made) as client:
        for _ in range(20):
            await client.ask(b"SI\r\n", 0.02)
        found = await rows(made, tmp_path / "truth")
    values = [one["values"]["mass"] for one in found]
    assert 3 <= len(set(values)) <= 8
    assert len({one["measured_ns"] // 20_000_000 for one in found}) == len(set(values))
    assert max(one["asked_ns"] - one["measured_ns"] for one in found) > 0.03e9
    assert all(0 <= one["asked_ns"] - one["measured_ns"] <= 0.101e9 for one in found)


async def test_server_for_one_client(tmp_path: Path) -> None:
    async with lab(tmp_path, {"one_client": "refuse"}) as made, Client(made) as first:
        assert await first.ask(b"I4\r\n", 0.05)
        async with Client(made) as second:
            assert await second.ask(b"I4\r\n") == b"<end>"
        assert await first.ask(b"I4\r\n", 0.05)
    async with lab(tmp_path, {"one_client": "replace"}) as made, Client(made) as first:
        await first.ask(b"I4\r\n", 0.05)
        async with Client(made) as second:
            assert await second.ask(b"I4\r\n", 0.05)
            assert await first.ask(b"I4\r\n") == b"<end>"


async def test_server_that_closes_idle_connections(tmp_path: Path) -> None:
    async with lab(tmp_path, {"idle_s": 0.1}) as made, Client(made) as client:
        for _ in range(3):
            assert (await client.ask(b"I4\r\n", 0.06)).startswith(b"I4")
        for _ in range(3):
            assert await client.ask(b"\r\n", 0.06) == b"", "what is not answered was said, too"
        assert await client.hear(0.2) == b"<end>"


async def test_dead_session(tmp_path: Path) -> None:
    async with lab(tmp_path, {"dead": [0.1]}) as made, Client(made) as client:
        assert await client.ask(b"I4\r\n", 0.05)
        await asyncio.sleep(0.1)
        assert await client.ask(b"SI\r\n", 0.1) == b""
        async with Client(made) as second:
            assert await second.ask(b"I4\r\n", 0.05)
        assert await rows(made, tmp_path / "truth") == [], "what was never heard was never answered"


async def test_opening_that_resets(tmp_path: Path) -> None:
    async with lab(tmp_path, {"opening_resets": True}) as made, Client(made) as client:
        assert await client.hear(0.05) == b'I4 A "SIM1"\r\n'


async def test_answer_that_nobody_could_hear_is_told(tmp_path: Path) -> None:
    async with lab(tmp_path, {"delay_s": 0.1}) as made:
        async with Client(made) as client:
            await client.ask(b"SI\r\n", 0.02)
        await asyncio.sleep(0.15)
        (row,) = await rows(made, tmp_path / "truth")
    assert row["fault"] == "unheard"


async def test_stray_xoff_on_a_pseudo_terminal(tmp_path: Path) -> None:
    async with lab(tmp_path, {"xoff": [0.1]}, serve="pty") as made:
        port = os.open(made.listening["a"].address, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        await asyncio.sleep(0.2)
        assert os.read(port, 100) == b'I4 A "SIM1"\r\n\x13'
        os.close(port)


def test_no_power_ends_the_stream() -> None:
    async def listen() -> tuple[int, int]:
        heard: list[bytes] = []
        speaker = Speaker("one", Faults().chooser("seed"), Truth(None), time.monotonic())
        conversation = TextConversation(SartoriusSbi(autoprint=True, every=0.005, interval=0.005), speaker)
        conversation.start(heard.append)
        await asyncio.sleep(0.05)
        speaker.power_off()
        before = len(heard)
        await asyncio.sleep(0.05)
        return before, len(heard)

    before, after = asyncio.run(listen())
    assert before >= 3
    assert after == before


# In a lab file


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (BALANCE | {"faults": {"bit7": -1}}, "bit7 = -1 is no share"),
        (BALANCE | {"faults": {"rubbish_before": "xyz"}}, "rubbish_before = 'xyz' are no bytes in hex"),
        (BALANCE | {"faults": {"single": [[0, 1.0]]}}, "write [[number of the answer from 1, seconds], …]"),
        (BALANCE | {"faults": {"delay_s": "1"}}, "delay_s = '1' is no time"),
        (BALANCE | {"faults": {"growing_s": float("nan")}}, "growing_s = nan is no time"),
        (BALANCE | {"faults": {"power": [[1]]}}, "power = [[1]]; write [[start, length], …]"),
        (BALANCE | {"faults": {"xoff": 3}}, "xoff = 3; write [instant, …]"),
        (BALANCE | {"faults": {"swap_says": 1}}, "swap_says = 1 is neither true nor false"),
        (BALANCE | {"faults": {"one_client": "kill"}}, 'one_client = \'kill\' is neither "refuse" nor "replace"'),
        (BALANCE | {"faults": {"set": [[1, "unit"]]}}, 'write [[instant in seconds, "name", "value"], …]'),
        (BALANCE | {"faults": {"set": [[1, "colour", "x"]]}}, "mt-sics has no such setting; it has unit, busy, stream"),
        (BALANCE | {"faults": {"set": [[1, "unit", "lb"]]}}, "set unit = 'lb': mt-sics knows g, mg, kg"),
        (PROBE | {"faults": {"set": [[1, "unit", "g"]]}}, "vaisala-hmp has no such setting; it has none"),
        (PROBE | {"faults": {"opening_resets": True}}, "vaisala-hmp has nothing that is lost"),
        (BALANCE | {"serve": "pty", "faults": {"dead": [1]}}, "dead is a fault of a serial server; serve = 'pty'"),
        (BALANCE | {"serve": "hislip", "faults": {"one_client": "refuse"}}, "one_client is a fault of a serial server"),
    ],
)
def test_mistakes_of_faults_are_refused_with_words(tmp_path: Path, table: dict[str, Any], words: str) -> None:
    with pytest.raises(LabError) as caught:
        Lab({"instruments": {"a": table}}, pty_folder=tmp_path)
    assert words in str(caught.value)
