"""The control socket of a running station, for its own machine: one JSON question, one JSON answer, over a UNIX socket.

The socket lies beside the spool and only the station's user (and root) may open it: a spool has one owner, so a
command that reads or changes it asks that owner.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
    from pathlib import Path

LONGEST = 32 * 2**20
"""Bytes of one question or answer at most."""
ANSWERS_WITHIN = 60.0


Reason = Literal["", "config"]


class ControlError(Exception):
    """The station did not do what was asked; the message is its own, or says that none runs.

    `reason` is "config" where a mistake in a config is why.
    """

    def __init__(self, message: str, reason: Reason = "") -> None:
        super().__init__(message)
        self.reason = reason


class Denied(ControlError):
    """What a handler raises to refuse; message and reason are sent to the client."""


def socket_of(spool: Path) -> Path:
    """Give the place of the control socket of the station that owns this spool."""
    return spool.with_name(spool.name + ".socket")


@asynccontextmanager
async def serve_control(
    path: Path, handlers: Mapping[str, Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]]
) -> AsyncIterator[None]:
    """Answer questions at `path` for as long as the context lasts; each has the name of a handler under "do"."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            try:
                asked = json.loads(await reader.readline())
                reply = {"ok": True} | await handlers[asked["do"]](asked)
            except Denied as error:
                reply = {"ok": False, "error": str(error), "reason": error.reason}
            except (KeyError, TypeError, ValueError) as error:
                reply = {"ok": False, "error": f"not understood: {error}"}
            with suppress(ConnectionError):  # the client did not wait for the answer
                writer.write(json.dumps(reply).encode() + b"\n")
                await writer.drain()

    with _listening(path) as listener:
        server = await asyncio.start_unix_server(answer, sock=listener, limit=LONGEST)
        try:
            yield
        finally:
            server.close()


def ask(path: Path, what: str, **values: object) -> dict[str, Any]:
    """Ask the station at `path`; ControlError with its message, or where none runs."""
    with _socket() as connection:
        connection.settimeout(ANSWERS_WITHIN)
        try:
            _with_short_name(path, connection.connect)
            connection.sendall(json.dumps({"do": what} | values).encode() + b"\n")
            with connection.makefile("rb") as answer:
                reply: dict[str, Any] = json.loads(answer.readline() or b'{"ok": false, "error": "no answer"}')
        except TimeoutError:
            raise ControlError(f"the station does not answer within {ANSWERS_WITHIN:.0f} s") from None
        except PermissionError:
            raise ControlError(f"{path}: only the user of the station, and root, may ask it") from None
        except OSError as error:
            raise ControlError(f"{path}: no station runs here ({error.strerror})") from error
    if not reply.pop("ok"):
        raise ControlError(str(reply["error"]), reply.get("reason", ""))
    return reply


def runs(path: Path) -> bool:
    """Whether a station answers at `path`."""
    with _socket() as connection:
        try:
            _with_short_name(path, connection.connect)
        except OSError:
            return False
        return True


@contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    path.unlink(missing_ok=True)  # the lock of the spool ensures that no other station uses this path
    with _socket() as listener:
        _with_short_name(path, listener.bind)
        path.chmod(0o600)
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


def _socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)


def _with_short_name(path: Path, use: Callable[[str], None]) -> None:
    """Bind or connect through the open folder: the name of a socket may have 107 bytes, a path any number."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        use(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)
