"""Who uses a wire next, and what happens to the order when somebody is cancelled."""

from __future__ import annotations

import asyncio

from drivers.links.turn import SHARE, Turn


class User:
    def __init__(self, name: str, *, failing: bool | None = False) -> None:
        self.name = name
        self.failing = failing


async def use(turn: Turn, user: User, order: list[str], seconds: float = 0.0) -> None:
    async with turn.of(user):
        order.append(user.name)
        await asyncio.sleep(seconds)


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
