"""The control socket answers whoever asks, whatever another question did, and also where no descriptor is free."""

from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any

import pytest

from daq.station import control
from daq.station.control import ControlError, Denied, ask, runs, serve_control, socket_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


async def status(_: dict[str, Any]) -> dict[str, Any]:
    return {"status": "x" * 1_000_000}


async def fails(_: dict[str, Any]) -> dict[str, Any]:
    raise RuntimeError("a mistake")


async def denies(_: dict[str, Any]) -> dict[str, Any]:
    raise Denied("no", "config")


SLEEP = asyncio.sleep
"""As it is before a test replaces it."""


@asynccontextmanager
async def listening(folder: Path) -> AsyncIterator[tuple[Path, list[Exception]]]:
    path, failures = socket_of(folder / "spool.sqlite"), list[Exception]()
    handlers = {"status": status, "fails": fails, "denies": denies}
    task = asyncio.create_task(serve_control(path, handlers, failures.append))
    try:
        async with asyncio.timeout(20.0):
            while not path.exists():
                await asyncio.sleep(0)
        yield path, failures
    finally:
        await SLEEP(0.05)  # who has just connected is met: asyncio leaves a transport behind where that is cut off
        task.cancel()
        await asyncio.wait([task])
        assert not path.exists()


async def test_question_that_fails_is_its_own(tmp_path: Path) -> None:
    async with listening(tmp_path) as (path, failures):
        assert await asyncio.to_thread(runs, path)
        with pytest.raises(ControlError):
            await asyncio.to_thread(ask, path, "fails")
        with pytest.raises(ControlError, match="not understood"):
            await asyncio.to_thread(ask, path, "nonsense")
        with pytest.raises(ControlError, match="no") as caught:
            await asyncio.to_thread(ask, path, "denies")
        assert caught.value.reason == "config"
        assert len((await asyncio.to_thread(ask, path, "status"))["status"]) == 1_000_000
    assert [str(one) for one in failures] == ["a mistake"]


async def test_client_is_answered_where_no_descriptor_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    given = 0
    real = control.Reserve.give

    def give(reserve: control.Reserve) -> bool:
        nonlocal given
        given += 1
        return real(reserve)

    monkeypatch.setattr(control.Reserve, "give", give)
    loop = asyncio.get_running_loop()
    accept, refuse = loop.sock_accept, 2

    async def full(sock: Any) -> Any:
        nonlocal refuse
        if refuse:
            refuse -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return await accept(sock)

    monkeypatch.setattr(loop, "sock_accept", full)
    async with listening(tmp_path) as (path, failures):
        assert (await asyncio.to_thread(ask, path, "status"))["status"]
    assert given == 2 + 1, "twice where none was free, and at the end"
    assert len(failures) == 2


async def test_clients_that_ask_nothing_are_few_and_do_not_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (control.CLIENTS, control.ASKED_WITHIN, control.TAKEN_WITHIN) == (16, 5.0, 30.0)
    monkeypatch.setattr(control, "CLIENTS", 3)
    monkeypatch.setattr(control, "ASKED_WITHIN", 0.5)
    async with listening(tmp_path) as (path, failures):
        clients = [client_of(path) for _ in range(7)]
        for client in clients[:3]:
            client.sendall(b'{"do": ')  # it begins
        await asyncio.sleep(0.2)
        assert met() == 3
        assert (await asyncio.to_thread(ask, path, "status"))["status"], "its turn comes behind all of these"
        for client in clients:
            with closing(client):
                assert await asyncio.to_thread(client.recv, 100) == b""
    assert not failures


async def test_client_that_does_not_take_its_answer_is_hung_up_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "TAKEN_WITHIN", 0.3)
    async with listening(tmp_path) as (path, failures):
        with closing(client_of(path)) as client:
            client.sendall(b'{"do": "status"}\n')
            async with asyncio.timeout(5.0):
                await asyncio.sleep(0.1)
                assert met() == 1
                while met():
                    await asyncio.sleep(0.05)
            with closing(client.makefile("rb")) as answer:
                assert 0 < len(await asyncio.to_thread(answer.read)) < 1_000_000
    assert not failures


def client_of(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(5.0)
    control._with_short_name(path, client.connect)
    return client


def met() -> int:
    """Count the clients that the station deals with."""
    return sum(task.get_name() == "control" for task in asyncio.all_tasks())
