"""Reports the state of the service to systemd (sd_notify); does nothing where systemd did not start it.

A report that cannot be delivered (a stale socket, one that nobody reads) is logged once and never waited for.
"""

from __future__ import annotations

import logging
import os
import socket
import time

log = logging.getLogger(__name__)

_failed = ""


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
    global _failed  # noqa: PLW0603  # one process has one systemd
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sender:
            sender.connect("\0" + address[1:] if address.startswith("@") else address)  # @: the abstract namespace
            sender.sendall(message.encode())
    except (OSError, ValueError) as error:  # ValueError: an address with a null character
        if str(error) != _failed:
            _failed = str(error)
            log.warning("systemd cannot be told the state of this service: %r: %s", address, error)
    else:
        _failed = ""
