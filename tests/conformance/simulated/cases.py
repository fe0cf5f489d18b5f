"""What is done to the instruments: every fault and state of `simulators.faults`, and when all must be well again.

Instants and lengths are in seconds since the lab was started. An answer that comes after `subjects.TIMEOUT` (0.4 s) is
late; who answers is asked every `PROVE_EVERY` seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.conformance.simulated.subjects import Subject

PROVE_EVERY = 0.3
CHARACTERS = frozenset({"cut", "garbled", "dropped", "inserted", "bit7", "framing", "rubbish"})


@dataclass(frozen=True)
class Case:
    """One fault: `over` is when it ends, and `within` the seconds after that in which a right reading must come.

    Without `over` it never ends, and is so mild that readings come all the time: the last one `within` seconds before
    the end. `only` are the drivers that it is for (their simulators have such a state); `by_driver` are the faults of
    one driver alone. `rival`: another client is connected from the first instant to the second one. `hopeless`: no
    right answer comes in time, so nothing may be read. `asks_after`: seconds from the start to the first question.
    """

    name: str
    faults: dict[str, Any] = field(default_factory=dict)
    over: float | None = None
    within: float = 6.0
    only: frozenset[str] = frozenset()
    by_driver: dict[str, dict[str, Any]] = field(default_factory=dict)
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    server: bool = False
    period: float = 0.08
    rival: tuple[float, float] | None = None
    hopeless: bool = False
    asks_after: float = 0.0

    @property
    def ends(self) -> float:
        return 7.0 if self.over is None else self.over + self.within + 0.2

    def concerns(self, subject: Subject) -> bool:
        """Whether a driver on a kind of wire can meet this fault."""
        if self.only and subject.driver not in self.only:
            return False
        if self.server and not subject.served_by_tcp:
            return False
        # Modbus TCP has no serial line: the gateway checks the frames of its own one.
        return not (subject.wire == "modbus-tcp" and CHARACTERS & set(self.faults))

    def faults_of(self, subject: Subject) -> dict[str, Any]:
        return self.faults | self.by_driver.get(subject.driver, {})


def _twice(name: str, first: str, then: str, at: float = 1.2, back: float = 2.2) -> dict[str, Any]:
    """Set something, and set it back."""
    return {"set": [[at, name, first], [back, name, then]]}


_UNITS = {
    "mt-sics": _twice("unit", "mg", "g"),
    "sartorius-sbi": _twice("unit", "mg", "g"),
    "vaisala-ptu": _twice("unit", "inHg", "hPa"),
    "digiquartz": _twice("unit_code", "4", "2"),
    "scpi-dmm": _twice("function", "VOLT", "FRES"),
}
_STREAMS = {
    "mt-sics": _twice("stream", "on", "off"),
    "sartorius-sbi": _twice("autoprint", "on", "off"),
    "vaisala-ptu": _twice("stream", "on", "off"),
}
_LOADS: dict[str, dict[str, Any]] = {"sartorius-sbi": {"hold_s": 1.5, "settling_s": 0.05}}
_SAY_HELLO = frozenset({"mt-sics", "vaisala-ptu"})
_OHMS = {"scpi-dmm": {"set": [[2.4, "function", "FRES"]]}}
"""A multimeter that was switched on measures a voltage until somebody presses a key."""
_TEXT = frozenset({"mt-sics", "sartorius-sbi", "scpi-dmm", "milli-k", "digiquartz", "vaisala-ptu"})

CASES = [
    Case("no fault"),
    *(Case(kind, {kind: 0.1}) for kind in ("lost", "cut", "garbled", "doubled", "echoed")),
    *(Case(kind, {kind: 0.1}) for kind in ("dropped", "inserted", "bit7", "framing")),
    Case("late", {"late": 0.1, "late_s": 0.7}),
    Case("rubbish around text", {"rubbish": 0.1}, only=_TEXT),
    Case(
        "rubbish around every RTU frame",
        {"rubbish": 1.0},
        only=frozenset({"vaisala-hmp", "keller-33x", "modbus-singles"}),
    ),
    Case("delay in time", {"delay_s": 0.15}),
    Case("delay beyond the time-out", {"delay_s": 0.6}, hopeless=True),
    Case("delay of two periods", {"delay_s": 1.0}, hopeless=True),
    # Some answers are late with all; these two need 0.05 s themselves, and one that needs six answers in time to be
    # connected would be connected by luck only.
    Case(
        "jittering delay",
        {"jitter_s": 0.42},
        over=0.0,
        within=9.0,
        by_driver={name: {"jitter_s": 0.37} for name in ("vaisala-ptu", "digiquartz")},
    ),
    Case("single delay", {"single": [[12, 0.7]]}, over=2.2),
    Case("single long delay", {"single": [[12, 1.5]]}, over=3.0),
    Case("growing delay", {"growing_s": 0.02, "growing_most_s": 0.8}, over=0.0, within=3.5),
    Case("hang", {"hang": [[1.2, 1.0]]}, over=2.2),
    Case("unplug", {"unplug": [[1.2, 0.6]]}, over=1.8),
    Case(
        "power cycle",
        {"power": [[1.2, 0.5]]},
        over=2.4,
        by_driver={
            **_OHMS,
            "digiquartz": {"set": [[2.4, "unit_code", "2"]]},
        },
        options={
            "mt-sics": {"tare_g": 20.0},
            "sartorius-sbi": {"tare_g": 20.0},
            "digiquartz": {"factory_unit_code": 4},
        },
    ),
    Case(
        "power cycle, then it talks",
        {"power": [[1.2, 0.5]]},
        over=2.6,
        only=frozenset(_STREAMS),
        by_driver={name: {"set": [[2.6, *rows["set"][1][1:]]]} for name, rows in _STREAMS.items()},
        options={"sartorius-sbi": {"prints": True}, "vaisala-ptu": {"runs": True}, "mt-sics": {"streams": True}},
    ),
    Case("exchange that nothing shows", {"swap": [[1.2, 1.2]]}, over=2.4, by_driver=_OHMS),
    Case("exchange with power-on line", {"swap": [[1.2, 1.2]], "swap_says": True}, over=2.4, only=_SAY_HELLO),
    # There and back between two proofs: without a power-on line nothing could show it.
    Case("short exchange", {"swap": [[1.2, 0.2]], "swap_says": True}, over=1.4, only=_SAY_HELLO),
    Case("another unit", over=2.2, only=frozenset(_UNITS), by_driver=_UNITS),
    Case(
        "another unit while it is not shown",
        _twice("unit", "mg", "g", 1.7, 2.6),
        over=2.6,
        only=frozenset(_LOADS),
        options=_LOADS,
    ),
    Case("talks without being asked", over=2.2, only=frozenset(_STREAMS), by_driver=_STREAMS),
    Case("a fault of the balance", _twice("error", "10b", "none"), over=2.2, only=frozenset({"mt-sics"})),
    Case("busy", _twice("busy", "yes", "no"), over=2.2, only=frozenset({"mt-sics"})),
    Case("echo", _twice("echo", "on", "off"), over=2.2, only=frozenset({"vaisala-ptu"})),
    Case(
        "words in another order",
        only=frozenset({"vaisala-hmp"}),
        options={"vaisala-hmp": {"swapped": True}},
        hopeless=True,
    ),
    Case("locked output", only=frozenset({"vaisala-hmp"}), options={"vaisala-hmp": {"locked": True}}, hopeless=True),
    Case("a purge", _twice("heating", "purge", "off"), over=2.2, only=frozenset({"vaisala-ptu"})),
    Case("a lost probe", _twice("probe", "lost", "connected"), over=2.2, only=frozenset({"vaisala-ptu"})),
    Case(
        "a lost probe, few stars",
        _twice("probe", "lost, ****.**", "connected"),
        over=2.2,
        only=frozenset({"vaisala-ptu"}),
    ),
    Case(
        "silent until stable",
        {"set": [[0.0, "stable_only", "yes"]]},
        over=2.0,
        only=frozenset({"sartorius-sbi"}),
        options=_LOADS,
    ),
    Case("renewed 10 times a second", {"renewed_hz": 10}, period=0.05),
    Case("stray XOFF", {"xoff": [1.2]}, over=1.2, within=4.0),
    Case("port that is taken", {"one_client": "refuse"}, over=1.2, server=True, rival=(0.0, 1.2)),
    Case("port that another takes", {"one_client": "replace"}, over=1.6, server=True, rival=(1.2, 1.6)),
    Case("closed when idle", {"idle_s": 0.3}, server=True, period=0.7),
    Case("dead session", {"dead": [1.2]}, over=1.2, within=4.0, server=True),
    Case("restarts at the opening", {"opening_resets": True}, only=_TEXT - {"scpi-dmm"}, server=True),
]
"""A multimeter that restarts at the opening measures a voltage for ever: "power cycle" shows that it is not read."""
