"""R10: whatever bytes come, a decoder gives well-formed samples or raises Unreadable, soon, and keeps no memory."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import socket
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from drivers import catalogue
from drivers.driver import Poll, Registers, Text, Unreadable
from drivers.errors import InstrumentError
from drivers.instrument import decoded
from drivers.links import modbus_frames
from drivers.links.connection import LARGEST_ANSWER, Connection
from drivers.links.modbus_frames import RtuFrame, TcpFrame
from drivers.links.stream import _measure
from tests import golden
from tests.conformance.drivers import oracle
from tests.drills.fuzz import Mutator, changed_bytes, grown, with_crc16, with_sum, words
from tests.drills.report import SEED, count, note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from drivers.driver import Control, Driver, Identity, Setup
    from drivers.links.connection import Measure
    from drivers.links.modbus_frames import Frame

INPUTS = count(8_000, 1_000_000)
GROWN = count(40, 2_000)
EXCHANGES = count(1_000, 50_000)
BLOCK = 10_000
SLOWEST_S = 0.05
"""Processor time of one function on one input of 64 KiB; the search of a bad pattern takes seconds."""
STUCK_S = 5.0
"""Processor time after which an input is given up: a search that backtracks without end would never come back."""
RSS_GROWTH = 20e6
UNIT = 17
LOG = logging.getLogger(__name__)

RARE: dict[str, tuple[bytes, ...]] = {
    "mt-sics": (b"S D       0.00 mg\r\n", b"S S   -1.23456 kg\r\n"),
    "sartorius-sbi": (b"-      1.5 kg \r\n", b"Stat       OFF\r\n", b"Err 54\r\n", b"APP.ERR 12\r\n"),
    "scpi-dmm": (b'-9.9E37;"FRES"\n', b'+9.9100000E+37;"FRES"\n', b'+1.2E+37;"FRES"\n', b'+1E+38;"FRES"\n'),
    "vaisala-ptu": (
        with_sum(b"P=    1033.700 hPa CS\r\n"),
        with_sum(b"P=    1033.700 hPa T=     22.200 'C RH=    38.30 %RH H 159.00001CS\r\n"),
    ),
}
"""Readings of rare states and of other units, which the golden transcripts leave out."""
SETUP: dict[str, tuple[bytes, ...]] = {
    "mt-sics": (b'I4 A ""\r\n',),
    "digiquartz": (b"*0001SN=41234\r\n", b"*0001UN=2\r\n"),
    "vaisala-ptu": (
        b"Echo           : OFF\r\n",
        b"OK\r\n",
        b'Output format  : "P=" 8.3 P " " U4 CS2 #r #n\r\n>',
    ),
}
"""Answers to questions of the setup, and for the serial number where the golden transcript lacks them."""
OPTIONS: dict[str, tuple[dict[str, Any], ...]] = {
    "modbus-singles": ({}, {"count": 2, "words": "low first", "table": "input"}),
    "vaisala-ptu": ({}, {"model": "ptb330"}),
}


@dataclass(frozen=True)
class Eye:
    """A function that reads what came; gives how many samples or texts it took, raises Unreadable, and nothing else."""

    name: str
    look: Callable[[bytes], int]


@dataclass(frozen=True)
class Family:
    """Right answers, and all that looks at answers of this kind."""

    name: str
    seeds: list[bytes]
    eyes: list[Eye]
    repair: Callable[[bytes], bytes] | None = None


@dataclass
class Seen:
    """The counts of all families together."""

    inputs: int = 0
    looks: int = 0
    refused: int = 0
    taken: int = 0
    slowest: float = 0.0
    slowest_input: str = ""
    faults: list[str] = field(default_factory=list)

    def offer(self, family: Family, raw: bytes) -> None:
        """Show one input to every eye."""
        self.inputs += 1
        for eye in family.eyes:
            signal.setitimer(signal.ITIMER_VIRTUAL, STUCK_S)
            before = time.perf_counter()
            try:
                self.taken += eye.look(raw)
            except Unreadable:
                self.refused += 1
            except TimeoutError:
                self.fault(family, eye, raw, f"took over {STUCK_S} s")
                pytest.fail(self.faults[-1])
            except Exception as error:  # noqa: BLE001  # that there is any other is what is looked for
                self.fault(family, eye, raw, repr(error))
            if time.perf_counter() - before > self.slowest:
                self._time(family, eye, raw)
        self.looks += len(family.eyes)

    def fault(self, family: Family, eye: Eye, raw: bytes, what: str) -> None:
        if len(self.faults) < 1000:
            self.faults.append(f"{family.name}, {eye.name}: {what[:300]} from {len(raw)} bytes {raw[:120]!r}")

    def _time(self, family: Family, eye: Eye, raw: bytes) -> None:
        """Take the processor time of what seemed slow, as others use this machine: the least of three."""
        least = min(_processor_time(eye, raw) for _ in range(3))
        if least > SLOWEST_S:
            self.fault(family, eye, raw, f"took {least:.3f} s")
        if least > self.slowest:
            self.slowest, self.slowest_input = least, f"{family.name}, {eye.name}, {len(raw)} bytes"


def _processor_time(eye: Eye, raw: bytes) -> float:
    before = time.thread_time()
    with suppress(Exception):  # the first look has judged it
        eye.look(raw)
    return time.thread_time() - before


def values(name: str, options: dict[str, Any], poll: Poll[Any], raw: bytes) -> int:
    """Read as an instrument does; what the second reader finds good must be taken, too."""
    said = oracle.says(name, raw, options)
    try:
        samples = decoded(poll, raw)
    except Unreadable:
        units = [one.unit for one in said or () if one.value is not None]
        fits = len(said or ()) == len(poll.channels) and units == [one.unit for one in poll.channels]
        assert not fits, f"refused, and the manual knows it: {said}"
        raise
    oracle.judge(poll, samples, said)
    return len(samples)


def values_with_sum(name: str, options: dict[str, Any], poll: Poll[Any], raw: bytes) -> int:
    taken = values(name, options, poll, raw)
    assert raw == with_sum(raw), "taken with a wrong checksum"
    return taken


def serial(identity: Identity[Any], raw: bytes) -> int:
    found = identity.decode(raw)
    assert type(found) is str
    assert found.strip() == found
    assert found.isascii()
    assert found.isprintable()
    assert found.encode() in raw
    return 1


def agreed(step: Setup[Any] | Control[Any], raw: bytes) -> int:
    step.check(raw)
    return 1


def end_of(query: Text, measure: Measure, raw: bytes) -> int:
    """Find where the answer ends, as a link does at each arrival."""
    length = measure(bytearray(raw))
    assert 0 <= length <= len(raw)
    if length:
        assert ends(query, raw[:length])
    return 0


def ends(query: Text, answer: bytes) -> bool:
    """Tell whether the answer holds its end once, as the last thing."""
    if isinstance(query.end, bytes):
        return answer.find(query.end) == len(answer) - len(query.end)
    return (found := query.end.search(answer)) is not None and found.end() == len(answer)


def framed(take: Callable[[bytes], int], frame: Frame, start: bytes, checked_from: int | None, raw: bytes) -> int:
    """Receive in two pieces, as a Connection does; the bytes alone say where the cut is, so that they repeat it.

    The answer must begin with `start` and hold a right checksum of all from `checked_from` on.
    """
    cut = sum(raw) % (len(raw) + 1)
    buffer = bytearray()
    for piece in (raw[:cut], raw[cut:]):
        buffer += piece
        length = frame.measure(buffer)
        if not length:
            continue
        if length < len(buffer):
            raise Unreadable("more bytes than one answer")
        answer = bytes(buffer)
        assert answer.startswith(start)
        assert checked_from is None or answer == answer[:checked_from] + with_crc16(answer[checked_from:])
        return take(frame.payload(answer))
    return 0


def made(name: str) -> list[Driver[Any]]:
    return [catalogue.factory(name)(**options) for options in OPTIONS.get(name, ({},))]


def with_options(name: str) -> Iterator[tuple[dict[str, Any], Driver[Any]]]:
    return zip(OPTIONS.get(name, ({},)), made(name), strict=True)


def seeds_of(name: str) -> list[bytes]:
    printed = [row["raw"] for kind in ("exchange", "refused", "control", "setup") for row in golden.rows(name, kind)]
    return [*printed, *RARE.get(name, ()), *SETUP.get(name, ())]


def eyes_of(name: str, options: dict[str, Any], driver: Driver[Any]) -> Iterator[Eye]:
    look = values_with_sum if name == "vaisala-ptu" else values
    for poll in driver.polls:
        yield Eye(f"values of {len(poll.channels)}", partial(look, name, options, poll))
    if driver.identity is not None:
        yield Eye("serial", partial(serial, driver.identity))
    steps: tuple[Setup[Any] | Control[Any], ...] = (*driver.setup, *driver.controls)
    for step in steps:
        if step.check is not len:
            yield Eye("setup or control", partial(agreed, step))
    for query in questions(driver):
        yield Eye(
            f"end of the answer to {Text.show(query.command[:4])}", partial(end_of, query, _measure(query.end, b""))
        )


def questions(driver: Driver[Any]) -> list[Text]:
    """Give the questions in text that are answered."""
    identity = [driver.identity] if driver.identity else []
    asked: tuple[Any, ...] = (*driver.polls[:1], *driver.setup, *driver.controls, *identity)
    return [one.query for one in asked if isinstance(one.query, Text) and one.query.end]


def modbus_polls() -> list[tuple[str, Poll[Any], Callable[[bytes], int]]]:
    """Give each Modbus poll with its driver's name and the function that reads its registers."""
    return [
        (name, poll, partial(values, name, options, poll))
        for name in catalogue.names()
        for options, driver in with_options(name)
        for poll in driver.polls
        if isinstance(poll.query, Registers)
    ]


def payloads(name: str, poll: Poll[Any]) -> list[bytes]:
    """Give the registers of the golden transcripts, repeated or cut to the number that the poll asks for."""
    size = 2 * poll.query.count
    return [(row["raw"] * size)[:size] for row in golden.rows(name, "exchange")]


def rtu(name: str, poll: Poll[Any], take: Callable[[bytes], int], *, echo: bool) -> tuple[Eye, list[bytes]]:
    """Give the eye of an RTU request and its right answers."""
    frame = RtuFrame(UNIT, poll.query, echo=echo)
    question = frame.next()
    start = bytes([UNIT, question[1], 2 * poll.query.count])
    before = question if echo else b""
    right = [before + with_crc16(start + raw + b"??") for raw in payloads(name, poll)]
    look = partial(framed, take, frame, before + start, len(before))
    return Eye(f"{name}{' with echo' if echo else ''}", look), right


def rtu_family() -> Family:
    family = Family("Modbus RTU frames", [], [], with_crc16)
    for name, poll, take in modbus_polls():
        for echo in (False, True):
            eye, right = rtu(name, poll, take, echo=echo)
            family.eyes.append(eye)
            family.seeds.extend(right)
    family.seeds.extend(with_crc16(bytes([UNIT, function | 0x80, 2, 0, 0])) for function in (3, 4))
    return family


def tcp_family() -> Family:
    family = Family("Modbus TCP frames", [], [])
    for name, poll, take in modbus_polls():
        frame = TcpFrame(UNIT, poll.query)
        question = frame.next()
        size = 2 * poll.query.count
        start = question[:4] + bytes([0, size + 3, UNIT, question[7], size])
        family.eyes.append(Eye(name, partial(framed, take, frame, start, None)))
        family.seeds.extend(start + raw for raw in payloads(name, poll))
        family.seeds.append(question[:4] + bytes([0, 3, UNIT, question[7] | 0x80, 2]))
        family.seeds.append(b"\0\0" + start[2:] + bytes(size))  # the answer to an earlier question
    return family


def families() -> list[Family]:
    found = []
    for name in catalogue.names():
        eyes = [eye for options, driver in with_options(name) for eye in eyes_of(name, options, driver)]
        found.append(Family(name, seeds_of(name), eyes, with_sum if name == "vaisala-ptu" else None))
    return [*found, rtu_family(), tcp_family()]


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.fixture
def _stuck_inputs_end() -> Iterator[None]:
    """Let the timer of `Seen.offer` interrupt; searches look for signals, and pytest needs the other timer itself."""

    def interrupt(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGVTALRM, interrupt)
    yield
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.signal(signal.SIGVTALRM, before)


@pytest.mark.timeout(INPUTS * 0.002 + 120)
@pytest.mark.usefixtures("_stuck_inputs_end")
def test_fuzz(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modbus_frames._Counter, "value", 0)  # tests before this one must not change its inputs
    dice = random.Random(SEED)
    seen = Seen()
    everything = families()
    foreign = [seed for family in everything for seed in family.seeds]
    for family in everything:  # what is built once, at the first use, is no growth
        for seed in [*family.seeds, b"?" * LARGEST_ANSWER]:
            seen.offer(family, seed)
    before = highest = resident()
    for family in everything:
        spans = [(seed, *span) for seed in family.seeds for span in words(seed)]
        for span in dice.sample(spans, min(GROWN, len(spans))):
            for raw in grown(*span):
                seen.offer(family, raw)
        mutator = Mutator(family.seeds, dice, foreign=foreign, repair=family.repair)
        taken, started = seen.taken, time.process_time()
        for number in range(INPUTS):
            seen.offer(family, mutator.next())
            if number % BLOCK == 0:
                highest = max(highest, resident())
        cost = (time.process_time() - started) / INPUTS
        LOG.info("%s: %d taken, %.0f us per input", family.name, seen.taken - taken, cost * 1e6)
        assert seen.taken > taken, f"{family.name}: every input was refused, so nothing was tried"
    growth = max(highest, resident()) - before
    note(
        "R10",
        claim="whatever bytes come, a decoder soon gives finite samples of its unit or Unreadable, and keeps nothing",
        aim=f"1,000,000 inputs for each family: 0 other errors, none over {SLOWEST_S * 1e3:.0f} ms, "
        f"memory +{RSS_GROWTH / 1e6:.0f} MB at most",
        seen=f"{seen.inputs:,} inputs to {len(everything)} families, {seen.looks:,} looks: {seen.refused:,} refused, "
        f"{seen.taken:,} samples and serial numbers taken, {len(seen.faults)} faults; slowest "
        f"{seen.slowest * 1e3:.1f} ms ({seen.slowest_input}); memory +{growth / 1e6:.1f} MB",
        test="pytest tests/drills/test_fuzz.py",
        seed=SEED,
    )
    assert seen.faults[:5] == []
    assert growth < RSS_GROWTH


def checked_answers() -> Iterator[tuple[Eye, bytes]]:
    """Give every right answer that carries a checksum, and what looks at it."""
    for options, driver in with_options("vaisala-ptu"):
        look = partial(values, "vaisala-ptu", options, driver.polls[0])
        for raw in seeds_of("vaisala-ptu"):
            with suppress(Unreadable):
                look(raw)
                yield Eye("vaisala-ptu", look), raw
    for name, poll, take in modbus_polls():
        for echo in (False, True):
            eye, right = rtu(name, poll, take, echo=echo)
            yield from ((eye, raw) for raw in right)


def test_changed_byte_is_never_a_value() -> None:
    taken: list[str] = []
    answers = list(checked_answers())
    tried = 0
    for eye, right in answers:
        assert eye.look(right)
        for raw in changed_bytes(right):
            tried += 1
            with suppress(Unreadable):
                if eye.look(raw):
                    taken.append(f"{eye.name}: {raw!r}")
    assert len({eye.name for eye, _ in answers}) == 1 + 2 * len({name for name, *_ in modbus_polls()})
    note(
        "R10 one byte",
        claim="where the protocol has a checksum, an answer with one wrong byte is never taken as a value",
        aim="all 255 wrong values of each byte of each golden answer: 0 taken",
        seen=f"{tried:,} changed answers made of {len(answers)}: {len(taken)} taken",
        test="pytest tests/drills/test_fuzz.py -k changed_byte",
    )
    assert taken[:5] == []


def test_answer_to_another_question_is_no_value() -> None:
    taken = []
    for name in catalogue.names():
        rows = golden.rows(name, "exchange")
        strange = [row["raw"] for row in rows if "serial" in row] + [*SETUP.get(name, ())]
        strange += [row["raw"] for row in golden.rows(name, "control")]
        polls = [poll for driver in made(name) for poll in driver.polls if isinstance(poll.query, Text)]
        for poll in polls:
            for raw in strange:
                with suppress(Unreadable):
                    taken.append((name, raw, decoded(poll, raw)))
    assert taken == []


async def received(query: Text, pieces: list[bytes]) -> bytes:
    """Give what a Connection takes for the answer; the other side closes behind the last piece."""
    ours, theirs = socket.socketpair()
    connection = Connection(ours, "fuzz")
    try:
        with theirs:
            future = connection.ask(query.command, _measure(query.end, b""), 60.0)
            theirs.recv(4096)
            for piece in pieces:
                theirs.sendall(piece)
                await asyncio.sleep(0)
        return await future
    finally:
        connection.lose("done")


def pieces_of(raw: bytes, dice: random.Random) -> list[bytes]:
    places = sorted(dice.randrange(len(raw) + 1) for _ in range(dice.randrange(4)))
    return [raw[low:high] for low, high in zip([0, *places], [*places, len(raw)], strict=True)]


@pytest.mark.timeout(EXCHANGES * 0.01 + 60)
async def test_answer_ends_once_and_at_its_end() -> None:
    dice = random.Random(SEED)
    asked = {name: questions(driver) for name in catalogue.names() for driver in made(name) if questions(driver)}
    mutator = Mutator([seed for name in asked for seed in seeds_of(name)], dice)
    outcomes: Counter[str] = Counter()
    for _ in range(EXCHANGES):
        query = dice.choice(dice.choice([*asked.values()]))
        raw = mutator.next()
        try:
            answer = await received(query, pieces_of(raw, dice))
        except InstrumentError as error:
            outcomes[type(error).__name__] += 1
            continue
        outcomes["answer"] += 1
        assert raw.startswith(answer)
        assert ends(query, answer)
    assert set(outcomes) == {"answer", "Lost", "Unreadable"}
    with pytest.raises(Unreadable, match="without the end"):
        await received(asked["mt-sics"][0], [b"9" * LARGEST_ANSWER, b"9"])
    note(
        "R10 framing",
        claim="what a link hands on is one answer: its end is in it once, behind all else",
        aim="0 of another form, 0 errors that are no InstrumentError",
        seen=f"{EXCHANGES:,} spoiled answers through a real connection: {outcomes['answer']:,} answers handed on, "
        f"{outcomes['Unreadable']:,} unreadable, {outcomes['Lost']:,} without an end",
        test="pytest tests/drills/test_fuzz.py -k ends_once",
        seed=SEED,
    )
