"""The sockets of pyvisa-py, guarded: how much they take, until when, and they can be shut from another thread.

pyvisa-py has no bound of its own: a slow drip, messages of another question or a closed connection keep its thread
busy for ever, and whatever length a peer claims is allocated. So `socket` and `select` are replaced as its two
protocol modules see them; a socket that no link opens is a usual one.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import select
import socket
import threading
import time
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from drivers.errors import InstrumentError, Lost
from drivers.links.visa_framing import Allowance, Framing, HislipFraming, Refused, RpcFraming

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from _typeshed import ReadableBuffer, WriteableBuffer

    Address: TypeAlias = tuple[object, ...] | str | ReadableBuffer

_READABLE = select.POLLIN | select.POLLHUP | select.POLLERR
_WRITABLE = select.POLLOUT | select.POLLHUP | select.POLLERR


class _Opener(threading.local):
    guard: Guard | None = None


_opener = _Opener()


class Guard:
    """Guards all sockets of one session: HiSLIP has two, VXI-11 one, and one before it to ask for the port.

    `verdict` is the first thing that went wrong: on its way through the library it becomes some other error.
    """

    def __init__(self, name: str, connect_timeout: float) -> None:
        """`connect_timeout` are the seconds for one connection."""
        self.name = name
        self.connect_timeout = connect_timeout
        self.allowance = Allowance()
        self.verdict: InstrumentError | None = None
        self.used = False
        self._sockets: list[GuardedSocket] = []
        self._ended = False
        self._deadline = math.inf
        self._late: InstrumentError = Lost(f"{name}: not in time")
        self._refusal: Callable[[str], InstrumentError] = Lost
        # Closing and shutting exclude each other: a closed descriptor may be another's at once.
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Guard every socket that this thread opens meanwhile."""
        _opener.guard = self
        try:
            yield
        finally:
            _opener.guard = None

    def begin(self, deadline: float, late: InstrumentError, refusal: Callable[[str], InstrumentError]) -> None:
        """Begin an exchange that fails as `late` at a monotonic instant, and as `refusal` where too much comes."""
        self._deadline, self._late, self._refusal = deadline, late, refusal
        self.allowance.begin()

    def shut(self) -> None:
        """Shut all sockets, from any thread: a call that waits in one returns at once, and no further one is opened."""
        with self._lock:
            self._ended = True
            for each in self._sockets:
                with contextlib.suppress(OSError):  # not connected
                    each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close all sockets: the library leaves some of them to the garbage collector."""
        for each in list(self._sockets):
            each.close()

    def add(self, opened: GuardedSocket) -> None:
        """Guard a new socket."""
        self.used = True
        with self._lock:
            self._sockets.append(opened)

    def remove(self, closing: GuardedSocket, close: Callable[[], None]) -> None:
        """Close a socket while none is being shut."""
        with self._lock:
            if closing in self._sockets:
                self._sockets.remove(closing)
            close()

    def seconds_left(self) -> float:
        """Give the time until the deadline, more than 0; ConnectionError once it was shut, TimeoutError when late."""
        if self._ended:
            raise self.lost("shut")
        left = self._deadline - time.monotonic()
        if left <= 0:
            self.verdict = self.verdict or self._late
            raise TimeoutError(str(self._late))
        return left

    def lost(self, reason: str) -> ConnectionError:
        """Note that the connection is lost, and give the error for the library."""
        if self._ended:
            reason = "closed on this side"
        self.verdict = self.verdict or Lost(f"{self.name}: {reason}")
        return ConnectionError(reason)

    def refused(self, reason: str) -> ConnectionError:
        """Note that too much came, or what cannot be, and give the error for the library."""
        self.verdict = self.verdict or self._refusal(f"{self.name}: {reason}")
        return ConnectionError(reason)


class GuardedSocket(socket.socket):
    """A socket with a deadline and bounds, on which a closed connection is an error.

    pyvisa-py treats the empty bytes of a closed connection as a pause, and reads again and again without a wait.
    """

    guard: Guard
    framing: Framing

    def watch(self, guard: Guard, framing: Framing) -> GuardedSocket:
        """Stand under a guard."""
        self.guard, self.framing = guard, framing
        guard.add(self)
        return self

    def connect(self, address: Address) -> None:
        """Connect within the time for one connection; ConnectionError."""
        self.settimeout(min(self.guard.connect_timeout, self.guard.seconds_left()))
        try:
            super().connect(address)
        except TimeoutError:
            raise self.guard.lost(f"no connection within {self.guard.connect_timeout:g} s") from None
        except OSError as error:  # socket.gaierror, an unknown host, is one, too
            raise self.guard.lost(error.strerror or str(error)) from None
        self.guard.seconds_left()  # one that was shut meanwhile looks connected

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Give bytes, never none; TimeoutError or ConnectionError. The size was claimed by a header, and bounded so."""
        self.settimeout(self.guard.seconds_left())
        try:
            data = super().recv(size, flags)
        except OSError as error:
            raise self._failed(error) from None
        self._came(memoryview(data))
        return data

    def recv_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> int:
        """Receive bytes into a buffer, never none; TimeoutError or ConnectionError."""
        self.settimeout(self.guard.seconds_left())
        try:
            count = super().recv_into(buffer, nbytes, flags)
        except OSError as error:
            raise self._failed(error) from None
        self._came(memoryview(buffer)[:count])
        return count

    def sendall(self, data: ReadableBuffer, flags: int = 0) -> None:
        """Send one message; TimeoutError or ConnectionError."""
        self.settimeout(self.guard.seconds_left())
        self.framing.sent(memoryview(data))
        try:
            super().sendall(data, flags)
        except OSError as error:
            raise self._failed(error) from None

    def close(self) -> None:
        """Close it, unless it is being shut at this moment."""
        self.guard.remove(self, super().close)

    def _failed(self, error: OSError) -> OSError:
        """Give the error for the library."""
        if isinstance(error, TimeoutError):
            self.guard.seconds_left()
            return error
        return self.guard.lost(error.strerror or "broken")

    def _came(self, data: memoryview) -> None:
        if not data:
            raise self.guard.lost("closed by the other side")
        try:
            self.framing.came(data)
        except Refused as error:
            raise self.guard.refused(str(error)) from None


class _SocketModule:
    """The module `socket` as one protocol of pyvisa-py sees it."""

    def __init__(self, framing: type[HislipFraming | RpcFraming]) -> None:
        self._framing = framing

    def __getattr__(self, name: str) -> object:
        return getattr(socket, name)

    def socket(self, family: int = -1, kind: int = -1, protocol: int = -1, fileno: int | None = None) -> socket.socket:
        guard = _opener.guard
        if guard is None:
            return socket.socket(family, kind, protocol, fileno)
        return GuardedSocket(family, kind, protocol, fileno).watch(guard, self._framing(guard.allowance))


class _SelectModule:
    """The module `select` as VXI-11 sees it: waits no longer than the deadline, also in descriptors beyond 1023."""

    @staticmethod
    def select(
        readers: Sequence[Any], writers: Sequence[Any], errors: Sequence[Any], timeout: float | None = None
    ) -> tuple[list[Any], list[Any], list[Any]]:
        guarded = [each for each in (*readers, *writers) if isinstance(each, GuardedSocket)]
        if not guarded:
            return select.select(readers, writers, errors, timeout)
        left = guarded[0].guard.seconds_left()
        poll = select.poll()
        for each in guarded:
            poll.register(each, (each in readers) * select.POLLIN | (each in writers) * select.POLLOUT)
        seconds = left if timeout is None else min(left, timeout)
        found = dict(poll.poll(math.ceil(1000 * seconds)))
        return (
            [each for each in readers if found.get(each.fileno(), 0) & _READABLE],
            [each for each in writers if found.get(each.fileno(), 0) & _WRITABLE],
            [],
        )


@cache
def guard_pyvisa_py() -> None:
    """Replace `socket` and `select` in the protocols of pyvisa-py, once; ImportError where it is not installed."""
    hislip = importlib.import_module("pyvisa_py.protocols.hislip")
    rpc = importlib.import_module("pyvisa_py.protocols.rpc")
    hislip.socket = _SocketModule(HislipFraming)  # type: ignore[attr-defined]
    rpc.socket = _SocketModule(RpcFraming)  # type: ignore[attr-defined]
    rpc.select = _SelectModule  # type: ignore[attr-defined]
