"""Reports the state of the service to systemd (sd_notify); does nothing where systemd did not start it."""

from __future__ import annotations

import os
import socket
import time


def ready(status: str) -> None:
    """Report that the start is complete."""
    _send(f"READY=1\nSTATUS={_line(status)}")


def status(text: str) -> None:
    """Set the line that `systemctl status` shows."""
    _send(f"STATUS={_line(text)}")


def watchdog() -> None:
    """Report that every part has made progress; without this systemd starts the service again."""
    _send("WATCHDOG=1")


def stopping() -> None:
    """Report that the stop has begun."""
    _send("STOPPING=1")


def reloading() -> None:
    """Report that the config is read again, until `ready` is called."""
    _send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")


def _line(text: str) -> str:
    return " ".join(text.split())


def _send(message: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # a name in the abstract namespace
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notification:
        notification.connect(address)
        notification.sendall(message.encode())
