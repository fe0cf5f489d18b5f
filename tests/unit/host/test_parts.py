"""The keeper of a part: failures are told once a kind, counted, and waited for with growing pauses."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from daq.host.parts import Failures, Part, Parts, in_words, is_own_end
from tests.jumping_clock import JumpingClock

if TYPE_CHECKING:
    from collections.abc import Callable


def failure(kind: type[BaseException] = ValueError, words: str = "a mistake") -> BaseException:
    with pytest.raises(kind) as caught:
        raise kind(words)
    return caught.value


async def test_pauses_double_up_to_the_longest_and_begin_anew_after_ten_good_minutes() -> None:
    clock = JumpingClock()
    failures = Failures("a part", clock)
    pauses = []
    for _ in range(8):
        failures.note(failure())
        pauses.append(failures.pause)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    assert failures.count == 8
    await clock.run_for(600.0)
    assert failures.next_pause() == 60
    await clock.run_for(600.5)
    assert failures.next_pause() == 1
    assert failures.next_pause() == 2


def test_first_failure_waits_a_second_and_a_part_has_a_longest_pause_of_its_own() -> None:
    failures = Failures("a part", JumpingClock(), 3.0)
    assert failures.pause == 0
    assert [failures.next_pause() for _ in range(4)] == [1, 2, 3, 3]


async def test_each_kind_is_told_once_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    clock = JumpingClock()
    failures = Failures("a part", clock)
    assert [failures.note(failure()) for _ in range(3)] == [True, False, False]
    assert failures.note(failure(KeyError))
    assert not failures.note(failure(words="another number 17"))
    assert failures.note(ValueError("raised elsewhere"))
    assert failures.last == "ValueError: raised elsewhere"
    told = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert len(told) == 3
    assert all(one.exc_info for one in told)
    assert told[0].getMessage().startswith("a part failed: ValueError: a mistake (test_parts.py, line ")
    await clock.run_for(601.0)
    assert failures.note(failure()), "after a good time it is news again"


def test_error_in_words() -> None:
    assert in_words(ValueError("two\nlines   here")) == "ValueError: two lines here"
    assert in_words(ValueError()) == "ValueError"
    assert in_words(BaseExceptionGroup("x", [ExceptionGroup("y", [KeyError("a")])])) == "KeyError: 'a'"
    assert in_words(ValueError("x" * 900)) == f"ValueError: {'x' * 288}"
    nested = in_words(BaseExceptionGroup("y", [failure()]))
    assert nested.startswith("ValueError: a mistake (test_parts.py, line ")


async def test_groups_are_told_apart_by_what_is_in_them() -> None:
    failures = Failures("a part", JumpingClock())
    assert failures.note(ExceptionGroup("x", [ValueError("a")]))
    assert not failures.note(ExceptionGroup("y", [ValueError("b")]))
    assert failures.note(ExceptionGroup("x", [KeyError("a"), ValueError("a")]))
    assert failures.last == "KeyError: 'a'"


async def run(part: Part, clock: JumpingClock, work: Callable[[], object], seconds: float) -> asyncio.Task[None]:
    async def begin() -> None:
        result = work()
        if isinstance(result, asyncio.Future):
            await result

    task = asyncio.create_task(part.keep(begin))
    await clock.run_for(seconds)
    return task


class Panic(BaseException):
    """What a library in another language raises: no Exception, and no reason to end."""


@pytest.mark.parametrize("kind", [ValueError, asyncio.CancelledError, Panic])
async def test_part_that_fails_is_begun_again_after_a_pause(kind: type[BaseException]) -> None:
    clock = JumpingClock()
    part, begun = Part("a part", clock), []

    def work() -> None:
        begun.append(clock.monotonic() - 1_000)
        if len(begun) < 6:
            raise kind("a mistake")

    task = await run(part, clock, work, 100.0)
    assert task.done()
    assert begun == [0, 1, 3, 7, 15, 25], "at most ten seconds apart"
    assert (part.state, part.failures.count) == ("working", 5)


async def test_part_that_is_told_to_end_ends() -> None:
    clock = JumpingClock()
    part = Part("a part", clock)
    task = await run(part, clock, lambda: asyncio.get_running_loop().create_future(), 1.0)
    task.cancel()
    await clock.run_for(1.0)
    assert task.cancelled()
    assert part.failures.count == 0


async def test_end_of_the_interpreter_is_no_failure_of_a_part() -> None:
    part = Part("a part", JumpingClock())

    async def work() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        await part.once(work)
    assert part.failures.count == 0


async def test_once_says_whether_it_failed() -> None:
    part = Part("a part", JumpingClock())

    async def good() -> None:
        pass

    async def bad() -> None:
        raise OSError("no")

    assert await part.once(good) is False
    assert await part.once(bad) is True
    assert part.state == "failing"
    assert await part.once(good) is False
    assert part.state == "working"


async def test_own_end_is_known() -> None:
    assert not is_own_end()
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.sleep(0)
    assert is_own_end()
    task.uncancel()


def test_guarded_call_gives_something_else_where_it_fails() -> None:
    part, good = Part("a part", JumpingClock()), True

    def call(number: int, *, more: int) -> int:
        if not good:
            raise KeyError("x")
        return number + more

    guarded = part.guarded(call, -1)
    assert guarded(2, more=3) == 5
    good = False
    assert guarded(2, more=3) == -1
    assert (part.state, part.failures.count) == ("failing", 1)
    good = True
    assert guarded(2, more=3) == 5
    assert (part.state, part.failures.count) == ("working", 1)


def test_status_names_parts_in_which_something_went_wrong() -> None:
    parts = Parts(JumpingClock())
    assert parts["a"] is parts["a"]
    assert parts["a"] is not parts["b"]
    assert parts.status() == {}
    parts["a"].guarded(lambda: list[int]().pop(), None)()
    said = parts.status()
    assert list(said) == ["a"]
    assert (said["a"]["state"], said["a"]["failures"]) == ("failing", 1)
    assert "IndexError: pop from empty list" in str(said["a"]["last_error"])
    parts["a"].guarded(lambda: 1, None)()
    assert parts.status()["a"]["state"] == "working"


async def test_part_that_was_begun_again_and_runs_is_running_again() -> None:
    clock, left = JumpingClock(), [1]
    part = Part("road", clock)

    async def work() -> None:
        if left[0]:
            left[0] -= 1
            raise OSError("once")
        await asyncio.Event().wait()

    task = asyncio.create_task(part.keep(work))
    await clock.run_for(0.5)
    assert part.state == "failing"
    await clock.run_for(1.0)
    assert part.state == "failing", "it runs for less than it paused"
    await clock.run_for(2.0)
    assert (part.state, part.failures.count) == ("running again", 1)
    task.cancel()
    await clock.finish(task)
