"""The control socket of a running station, for its own machine: one JSON question, one JSON answer, over a UNIX socket.

The socket lies beside the spool and only the station's user (and root) may open it: a spool has one owner, so a
command that reads or changes it asks that owner.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONGEST = 32 * 2**20
"""Bytes of one question or answer at most."""
ANSWERS_WITHIN = 60.0
CLIENTS = 16
"""Clients that are met at once; more wait until one of these has gone."""
ASKED_WITHIN = 5.0
"""Seconds within which the question of a client must be there, or it is hung up on."""
TAKEN_WITHIN = 30.0
"""Seconds within which a client must have taken its answer, or it is hung up on."""
ACCEPT_AGAIN = 1.0
"""Seconds before the next attempt where no descriptor is free for a client."""

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


Handlers = Mapping[str, Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]]


async def serve_control(path: Path, handlers: Handlers, on_failure: Callable[[Exception], object]) -> None:
    """Answer questions at `path` until cancelled; each has the name of a handler under "do".

    What goes wrong in a handler is handed to `on_failure`, and told to the client. One descriptor is kept in reserve:
    a station that has used up all others can still be asked why. Clients, and what they do not do, use up few.
    """
    answers: set[asyncio.Task[None]] = set()
    free = asyncio.Semaphore(CLIENTS)
    reserve = Reserve()
    with _listening(path) as listener, closing(reserve):
        reserve.take()
        try:
            while True:
                await free.acquire()
                try:
                    connection = await _accepted(listener)
                except OSError as error:
                    free.release()
                    on_failure(error)
                    if not reserve.give():
                        await asyncio.sleep(ACCEPT_AGAIN)
                    continue
                task = asyncio.create_task(_answer(connection, handlers, on_failure), name="control")
                answers.add(task)
                task.add_done_callback(answers.discard)
                # One that is cancelled before it begins would close nothing.
                task.add_done_callback(partial(_close, connection))
                task.add_done_callback(lambda _: reserve.take())
                task.add_done_callback(lambda _: free.release())
        finally:
            for task in answers:
                task.cancel()
            if answers:
                await asyncio.wait(answers)


async def _accepted(listener: socket.socket) -> socket.socket:
    """Give the next client; one that comes in the moment of a cancellation is hung up on, or it would stay open."""
    accepting = asyncio.ensure_future(asyncio.get_running_loop().sock_accept(listener))
    try:
        await asyncio.wait([accepting])
    except asyncio.CancelledError:
        accepting.cancel()
        await asyncio.wait([accepting])
        if not accepting.cancelled() and accepting.exception() is None:
            accepting.result()[0].close()
        raise
    connection, _ = accepting.result()
    return connection


def _close(connection: socket.socket, _: asyncio.Task[None]) -> None:
    connection.close()


class Reserve:
    """A descriptor that is open for nothing, until all others are in use."""

    def __init__(self) -> None:
        self._number: int | None = None

    def take(self) -> None:
        """Open it where it is not open; not a failure where none is free."""
        if self._number is None:
            with suppress(OSError):
                self._number = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def give(self) -> bool:
        """Free it for the next opening; gives whether there was one."""
        if self._number is None:
            return False
        os.close(self._number)
        self._number = None
        return True

    def close(self) -> None:
        """Free it."""
        self.give()


async def _answer(connection: socket.socket, handlers: Handlers, on_failure: Callable[[Exception], object]) -> None:
    """Answer one client: the only place that catches what goes wrong with it."""
    try:
        reader, writer = await asyncio.open_unix_connection(sock=connection, limit=LONGEST)
        try:
            with suppress(ConnectionError, TimeoutError):  # the client asked nothing, or did not wait for the answer
                async with asyncio.timeout(ASKED_WITHIN):
                    question = await _question(reader)
                answer = await _reply(question, handlers, on_failure)
                async with asyncio.timeout(TAKEN_WITHIN):
                    writer.transport.set_write_buffer_limits(0)  # it is drained where all has gone out
                    writer.write(json.dumps(answer).encode() + b"\n")
                    await writer.drain()
        finally:
            writer.transport.abort()
            with suppress(ConnectionError):
                await writer.wait_closed()
    except Exception as error:  # noqa: BLE001  # told by the keeper of the control socket
        on_failure(error)
        connection.close()


async def _question(reader: asyncio.StreamReader) -> bytes:
    """Read one line; one that is longer than any question is none."""
    try:
        return await reader.readline()
    except ValueError:
        return b"a line that is too long"


async def _reply(question: bytes, handlers: Handlers, on_failure: Callable[[Exception], object]) -> dict[str, Any]:
    try:
        asked = json.loads(question)
        handler = handlers[asked["do"]]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        return _refused(f"not understood: {error}")
    try:
        return {"ok": True} | await handler(asked)
    except Denied as error:
        return _refused(str(error), error.reason)
    except Exception as error:  # noqa: BLE001  # told by the keeper of the control socket, and to the client
        on_failure(error)
        return _refused(f"a mistake in the station, which its log tells: {type(error).__name__}: {error}")


def _refused(words: str, reason: Reason = "") -> dict[str, Any]:
    return {"ok": False, "error": words, "reason": reason}


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
        listener.listen()
        listener.setblocking(False)
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
