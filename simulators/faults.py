"""What goes wrong with a simulated instrument: table `faults` of a lab file, one table for each instrument.

    [instruments.balance-1.faults]
    late = 0.02                             # a share of the answers: 0 to 1
    power = [[30, 2]]                       # an interval: [start, length] in seconds since the lab was started
    set = [[60, "unit", "mg"]]              # an instant and what somebody sets then

**Shares of the answers** (0 to 1, together 1 at most). Each answer has one of them or none; which one is drawn from the
seed of the lab, so that it is the same in each run.

- `late`: sent `late_s` seconds later (other answers may overtake it). `lost`: not sent.
- `cut`: the end is missing. `doubled`: sent twice. `echoed`: the request is sent back before the answer.
- `garbled`: one of the lower seven bits of one character is flipped. On a line with parity the receiver would notice;
  a pseudo-terminal has no parity, and cannot mark the character (PARMRK) either.
- `dropped`: one character is lost. `inserted`: one character, any of 256, is inserted.
- `bit7`: bit 7 of every character is set, as where a line with seven bits and mark parity is read with eight bits.
- `framing`: one character arrives as NUL: what a program without PARMRK reads after a framing error (termios(3)). A
  pseudo-terminal makes no marks.
- `rubbish`: the bytes `rubbish_before` and `rubbish_behind` (hex) are sent around the right answer: a line driver that
  is turned round too early or too late (RS-485).

**Delays behind the instrument**, as a gateway or serial server makes them: an answer waits, and none overtakes another.

- `delay_s`: for each answer. `jitter_s`: for each answer between 0 and so much more.
- `single`: [[number, seconds], …], counted from 1: that one answer waits so much more, and the next ones behind it.
- `growing_s`: so much more from answer to answer, `growing_most_s` at most.

**What happens to the instrument** (start, length or instant in seconds since the lab was started):

- `hang`: [[start, length], …], no answers. `unplug`: the wire is unplugged.
- `power`: [[start, length], …], no power while the wire stays up. Then it starts: what is not kept is lost or back to
  the factory's (tare, unit, function, mode, echo), and its power-on line is sent (MT-SICS: `I4 A "…"`).
- `swap`: [[start, length], …], another instrument with serial number SIM0SWAPPED and other values answers. With
  `swap_says` each of the two sends its power-on line as it comes; without, nothing shows the exchange on the wire.
- `set`: [[instant, "name", "value"], …], somebody sets something at the instrument. States that can be set:
  mt-sics `unit` (g, mg, kg), `busy` (yes, no: `S I`, `I4 I`), `stream` (on, off: continuous mode), `error` (none, or
  1t to 15b: `S S  Error …`); sartorius-sbi `unit`, `stable_only` (yes, no: `ESC P` silent until stable), `autoprint`
  (on, off); scpi-dmm `function` (FRES, VOLT); digiquartz `unit_code` (1, 2, 4); vaisala-ptu `unit` (hPa, inHg), `echo`
  (on, off), `stream` (on, off: RUN), `probe` (connected; lost and "lost, ****.**": such stars for temperature and
  humidity), `heating` (off, probe; purge, "purge, cooling" and sensor lock its values).
- `xoff`: [instant, …], one stray XOFF (0x13) comes from the instrument.
- `renewed_hz`: it has a new value so often in a second, however often it is asked; the truth says when each value was
  measured (`measured_ns`). 0: at each question.

**What a serial server does** (serve = tcp, modbus-tcp, rtu-tcp; of several units on one bus any may name it):

- `one_client` = "refuse": a second connection is accepted and closed at once, which is how serial servers refuse;
  "replace": it is served, and the first one is closed.
- `idle_s`: a connection on which nothing was said for so many seconds is closed. 0: never.
- `dead`: [instant, …]: every connection that is open then stays open and never answers; later ones are served.
- `opening_resets`: DTR or RTS pulses at the opening, and the instrument starts as after a power cycle (text on tcp:
  many serial servers raise DTR when they are connected to). A pseudo-terminal has neither line and cannot show it.

Further states are options of the simulators (table `options`): mt-sics `streams`, sartorius-sbi `prints`, vaisala-ptu
`runs` (they talk from the start after a power cycle), `tare_g`, sartorius-sbi `stable_only`, `autoprint`, keller-33x
`registers` (2: firmware that refuses more in one question), vaisala-hmp `swapped` (a gateway that exchanges words).
"""

from __future__ import annotations

import math
import random
import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from simulators.chance import KINDS, FaultChooser

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

INTERVALS = ("hang", "unplug", "power", "swap")
TIMES = ("late_s", "delay_s", "jitter_s", "growing_s", "growing_most_s", "renewed_hz", "idle_s")
SWITCHES = ("swap_says", "opening_resets")
SERVER = ("one_client", "idle_s", "dead", "opening_resets")
"""Faults of a serial server."""


@dataclass(frozen=True, slots=True)
class Faults:
    """The faults of one instrument; see the docstring of this module."""

    late: float = 0.0
    late_s: float = 1.5
    lost: float = 0.0
    cut: float = 0.0
    garbled: float = 0.0
    doubled: float = 0.0
    echoed: float = 0.0
    dropped: float = 0.0
    inserted: float = 0.0
    bit7: float = 0.0
    framing: float = 0.0
    rubbish: float = 0.0
    rubbish_before: str = "00"
    rubbish_behind: str = "000000"
    delay_s: float = 0.0
    jitter_s: float = 0.0
    single: Sequence[tuple[int, float]] = ()
    growing_s: float = 0.0
    growing_most_s: float = 10.0
    hang: Sequence[Sequence[float]] = ()
    unplug: Sequence[Sequence[float]] = ()
    power: Sequence[Sequence[float]] = ()
    swap: Sequence[Sequence[float]] = ()
    swap_says: bool = False
    set: Sequence[tuple[float, str, str]] = ()
    xoff: Sequence[float] = ()
    renewed_hz: float = 0.0
    one_client: str = ""
    idle_s: float = 0.0
    dead: Sequence[float] = ()
    opening_resets: bool = False

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Faults:
        """Read a table of a lab file; ValueError says what is wrong."""
        if not isinstance(table, dict):
            raise ValueError("is no table; write { late = 0.02, … }")  # noqa: TRY004  # a mistake in a file, not in code
        known = {field.name for field in fields(cls)}
        if unknown := set(table) - known:
            raise ValueError(f"unknown fault {', '.join(sorted(unknown))}; known are {', '.join(sorted(known))}")
        for key, value in table.items():
            right, words = _RIGHT[key]
            if not right(value):
                raise ValueError(f"{key} = {value!r}{words}")
        if sum(table.get(kind, 0.0) for kind in KINDS) > 1:
            raise ValueError("the shares are more than 1 together")
        return cls(**table)

    def chooser(self, seed: str) -> FaultChooser:
        """Give the object that chooses a fault for each answer."""
        return FaultChooser(self, random.Random(seed))

    def measured_at(self, now: float) -> float:
        """Give the instant at which the value was measured that the instrument has at `now` (s)."""
        return math.floor(now * self.renewed_hz) / self.renewed_hz if self.renewed_hz else now


def _is_time(value: object) -> bool:
    return type(value) in {int, float} and 0 <= float(value) < float("inf")  # type: ignore[arg-type]  # just tested


def _is_hex(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"([0-9A-Fa-f]{2} ?)*", value) is not None


def _rows(*right: Callable[[object], bool]) -> Callable[[object], bool]:
    """Tell whether a value is a list of rows, each with as many fields, and each field right."""

    def is_list(value: object) -> bool:
        return isinstance(value, list) and all(
            isinstance(row, list)
            and len(row) == len(right)
            and all(test(one) for test, one in zip(right, row, strict=True))
            for row in value
        )

    return is_list


_RIGHT: dict[str, tuple[Callable[[Any], bool], str]] = {
    **{kind: (lambda value: _is_time(value) and value <= 1, " is no share from 0 to 1") for kind in KINDS},
    **dict.fromkeys(TIMES, (_is_time, " is no time in seconds (renewed_hz: in hertz), 0 or more")),
    **{key: (_rows(_is_time, _is_time), "; write [[start, length], …] in seconds") for key in INTERVALS},
    **{key: (lambda value: isinstance(value, bool), " is neither true nor false") for key in SWITCHES},
    **dict.fromkeys(("rubbish_before", "rubbish_behind"), (_is_hex, ' are no bytes in hex, as in "00 00"')),
    **{
        key: (lambda value: isinstance(value, list) and all(map(_is_time, value)), "; write [instant, …] in seconds")
        for key in ("xoff", "dead")
    },
    "single": (
        _rows(lambda value: type(value) is int and value >= 1, _is_time),
        "; write [[number of the answer from 1, seconds], …]",
    ),
    "set": (
        _rows(_is_time, lambda value: isinstance(value, str), lambda value: isinstance(value, str)),
        '; write [[instant in seconds, "name", "value"], …]',
    ),
    "one_client": (lambda value: value in {"", "refuse", "replace"}, ' is neither "refuse" nor "replace"'),
}
