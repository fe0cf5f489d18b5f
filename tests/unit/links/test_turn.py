"""Who uses a wire next, and what happens to the order when somebody is cancelled."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from drivers.links.turn import SHARE, Turn

if TYPE_CHECKING:
    import pytest


class User:
    def __init__(self, name: str, *, failing: bool | None = False) -> None:
        self.name = name
        self.failing = failing


async def use(turn: Turn, user: User, order: list[str], seconds: float = 0.0) -> None:
    async with turn.of(user):
        order.append(user.name)
        await asyncio.sleep(seconds)


async def fail(turn: Turn, user: User, seconds: float) -> None:
    async with turn.of(user):
        await asyncio.sleep(seconds)
        user.failing = True


async def test_in_the_order_in_which_they_asked() -> None:
    turn = Turn()
    order: list[str] = []
    await asyncio.gather(*(use(turn, User(str(number)), order) for number in range(5)))
    assert order == ["0", "1", "2", "3", "4"]


async def test_who_answers_comes_before_who_does_not() -> None:
    turn = Turn()
    order: list[str] = []
    await use(turn, User("dead 0", failing=True), order, 0.01)
    users = [User("a"), User("dead 1", failing=True), User("new", failing=None), User("b"), User("c")]
    await asyncio.gather(*(use(turn, user, order) for user in users))
    assert order == ["dead 0", "a", "b", "c", "new", "dead 1"]


async def test_one_that_does_not_answer_is_asked_now_and_then_however_busy_the_wire_is() -> None:
    turn = Turn()
    order: list[str] = []
    stop = asyncio.Event()

    async def busy(user: User) -> None:
        while not stop.is_set():
            await use(turn, user, order, 0.001)

    tasks = [asyncio.create_task(busy(User(name))) for name in ("a", "b")]
    dead = asyncio.create_task(busy(User("dead", failing=True)))
    await asyncio.sleep(0.4)
    stop.set()
    await asyncio.gather(*tasks, dead)
    assert 3 <= order.count("dead") <= SHARE * len(order)


async def test_cancelled_while_it_waits_and_in_the_moment_of_its_turn() -> None:
    turn = Turn()
    order: list[str] = []
    holder, gone, next_one = User("holder"), User("gone"), User("next")
    async with turn.of(holder):
        waiting = asyncio.create_task(use(turn, gone, order))
        after = asyncio.create_task(use(turn, next_one, order))
        await asyncio.sleep(0)
        waiting.cancel()
    await asyncio.wait([waiting, after])
    async with turn.of(holder):
        waiting = asyncio.create_task(use(turn, gone, order))
        after = asyncio.create_task(use(turn, next_one, order))
        await asyncio.sleep(0)
    waiting.cancel()  # it has the turn already, and does not know yet
    await asyncio.wait([waiting, after])
    assert order == ["next", "next"]
    await asyncio.wait_for(use(turn, holder, order), 1.0)


async def test_what_fails_while_nobody_answers_need_not_rest_when_the_first_one_answers_again() -> None:
    """A gateway that was dead for an hour: its units would have waited for hours, one after the other."""
    turn, users, order = Turn(), [User(str(number), failing=True) for number in range(3)], list[str]()
    for _ in range(3):
        for user in users:
            await use(turn, user, order, 0.03)
    users[0].failing = False
    await use(turn, users[0], order)
    await asyncio.wait_for(use(turn, users[1], order), 0.1)


async def test_the_rest_is_bounded_when_all_but_one_fail_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drivers.links.turn._LONGEST_REST", 0.3)
    turn, order = Turn(), list[str]()
    live, *dying = (User(str(number)) for number in range(21))
    for user in (live, *dying):
        await use(turn, user, order)
    for user in dying:
        await fail(turn, user, 0.01)
    began = time.monotonic()
    await asyncio.wait_for(use(turn, dying[0], order), 2.0)
    assert time.monotonic() - began < 0.4


async def test_one_that_failed_once_comes_before_those_that_never_answer() -> None:
    turn, order = Turn(), list[str]()
    live, other = User("live"), User("other")
    await use(turn, live, order)
    await use(turn, other, order)
    await fail(turn, live, 0.0)
    async with turn.of(other):
        users = [User("dead", failing=True), User("new", failing=None), live]
        waiting = [asyncio.create_task(use(turn, user, order)) for user in users]
        await asyncio.sleep(0.01)
    await asyncio.gather(*waiting)
    assert order == ["live", "other", "live", "new", "dead"]


async def test_who_fails_now_and_then_does_not_keep_the_failing_ones_away_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("drivers.links.turn._LONGEST_REST", 0.2)
    turn, order = Turn(), list[str]()
    stop = asyncio.Event()

    async def flapping(name: str) -> None:
        while not stop.is_set():
            user = User(name)
            await use(turn, user, order)
            await fail(turn, user, 0.005)
            turn.leave(user)

    tasks = [asyncio.create_task(flapping(name)) for name in "abcd"]
    await asyncio.sleep(0.1)
    try:
        await asyncio.wait_for(use(turn, User("dead", failing=True), order), 2.0)
    finally:
        stop.set()
        await asyncio.gather(*tasks)


async def test_who_fails_now_and_then_does_not_keep_those_away_that_were_never_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("drivers.links.turn._LONGEST_REST", 0.2)
    turn, order, stop = Turn(), list[str](), asyncio.Event()

    async def every_other_time(name: str) -> None:
        user = User(name)
        while not stop.is_set():
            await fail(turn, user, 0.01)
            async with turn.of(user):  # among those that have failed only once
                await asyncio.sleep(0.01)
                user.failing = False

    async def good() -> None:
        user = User("good")
        while not stop.is_set():
            await use(turn, user, order)
            await asyncio.sleep(0.001)

    tasks = [asyncio.create_task(every_other_time(name)) for name in "abcd"] + [asyncio.create_task(good())]
    await asyncio.sleep(0.1)
    try:
        await asyncio.wait_for(use(turn, User("new", failing=None), order), 2.0)
    finally:
        stop.set()
        await asyncio.gather(*tasks)


async def test_an_answer_that_could_not_be_read_counts_for_the_share_of_its_user() -> None:
    turn, order = Turn(), list[str]()
    good, junk = User("good"), User("junk")
    await use(turn, good, order)
    for _ in range(3):  # one failure may follow another at once, and the first one is paid for apart
        junk.failing = False
        await use(turn, junk, order)
        junk.failing = True
        turn.blame(junk, 0.1)
    began = time.monotonic()
    await asyncio.gather(use(turn, junk, order), use(turn, good, order))
    assert order[4:] == ["good", "junk"]
    assert time.monotonic() - began > 0.3, "it rests until the others had their part"


async def test_one_that_loses_a_single_answer_pays_nothing_for_those_that_never_answer() -> None:
    turn, order, stop = Turn(), list[str](), asyncio.Event()

    async def never(name: str) -> None:
        user = User(name, failing=True)
        while not stop.is_set():
            await fail(turn, user, 0.05)

    async def good() -> None:
        user = User("good")
        while not stop.is_set():
            await use(turn, user, order)
            await asyncio.sleep(0.001)

    tasks = [asyncio.create_task(never(name)) for name in "abc"] + [asyncio.create_task(good())]
    once = User("once")
    await use(turn, once, order)
    await asyncio.sleep(1.0)  # by now those that never answer owe for seconds
    await fail(turn, once, 0.01)
    began = time.monotonic()
    await use(turn, once, order)
    waited = time.monotonic() - began
    stop.set()
    await asyncio.gather(*tasks)
    assert waited < 0.2


async def test_who_rests_keeps_nobody_waiting_that_need_not_rest() -> None:
    """One that failed once comes before those that never answer, but what it has used is its own debt."""
    turn, order = Turn(), list[str]()
    good, once = User("good"), User("once")
    await use(turn, good, order)
    await use(turn, once, order)
    for _ in range(2):  # one failure may follow another at once
        once.failing = False
        await use(turn, once, order)
        await fail(turn, once, 0.05)
    began = time.monotonic()
    resting = asyncio.create_task(use(turn, once, order))
    await asyncio.sleep(0)
    await use(turn, User("dead", failing=True), order)
    assert order[-1] == "dead"
    assert time.monotonic() - began < 0.1
    await resting


async def test_one_that_answers_to_no_use_is_no_longer_one_that_failed_once() -> None:
    turn, order = Turn(), list[str]()
    good, junk, other = User("good"), User("junk"), User("other")
    for user in (good, junk, other):
        await use(turn, user, order)
    for seconds in (0.001, 0.1, 0.1, 0.1):
        junk.failing = False
        await use(turn, junk, order)
        junk.failing = True
        turn.blame(junk, seconds)
    other.failing = True
    turn.blame(other, 0.01)
    began = time.monotonic()
    await use(turn, other, order)
    assert time.monotonic() - began < 0.3, "it pays for one lost answer, not for those of the other one"
