"""Finds the addresses of a host by its name, each name in a thread of its own: one that hangs delays no other."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import Any, TypeAlias

Found: TypeAlias = list[tuple[Any, Any, int, str, Any]]
"""What getaddrinfo gives: family, kind, protocol, name, address."""

MOST_AT_ONCE = 256
"""Names that are looked up at once; each of them keeps a thread until the resolver gives up."""

_running: dict[tuple[str, int], _LookUp] = {}
_lock = threading.Lock()


async def look_up(host: str, port: int) -> Found:
    """Give the addresses; OSError where there are none, UnicodeError where it can be no name."""
    with contextlib.suppress(socket.gaierror):  # a numeric address needs no thread
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Found] = loop.create_future()
    with _lock:
        running = _running.get((host, port))
        if running is None:
            if len(_running) >= MOST_AT_ONCE:
                raise OSError(f"{len(_running)} names are being looked up and none is found: is the name server down?")
            running = _running[host, port] = _LookUp(host, port)
            running.waiting.append((loop, future))
            try:
                threading.Thread(target=running.run, name=f"look up {host}", daemon=True).start()
            except RuntimeError as error:  # no thread is left
                del _running[host, port]
                raise OSError(str(error)) from None
        else:
            running.waiting.append((loop, future))
    return await future


class _LookUp:
    """One look-up, for all who wait for the same name."""

    def __init__(self, host: str, port: int) -> None:
        self.waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[Found]]] = []
        self._name = (host, port)

    def run(self) -> None:
        """Look up and tell everybody who waits; runs in its own thread."""
        found: Found | OSError | UnicodeError
        try:
            found = socket.getaddrinfo(*self._name, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            found = error.with_traceback(None)
        with _lock:
            del _running[self._name]
        for loop, future in self.waiting:
            with contextlib.suppress(RuntimeError):  # that loop has ended
                loop.call_soon_threadsafe(_tell, future, found)


def _tell(future: asyncio.Future[Found], found: Found | OSError | UnicodeError) -> None:
    if future.done():
        return
    if isinstance(found, list):
        future.set_result(found)
    else:
        future.set_exception(found)
