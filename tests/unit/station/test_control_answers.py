"""What a client of the control socket is told, whatever it asks and whatever the station does."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from daq.forms import LONGEST_SPOOL_NAME
from daq.host.descriptors import ENOUGH
from daq.station import control
from daq.station.control import ControlError, Reserve, ask, runs, socket_of
from tests.unit.station.test_service_control import listening


def test_socket_lies_beside_the_spool(tmp_path: Path) -> None:
    assert socket_of(tmp_path / "spool.sqlite") == tmp_path / "spool.sqlite.socket"


def open_now() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def raw(path: Path, line: bytes) -> dict[str, Any]:
    """Send these bytes and give the answer."""
    with closing(socket.socket(socket.AF_UNIX)) as client:
        client.settimeout(5.0)
        control._with_short_name(path, client.connect)
        client.sendall(line)
        answer: dict[str, Any] = json.loads(client.makefile("rb").readline())
        return answer


@pytest.mark.parametrize(
    "line", [b"\n", b"{}\n", b"[]\n", b'{"do": []}\n', b'{"do": "none"}\n', b"\xff\n", b"[" * 100_000 + b"\n"]
)
async def test_what_is_no_question_is_not_understood_and_no_failure(tmp_path: Path, line: bytes) -> None:
    async with listening(tmp_path) as (path, failures):
        answer = await asyncio.to_thread(raw, path, line)
    assert (answer["ok"], answer["reason"]) == (False, "")
    assert answer["error"].startswith("not understood: ")
    assert not failures


@pytest.mark.parametrize("kind", [KeyError, ValueError, TypeError, RuntimeError])
async def test_mistake_of_a_handler_is_told_to_the_client_and_to_the_keeper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    async def wrong(_: dict[str, Any]) -> dict[str, Any]:
        raise kind("b")

    monkeypatch.setattr("tests.unit.station.test_service_control.fails", wrong)
    async with listening(tmp_path) as (path, failures):
        with pytest.raises(ControlError, match=rf"a mistake in the station, .*{kind.__name__}: '?b'?") as caught:
            await asyncio.to_thread(ask, path, "fails")
        assert caught.value.reason == ""
    assert [type(one) for one in failures] == [kind]


async def test_client_that_leaves_costs_nobody_anything(tmp_path: Path) -> None:
    async with listening(tmp_path) as (path, failures):
        for line in (b"", b'{"do": "status"}\n'):
            with closing(socket.socket(socket.AF_UNIX)) as client:
                control._with_short_name(path, client.connect)
                client.sendall(line)
        assert await asyncio.to_thread(ask, path, "status")
    assert not failures


async def test_clients_that_say_nothing_hold_nobody_up(tmp_path: Path) -> None:
    async with listening(tmp_path) as (path, _):
        silent = [socket.socket(socket.AF_UNIX) for _ in range(10)]
        for client in silent:
            control._with_short_name(path, client.connect)
        assert await asyncio.to_thread(ask, path, "status")
        async with asyncio.timeout(5.0):  # the one that was answered ends as well
            while sum(one.get_name() == "control" for one in asyncio.all_tasks()) != 10:
                await asyncio.sleep(0)
    assert not [one for one in asyncio.all_tasks() if one.get_name() == "control"], "nothing runs on"
    for client in silent:
        client.settimeout(5.0)
        assert client.recv(10) == b"", "they are closed at the end"
        client.close()


async def test_only_the_user_of_the_station_may_ask(tmp_path: Path) -> None:
    async with listening(tmp_path) as (path, _):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert await asyncio.to_thread(runs, path)
        await asyncio.sleep(0.05)  # the client that asked whether it runs is answered


async def test_socket_that_a_killed_station_left_is_used_again(tmp_path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(socket_of(tmp_path / "spool.sqlite")))
    left.close()
    assert not runs(socket_of(tmp_path / "spool.sqlite"))
    async with asyncio.timeout(10.0):
        task = asyncio.create_task(control.serve_control(socket_of(tmp_path / "spool.sqlite"), {}, lambda _: None))
        while not await asyncio.to_thread(runs, socket_of(tmp_path / "spool.sqlite")):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)  # the client that asked whether it runs is answered
        task.cancel()
        await asyncio.wait([task])


def test_place_where_no_station_runs(tmp_path: Path) -> None:
    path = socket_of(tmp_path / "spool.sqlite")
    assert not runs(path)
    with pytest.raises(ControlError, match=r"spool.sqlite.socket: no station runs here \(No such file"):
        ask(path, "status")
    assert not runs(tmp_path / "none" / "s.socket")


def test_station_of_another_user_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(control, "_with_short_name", refuse)
    with pytest.raises(ControlError, match="only the user of the station, and root, may ask it"):
        ask(tmp_path / "s.socket", "status")


def test_station_that_does_not_answer_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert control.ANSWERS_WITHIN == 60.0, "longer than a reload may take"
    monkeypatch.setattr(control, "ANSWERS_WITHIN", 0.05)
    with closing(socket.socket(socket.AF_UNIX)) as deaf:
        deaf.bind(str(tmp_path / "s.socket"))
        deaf.listen()
        assert runs(tmp_path / "s.socket")
        with pytest.raises(ControlError, match="does not answer within"):
            ask(tmp_path / "s.socket", "status")


async def test_question_longer_than_any_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "LONGEST", 1_000)
    async with listening(tmp_path) as (path, failures):
        answer = await asyncio.to_thread(raw, path, b'{"do": "status", "more": "' + b"x" * 5_000 + b'"}\n')
    assert answer["error"].startswith("not understood")
    assert not failures


async def test_path_longer_than_a_socket_may_have(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    async with listening(folder) as (path, _):
        assert await asyncio.to_thread(ask, path, "status")
    before = open_now()
    for _ in range(3):
        runs(path)
    assert open_now() == before, "no folder stays open"


def test_longest_name_that_a_config_allows_can_be_bound(tmp_path: Path) -> None:
    """Also through an open folder whose number is the highest that a service asks for."""
    path = socket_of(tmp_path / ("x" * LONGEST_SPOOL_NAME))
    assert len(f"/proc/self/fd/{ENOUGH}/{path.name}") == 107
    with control._listening(path):
        assert runs(path)


def test_reserve_is_one_descriptor() -> None:
    reserve, before = Reserve(), open_now()
    assert not reserve.give()
    reserve.take()
    reserve.take()
    assert open_now() == before + 1
    assert reserve.give()
    assert not reserve.give()
    assert open_now() == before
    reserve.take()
    reserve.close()
    assert open_now() == before


def test_reserve_that_finds_no_descriptor_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    reserve = Reserve()
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", full)
        reserve.take()
    assert not reserve.give()


async def test_where_no_descriptor_is_free_for_long_it_is_not_asked_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, attempts, pauses = asyncio.get_running_loop(), 0, list[float]()
    sleep = asyncio.sleep

    async def full(_: object) -> Any:
        nonlocal attempts
        attempts += 1
        raise OSError(errno.EMFILE, "Too many open files")

    async def noted(seconds: float) -> None:
        if seconds:
            pauses.append(seconds)
        await sleep(0)

    monkeypatch.setattr(loop, "sock_accept", full)
    monkeypatch.setattr(asyncio, "sleep", noted)
    async with listening(tmp_path) as (_, failures):
        async with asyncio.timeout(20.0):
            while attempts < 6:
                await sleep(0)
    assert set(pauses) == {1.0}
    assert len(pauses) >= attempts - 2, "only the reserve is used without a pause"
    assert len(failures) in {attempts - 1, attempts}, "the last attempt may end with the socket"
