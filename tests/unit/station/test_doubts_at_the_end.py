"""What is not proven where an instrument ends, or is read by another follower, is a doubt; what is proven is none."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from daq.road.reading import Doubt, EventKind
from daq.station.acquisition import Follower
from daq.station.records import Station
from daq.station.supervision import Supervisor
from drivers.balances.mt_sics import mt_sics
from drivers.driver import Channel, Driver, Identity, Poll, Text
from drivers.errors import Silent
from drivers.instrument import Instrument
from tests.followed import SERIAL, Wire, balance, running
from tests.jumping_clock import JumpingClock
from tests.unit.drivers.answered import value
from tests.unit.station.test_service import config, station
from tests.unit.station.test_service_story import ends
from tests.unit.station.test_supervision import Hanging

if TYPE_CHECKING:
    from pathlib import Path


from tests.unit.station.ending import STARTED, Fails, Lab, silent, stopped


async def test_values_without_a_unit_are_decided_on_by_the_next_unit_also_after_a_reload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = ["1.0 g"]
    poll = Poll(Text(b"P"), (Channel("mass", "mass", "g"),), value)
    made = Driver("a balance", (poll,), Identity(Text(b"ID"), lambda _: "B1"))
    other = config(tmp_path, "a", "b").instruments["b"]
    for address, told in ((None, "and then: "), (other.address, "and none was shown before the reading ended")):
        async with station(tmp_path, monkeypatch, "a") as lab:

            def answer(command: bytes) -> bytes:
                return b"B1" if command == b"ID" else shown[0].encode()

            def instrument(name: str, *_: Any, clock: Any = lab.clock) -> Instrument[Any]:
                return Instrument(name, made, Wire(clock, answer), "B1", clock.monotonic)

            monkeypatch.setattr("daq.station.service.instrument_of", instrument)
            shown[0] = "1.0 g"
            new = config(tmp_path, "a")
            table = new.instruments["a"]
            for update in ({"simulated": True}, {"simulated": False} | ({"address": address} if address else {})):
                changed = new.model_copy(update={"instruments": {"a": table.model_copy(update=update)}})
                await ends(lab, lab.service.reloading.apply(changed))
                await lab.clock.run_for(3.0)
                shown[0] = "1.0"
                await lab.clock.run_for(5.0)
            shown[0] = "1.0 [lb_av]"
            await lab.clock.run_for(5.0)
            units: list[Any] = [one for one in lab.records if getattr(one, "kind", "") == "unit"]
        assert len(units) == 1, address
        assert told in units[0].text


async def test_another_number_is_noticed_also_where_the_next_proof_fails_at_once() -> None:
    """It tells its number, sends unasked bytes with its weight, and its second proof cannot be read."""
    present, asked = [b'I4 A "B1"\r\n'], [0]
    wires: list[Wire] = []

    def answer(command: bytes) -> bytes:
        if command == b"I4\r\n":
            asked[0] += 1
            return b"I4 rubbish\r\n" if present[0] != SERIAL and asked[0] == 2 else present[0]
        if present[0] != SERIAL:
            wires[0].unasked += 10
        return balance(command)

    async with running(answer, 10.0, serial=None) as (clock, records, wire, _):
        wires.append(wire)
        await clock.run_for(25.0)
        asked[0], present[0] = 0, b'I4 A "B2"\r\n'
        await clock.run_for(30.0)
    assert any("B2 answers where B1" in one.text for one in records.doubts)


async def test_another_number_is_noticed_also_where_no_value_follows_it() -> None:
    """The wire is suspect: it is connected anew as it is read, tells another number, and then nothing."""
    present = [b'I4 A "B1"\r\n']

    def answer(command: bytes) -> bytes:
        if command == b"I4\r\n":
            return present[0]
        if present[0] != SERIAL and command == b"SI\r\n":
            raise Silent("no answer")
        return balance(command) if command == b"SI\r\n" else b"ES\r\n"

    async with running(answer, 10.0, serial=None) as (clock, records, wire, _):
        await clock.run_for(25.0)
        present[0] = b'I4 A "B2"\r\n'
        wire.suspect = True
        await clock.run_for(10.0)
        (doubt,) = records.doubts
        assert "B2 answers where B1" in doubt.text


async def test_a_stop_during_the_last_proof_of_a_reload_lets_it_be_answered() -> None:
    for after in (0.0, 0.1, 0.2):
        lab = Lab()
        lab.wire.delay = 0.3
        await lab.clock.run_for(10.0 + STARTED + 0.5)
        removing = asyncio.create_task(lab.made.remove(["b"]))
        await lab.clock.run_for(after)
        await stopped(lab.clock, lab.task)
        await lab.clock.finish(removing)
        assert not lab.records.doubts


async def test_a_mistake_in_the_last_proof_is_noted() -> None:
    lab = Lab()
    await lab.clock.run_for(6.5)
    wire = lab.wire
    assert isinstance(wire, Hanging)
    wire.raises = IndexError
    kept = lab.made.followers["b"]
    await stopped(lab.clock, lab.task)
    assert kept.failures.last.startswith("IndexError: a mistake")
    assert lab.records.doubts


async def test_after_a_failed_proof_an_event_says_who_answers() -> None:
    left = [1]

    def no_proof(command: bytes) -> bytes:
        if command == b"I4\r\n" and left[0]:
            left[0] = 0
            return silent(command)
        return balance(command)

    lab = Lab()
    await lab.clock.run_for(3.0)
    lab.wire.answer = no_proof
    await lab.clock.run_for(60.0)
    assert not left[0]
    await stopped(lab.clock, lab.task)
    assert len(lab.records.events(EventKind.CONNECT)) == 2


@pytest.mark.parametrize("how", ["stop", "remove"])
async def test_what_a_proof_has_proven_is_not_doubted_where_no_value_followed_it(how: str) -> None:
    """At a tick the proof is good, and the value does not come; the end comes before the next proof."""
    lab, mute = Lab(period=10.0), False

    def answer(command: bytes) -> bytes:
        if mute and command == b"SI\r\n":
            return silent(command)
        if mute and proofs:
            return silent(command)
        proofs.append(command)
        return balance(command)

    proofs: list[bytes] = []
    lab.wire.answer = answer
    await lab.clock.run_for(25.0)
    proofs.clear()
    mute = True
    await lab.clock.run_for(10.0)
    assert proofs, "it has proved itself, and then gave no value"
    if how == "remove":
        await lab.clock.finish(asyncio.create_task(lab.made.remove(["b"])))
    await stopped(lab.clock, lab.task)
    assert not lab.records.doubts


async def test_a_doubt_that_cannot_be_recorded_is_recorded_later() -> None:
    clock, records = JumpingClock(), Fails(lambda record: isinstance(record, Doubt))
    made = Station("lab", records, clock)
    wire = Hanging(clock, balance)
    kept = Supervisor(made, [Follower(made, Instrument("b", mt_sics(), wire, "B1", clock.monotonic), 1.0)])
    task = asyncio.create_task(kept.run())
    await clock.run_for(3.0)

    def mistaken_once(command: bytes) -> bytes:
        if command == b"I4\r\n":
            wire.answer = balance
            raise RuntimeError("a mistake")
        return balance(command)

    records.left, wire.answer = 1, mistaken_once
    await clock.run_for(60.0)
    assert not records.left
    await stopped(clock, task)
    assert any("error of the program" in one.text for one in records.doubts)
