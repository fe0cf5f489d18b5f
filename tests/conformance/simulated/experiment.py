"""Reads every driver through the faults, many at the same time, and keeps what was read and what was true."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivers.errors import Impostor, InstrumentError, WrongSetting
from drivers.instrument import Answer, Instrument
from drivers.links.wires import Wires
from simulators.lab import Lab
from tests.conformance.simulated.cases import CASES, PROVE_EVERY, Case
from tests.conformance.simulated.subjects import SERIAL, SUBJECTS, Subject

if TYPE_CHECKING:
    from drivers.driver import Channel
    from drivers.sample import Sample
    from simulators.lab import Listening


@dataclass
class Reading:
    """One value; instants in UTC nanoseconds. `doubted`: the station would have sent a doubt for it."""

    channel: Channel
    sample: Sample
    raw: bytes
    asked: int
    answered: int
    proofs: int
    doubted: bool = False
    proved: bool = False


@dataclass
class Run:
    """What one driver read on one wire.

    `began` is when the lab was started (UTC ns), `to_utc` the nanoseconds from the monotonic clock to UTC, `held` the
    longest time in seconds that this process was held up by others on this computer.
    """

    subject: Subject
    case: Case
    began: int
    to_utc: int
    held: float = 0.0
    readings: list[Reading] = field(default_factory=list)
    errors: list[tuple[float, InstrumentError]] = field(default_factory=list)
    truth: list[dict[str, Any]] = field(default_factory=list)

    def take(self, channels: tuple[Channel, ...], answer: Answer) -> None:
        """Keep the values of one answer."""
        asked, answered = (round(at * 1e9) + self.to_utc for at in (answer.asked, answer.answered))
        for channel, sample in zip(channels, answer.samples, strict=True):
            self.readings.append(Reading(channel, sample, answer.raw, asked, answered, answer.proofs))

    def proved(self, proofs: int) -> None:
        """Note that a proof was given: it proves what was read after the one before."""
        for reading in self.readings:
            if not reading.doubted and reading.proofs < proofs:
                reading.proved = True

    def doubt(self, error: InstrumentError) -> None:
        """Doubt what was read since the last proof (and its unit, since it was last shown), as a station does."""
        for reading in self.readings:
            if not reading.proved:
                reading.doubted = True
        if isinstance(error, WrongSetting):
            for reading in reversed(self.readings):
                if reading.sample.value is not None and reading.sample.unit is not None:
                    break
                reading.doubted = True


def _to_utc() -> int:
    """Read both clocks together: the process may be held up between the two, so the closest pair counts."""
    pairs = [(time.monotonic_ns(), time.time_ns(), time.monotonic_ns()) for _ in range(20)]
    before, utc, after = min(pairs, key=lambda one: one[2] - one[0])
    return utc - (before + after) // 2


async def _watch(runs: list[Run]) -> None:
    """Note how long this process was held up."""
    while True:
        began = time.monotonic()
        await asyncio.sleep(0.02)
        late = time.monotonic() - began - 0.02
        for run in runs:
            run.held = max(run.held, late)


async def _follow(run: Run, listening: Listening, wires: Wires, until: float) -> None:
    subject = run.subject
    driver = subject.made()
    line = subject.line() if listening.line else None
    link = wires.link(listening.address, driver, unit=listening.unit, line=line)
    expected = SERIAL if driver.identity else None
    instrument = Instrument(str(subject), driver, link, expected, prove_every=PROVE_EVERY)
    await asyncio.sleep(run.case.asks_after)
    began = time.monotonic()
    while time.monotonic() < until:
        for poll in driver.polls:
            try:
                answer = await instrument.read(poll)
            except InstrumentError as error:
                run.errors.append((time.monotonic() - began, error))
                if isinstance(error, Impostor | WrongSetting):
                    run.doubt(error)
            else:
                run.proved(instrument.proofs)
                run.take(poll.channels, answer)
        await asyncio.sleep(run.case.period)
    with suppress(InstrumentError):
        await instrument.prove()
        run.proved(instrument.proofs)
    await instrument.close()


async def _rival(address: str, start: float, end: float) -> None:
    """Connect as another client, and let go at `end` (monotonic)."""
    host, _, port = address.rpartition("//")[2].rpartition(":")
    await asyncio.sleep(max(0.0, start - time.monotonic()))
    _, writer = await asyncio.open_connection(host, int(port))
    await asyncio.sleep(max(0.0, end - time.monotonic()))
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def play(case: Case, folder: Path) -> list[Run]:
    """Read every driver on every wire that the case concerns, for as long as it lasts, all at the same time."""
    subjects = {f"n{number}": one for number, one in enumerate(SUBJECTS) if case.concerns(one)}
    tables = {name: one.table(case.options.get(one.driver, {}), case.faults_of(one)) for name, one in subjects.items()}
    truth = folder / "truth.jsonl"
    wires = Wires()
    async with Lab({"instruments": tables}, truth=truth, pty_folder=folder / "ports") as lab:
        began, began_ns, to_utc = time.monotonic(), time.time_ns(), _to_utc()
        runs = {name: Run(one, case, began_ns, to_utc) for name, one in subjects.items()}
        watching = asyncio.create_task(_watch(list(runs.values())))
        async with asyncio.TaskGroup() as group:
            for name, run in runs.items():
                listening = lab.listening[name]
                if case.rival is not None:
                    group.create_task(_rival(listening.address, *(began + at for at in case.rival)))
                    await asyncio.sleep(0.005 if case.rival[0] == 0 else 0.0)
                group.create_task(_follow(run, listening, wires, began + case.ends + run.subject.more))
        watching.cancel()
        await wires.close()
    for row in map(json.loads, truth.read_text().splitlines()):
        runs[row["instrument"]].truth.append(row)
    return list(runs.values())


async def _play_all(cases: list[Case]) -> list[list[Run]]:
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name) / str(number) for number in range(len(cases))]
        for folder in folders:
            folder.mkdir()
        return await asyncio.gather(*map(play, cases, folders))


AT_ONCE = 8
"""Cases that are played at the same time: mostly they wait, a case needs half a second of processor time."""
_PLAYED: dict[str, dict[str, Run]] = {}


def played(case: Case) -> dict[str, Run]:
    """Give what each driver read on each wire in this case; played once in a process, together with its neighbours."""
    if case.name not in _PLAYED:
        first = CASES.index(case) // AT_ONCE * AT_ONCE
        together = CASES[first : first + AT_ONCE]
        for one, runs in zip(together, asyncio.run(_play_all(together)), strict=True):
            _PLAYED[one.name] = {str(run.subject): run for run in runs}
    return _PLAYED[case.name]
