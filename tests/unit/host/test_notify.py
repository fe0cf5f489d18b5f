"""A report to systemd that cannot be delivered is logged once, and never waited for."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from daq.host import notify

if TYPE_CHECKING:
    from pathlib import Path


def test_reports_arrive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify.ready("reading\n3 instruments")
        assert systemd.recv(100) == b"READY=1\nSTATUS=reading 3 instruments"
        notify.watchdog()
        assert systemd.recv(100) == b"WATCHDOG=1"


def test_stale_socket_is_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "none"))
    for _ in range(3):
        notify.watchdog()
    assert len(caplog.records) == 1
    assert "systemd cannot be told" in caplog.text
    monkeypatch.setenv("NOTIFY_SOCKET", "x" * 500)  # longer than any name of a socket
    notify.watchdog()
    assert len(caplog.records) == 2


def test_socket_that_nobody_reads_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        for _ in range(1_000):
            notify.watchdog()
        assert len(caplog.records) == 1
        for _ in range(5):
            systemd.recv(100)
        notify.watchdog()
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "address",
    ["", "@", "relative", "vsock:2:9", "@none\ttwo", "/", "/proc/self/mem", pytest.param("\udcff", id="no text")],
)
def test_odd_addresses_are_no_failure(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, address: str
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    monkeypatch.setattr(notify, "_failed", "")
    for _ in range(3):
        notify.ready("reading")
        notify.reloading()
    assert len(caplog.records) == (1 if address else 0)


def test_name_in_the_abstract_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0daq-test-notify")
        monkeypatch.setenv("NOTIFY_SOCKET", "@daq-test-notify")
        notify.stopping()
        assert systemd.recv(100) == b"STOPPING=1"
