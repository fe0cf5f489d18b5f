"""Instruments behind VXI-11, HiSLIP, USB-TMC and GPIB: pyvisa, with one thread for each link.

Blocking sessions cannot be cancelled, so after a question that failed or was cancelled the session stays with its
thread, which closes it when the library returns; no session is ever used again after a failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import socket
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import pyvisa
from pyvisa.constants import StatusCode

from drivers.driver import Listen, Text
from drivers.errors import InstrumentError, Lost, Silent, Unreadable
from drivers.links.connection import LARGEST_ANSWER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyvisa.resources import MessageBasedResource

_CHUNK = 20480
_MARGIN = 0.1  # so that the library's own time-out comes first
_opening = threading.Lock()  # all links of a backend share one resource manager; creating it is not thread-safe

# pyvisa-py logs a traceback for each instrument that is switched off, before it raises; the link reports the error
# itself, once.
logging.getLogger("pyvisa").setLevel(logging.CRITICAL)


class VisaLink:
    """One instrument by its VISA resource name.

    An answer ends where the interface signals END; the `end` of the query is not used.
    """

    def __init__(self, name: str, settle: float, *, backend: str = "@py", open_timeout: float = 3.0) -> None:
        """`settle` as for every link; `backend` is "@py", or "@ivi" for the vendor's VISA library."""
        self._name = name
        self._settle = settle
        self._session = _Session(name, backend, open_timeout)
        self._open_timeout = open_timeout
        self._turn = asyncio.Lock()
        self._thread: _Thread | None = None
        self._open = False
        self._not_before = 0.0

    async def open(self) -> None:
        """Open a session where none is open."""
        async with self._turn:
            if self._open:
                return
            await self._wait_until_quiet()
            within = 3 * self._open_timeout  # VXI-11 and HiSLIP connect more than once
            late = Lost(f"{self._name}: no session within {within:g} s")
            await self._run(self._session.open, within, late)
            self._open = True

    def distrust(self) -> None:
        """Replace the session, and wait before the next question: the last answer was not believed."""
        self._give_up_session()

    async def ask(self, query: Text | Listen) -> bytes:
        """Give the bytes of one message; Silent, Lost or Unreadable."""
        if isinstance(query, Listen):
            raise Unreadable(f"{self._name}: an instrument on VISA says nothing by itself; it must be asked")
        if not self._open:
            await self.open()
        session = self._session
        async with self._turn:
            if not self._open:
                raise Lost(f"{self._name}: not open")
            late = Silent(f"{self._name}: no whole answer within {query.timeout:g} s")
            return await self._run(lambda: session.ask(query), query.timeout + _MARGIN, late)

    @property
    def sent(self) -> float:
        """Monotonic instant at which the last question went out."""
        return self._session.sent

    unasked = 0
    waiting = False
    suspect = False

    def proves(self, query: object) -> bool:
        """Whether an answer to this question, asked now, can only be its own."""
        del query
        return True

    def trust(self) -> None:
        """Note that control questions were answered."""

    async def close(self) -> None:
        """Close the session as soon as the library has returned; does not wait for that."""
        self._open = False
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.submit(self._session.close)
            thread.stop()

    async def _run(self, work: Callable[[], bytes], within: float, late: InstrumentError) -> bytes:
        if self._thread is None:
            self._thread = _Thread(self._name)
        answered = False
        try:
            async with asyncio.timeout(within):
                answer = await asyncio.wrap_future(self._thread.submit(work))
            answered = True
        except TimeoutError:
            raise late from None
        finally:
            if not answered:
                self._give_up_session()
        return answer

    def _give_up_session(self) -> None:
        self._open = False
        self._not_before = asyncio.get_running_loop().time() + self._settle
        if self._thread is not None:
            self._thread.submit(self._session.close)

    async def _wait_until_quiet(self) -> None:
        if (wait := self._not_before - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(wait)


class _Session:
    """A pyvisa session; every method runs in the thread of its link."""

    def __init__(self, name: str, backend: str, open_timeout: float) -> None:
        self._name = name
        self._backend = backend
        self._open_timeout = open_timeout
        self._resource: MessageBasedResource | None = None
        self.sent = 0.0

    def open(self) -> bytes:
        self.close()
        with _errors_named_once(self._name):
            with _opening:
                library = pyvisa.ResourceManager(self._backend)
            # By default pyvisa-py allows only 100 ms for the connection of VXI-11.
            resource: Any = library.open_resource(self._name, open_timeout=round(1000 * self._open_timeout))
            _notice_when_the_peer_closes(resource)
            self._resource = resource
            if self._name.upper().startswith(("GPIB", "USB")):
                resource.clear()  # no connections here: the answer to an earlier question may still be there
        return b""

    def ask(self, query: Text) -> bytes:
        if self._resource is None:
            raise Lost(f"{self._name}: not open")
        with _errors_named_once(self._name):
            resource = self._resource
            milliseconds = round(1000 * query.timeout)
            if resource.timeout != milliseconds:
                resource.timeout = milliseconds
            self.sent = time.monotonic()
            resource.write_raw(query.command)
            return self._read(resource, time.monotonic() + query.timeout) if query.end else b""

    def _read(self, resource: MessageBasedResource, deadline: float) -> bytes:
        answer = bytearray()
        more = StatusCode.success_max_count_read
        with resource.ignore_warning(StatusCode.success_device_not_present, more):
            status = more
            while status == more:
                chunk, status = resource.visalib.read(resource.session, _CHUNK)
                answer += chunk
                if len(answer) > LARGEST_ANSWER:
                    raise Unreadable(f"{self._name}: {len(answer)} bytes came without END", bytes(answer[:1024]))
                if time.monotonic() > deadline:
                    raise Silent(f"{self._name}: no whole answer in time, only {Text.show(bytes(answer[:80]))!r}")
        return bytes(answer)

    def close(self) -> bytes:
        resource, self._resource = self._resource, None
        if resource is not None:
            with contextlib.suppress(Lost, Silent), _errors_named_once(self._name):
                resource.close()
        return b""


@contextlib.contextmanager
def _errors_named_once(name: str) -> Iterator[None]:
    try:
        yield
    except InstrumentError:
        raise
    except pyvisa.VisaIOError as error:
        if error.error_code == StatusCode.error_timeout:
            raise Silent(f"{name}: no whole answer in time") from None
        raise Lost(f"{name}: {error.description or error}") from None
    except TimeoutError:
        raise Silent(f"{name}: no answer in time") from None
    # pyvisa-py has no base class of errors: OSError, RuntimeError, RPCError, TypeError, AssertionError,
    # struct.error and plain Exception were all observed for a lost connection.
    except Exception as error:  # noqa: BLE001
        raise Lost(f"{name}: {error or type(error).__name__}") from None


class _HonestSocket(socket.socket):
    """A socket on which a closed connection is an error.

    pyvisa-py's VXI-11 treats the empty bytes of a closed connection as a pause, and reads again and again without
    a wait until the time-out.
    """

    def recv(self, size: int, flags: int = 0) -> bytes:
        data = super().recv(size, flags)
        if not data:
            raise ConnectionResetError("closed by the other side")
        return data


def _notice_when_the_peer_closes(resource: MessageBasedResource) -> None:
    sessions = getattr(resource.visalib, "sessions", {})  # only pyvisa-py has them
    interface = getattr(sessions.get(resource.session), "interface", None)
    plain = getattr(interface, "sock", None)
    if interface is not None and isinstance(plain, socket.socket):
        timeout = plain.gettimeout()
        interface.sock = _HonestSocket(fileno=plain.detach())
        interface.sock.settimeout(timeout)


class _Thread:
    """One thread that executes calls in their order.

    Not an executor: the interpreter waits for executors at exit, and a library may block a thread for a whole
    time-out.
    """

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[tuple[Callable[[], bytes], Future[bytes]] | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name=f"visa {name}", daemon=True).start()

    def submit(self, work: Callable[[], bytes]) -> Future[bytes]:
        future: Future[bytes] = Future()
        self._calls.put((work, future))
        return future

    def stop(self) -> None:
        self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            _carry_out(*call)
            del call  # otherwise a failed session is not freed until the next call


def _carry_out(work: Callable[[], bytes], future: Future[bytes]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(work())
    except InstrumentError as error:
        error.__context__ = None  # its stack frames would keep the sockets of the library open
        future.set_exception(error.with_traceback(None))
