"""Openings of VISA sessions that are crossed by something else: closed at the same moment, no thread left."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from drivers.errors import Lost
from tests.conformance.links.conftest import VISA, Bench

if TYPE_CHECKING:
    from collections.abc import Callable

on_visa = pytest.mark.parametrize("bench", VISA, indirect=True)


@on_visa
async def test_a_link_that_is_closed_as_its_session_opens_opens_again(bench: Bench) -> None:
    """Closed after the thread has opened it, and before the task that waits for that is told."""
    link: Any = bench.link()
    run: Callable[..., Any] = link._run

    async def closed_meanwhile(*arguments: Any) -> bytes:
        answer: bytes = await run(*arguments)
        await link.close()
        return answer

    link._run = closed_meanwhile
    with pytest.raises(Lost, match="closed while it was opened"):
        await link.open()
    link._run = run
    await bench.read(link, 1, 0.5)


@on_visa
async def test_without_a_free_thread_the_opening_is_lost(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    link = bench.link()

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        with pytest.raises(Lost, match="can't start new thread"):
            await link.open()
    assert not link.waiting
    await bench.read(link, 1, 0.5)
