"""A vendor's VISA library, whose sockets are not ours, and interfaces that know no connection."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import pyvisa
from pyvisa.constants import StatusCode

from drivers.driver import Text
from drivers.errors import Lost, Silent
from drivers.links import visa
from drivers.links.visa import LEFT_BEHIND, VisaLink
from drivers.links.visa_names import outlives_its_session

if TYPE_CHECKING:
    from collections.abc import Iterator

GPIB = "GPIB0::22::INSTR"
SETTLE = 0.01


class Library:
    """As much of pyvisa as a session uses: an instrument that hangs until it is released, or fails, or answers."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.released.set()
        self.failing = False
        self.cleared = 0
        self.timeout = 0
        self.session = 7
        self.visalib = self

    def open_resource(self, name: str, open_timeout: int) -> Library:
        return self

    def ignore_warning(self, *codes: object) -> Library:
        return self

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass

    def write_raw(self, command: bytes) -> None:
        self.command = command

    def read(self, session: int, count: int) -> tuple[bytes, StatusCode]:
        self.released.wait(20)
        if self.failing:
            raise OSError("input/output error")
        return self.command, StatusCode.success

    def clear(self) -> None:
        self.cleared += 1

    def close(self) -> None:
        pass


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    made = Library()
    monkeypatch.setattr(pyvisa, "ResourceManager", lambda _: made)
    monkeypatch.setattr(visa, "CLOSING", 0.02)
    yield made
    made.released.set()


def ask(command: bytes, timeout: float = 0.5) -> Text:
    return Text(command, b"\n", timeout)


def threads() -> int:
    return sum(thread.name == f"visa {GPIB}" for thread in threading.enumerate())


async def test_threads_that_wait_in_a_vendors_library_are_bounded(
    library: Library, caplog: pytest.LogCaptureFixture
) -> None:
    link = VisaLink(GPIB, SETTLE, backend="@ivi")
    assert await link.ask(ask(b"READ?")) == b"READ?"
    library.released.clear()
    for _ in range(LEFT_BEHIND):
        with pytest.raises(Silent):
            await link.ask(ask(b"READ?", 0.02))
    assert threads() == LEFT_BEHIND
    for _ in range(3):
        with pytest.raises(Lost, match="4 calls of the VISA library @ivi have not returned; it is not called again"):
            await link.ask(ask(b"READ?", 0.02))
        assert threads() == LEFT_BEHIND
    said = [record.getMessage() for record in caplog.records if "left behind" in record.getMessage()]
    assert [text.rpartition("behind, ")[2] for text in said] == ["1 of 4", "2 of 4", "3 of 4"]
    library.released.set()
    assert await link.ask(ask(b"READ?")) == b"READ?"
    await link.close()


@pytest.mark.parametrize("failure", ["is silent", "is lost", "is not believed"])
async def test_where_an_answer_outlives_its_session_the_link_is_suspect(library: Library, failure: str) -> None:
    link = VisaLink(GPIB, SETTLE, backend="@ivi")
    await link.ask(ask(b"READ?"))
    assert (library.cleared, link.suspect, link.unasked) == (1, False, 0)
    if failure == "is silent":
        library.released.clear()
        with pytest.raises(Silent):
            await link.ask(ask(b"READ?", 0.02))
        library.released.set()
    elif failure == "is lost":
        library.failing = True
        with pytest.raises(Lost):
            await link.ask(ask(b"READ?"))
        library.failing = False
    else:
        link.distrust()
    assert link.to_prove(ask(b"READ?")) is None
    assert link.to_prove(ask(b"*IDN?")) == 1
    await link.ask(ask(b"*IDN?"))
    assert (library.cleared, link.suspect, link.unasked) == (2, True, 1)
    link.trust()
    assert (link.suspect, link.sent > 0) == (False, True)
    assert link.to_prove(ask(b"READ?")) == 1
    await link.close()


async def test_a_lost_answer_to_a_control_question_is_proven_by_the_next_ones(library: Library) -> None:
    link = VisaLink(GPIB, SETTLE, backend="@ivi", controls=frozenset({b"*IDN?"}))
    await link.ask(ask(b"READ?"))
    library.released.clear()
    with pytest.raises(Silent):
        await link.ask(ask(b"*IDN?", 0.02))
    library.released.set()
    assert link.to_prove(ask(b"*IDN?")) == 1, "no poll was asked whose answer could come"
    link.distrust()  # as after a poll that failed as well
    await link.ask(ask(b"*IDN?"))
    link.believe()
    link.trust()
    assert not link.suspect
    await link.close()


async def test_a_command_without_an_answer_shows_nothing_of_the_questions_before(library: Library) -> None:
    link = VisaLink(GPIB, SETTLE, backend="@ivi", controls=frozenset({b"*IDN?"}))
    await link.ask(ask(b"READ?"))
    link.distrust()
    for _ in range(2):
        await link.ask(ask(b"*IDN?"))
        link.distrust()
    link.trust()
    assert link._questions.forms(time.monotonic()) == [b"*IDN?"] * 2
    await link.ask(Text(b"SYST:REM", b""))
    link.believe()
    assert link._questions.forms(time.monotonic()) == [b"*IDN?"] * 2
    await link.ask(ask(b"READ?"))
    link.believe()
    assert link._questions.forms(time.monotonic()) == []
    await link.close()


@pytest.mark.parametrize(("settle", "seconds"), [(1.0, 30.0), (20.0, 80.0)])
async def test_no_answer_comes_after_a_long_time(
    library: Library, monkeypatch: pytest.MonkeyPatch, settle: float, seconds: float
) -> None:
    link = VisaLink(GPIB, settle, backend="@ivi")
    await link.ask(ask(b"READ?"))
    link.distrust()
    now = time.monotonic()
    clock: Any = type("Clock", (), {"monotonic": staticmethod(lambda: now)})
    monkeypatch.setattr(visa, "time", clock)
    now += seconds - 1
    assert link.to_prove(ask(b"READ?")) is None
    now += 2
    assert link.to_prove(ask(b"READ?")) == 1


@pytest.mark.parametrize(
    ("name", "outlives"),
    [
        (GPIB, True),
        ("USB0::0x2A8D::0x0101::MY1::INSTR", True),
        ("TCPIP::gateway::gpib0,22::INSTR", True),
        ("TCPIP::gateway::usb0::INSTR", True),
        ("TCPIP::gateway::hpib,9::INSTR", True),
        ("TCPIP::gateway::COM1,488::INSTR", True),
        ("TCPIP::dmm::INSTR", False),
        ("TCPIP::dmm::inst0::INSTR", False),
        ("TCPIP::dmm::hislip0::INSTR", False),
    ],
)
def test_which_interfaces_know_no_connection(name: str, outlives: bool) -> None:
    assert outlives_its_session(name) is outlives
