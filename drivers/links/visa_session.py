"""A session of pyvisa: opened, asked and closed in the thread of its link, and shut from outside."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pyvisa
from pyvisa.constants import StatusCode

from drivers.driver import Text
from drivers.errors import InstrumentError, Lost, Silent, Unreadable
from drivers.links.connection import LARGEST_ANSWER
from drivers.links.visa_names import outlives_its_session
from drivers.links.visa_sockets import Guard, guard_pyvisa_py

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyvisa.resources import MessageBasedResource

CLOSING = 1.0
"""Seconds that an instrument may take to end its session."""
_CHUNK = 20480
_GRACE = 0.05  # the library's own time-out, and the instrument's, come before the deadline of the sockets
_LEAST_MESSAGE = 64  # a peer that takes less at a time makes pyvisa-py send without end

# All links of a backend share one resource manager; creating it is not thread-safe. A vendor's library that hangs
# there holds no link of another backend.
_opening: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

# pyvisa-py logs a traceback for each instrument that is switched off, before it raises; the link reports the error
# itself, once.
logging.getLogger("pyvisa").setLevel(logging.CRITICAL)


class VisaSession:
    """One session with one instrument; after a failure it is shut or closed, and never used again.

    Every method runs in the thread of the link, `shut` in any thread. `sent` is the monotonic instant at which the
    last question went out, 0 before the first.
    """

    def __init__(self, name: str, backend: str, open_timeout: float) -> None:
        """`open_timeout` are the seconds for one connection; a session has up to three, one after the other."""
        self._name = name
        self._backend = backend
        self._open_timeout = open_timeout
        self._guard = Guard(name, open_timeout)
        self._resource: MessageBasedResource | None = None
        self.sent = 0.0

    @property
    def opens_within(self) -> float:
        """Seconds after which the opening fails."""
        return 3 * self._open_timeout

    def open(self) -> bytes:
        """Open; Lost where that fails, and then no socket is left."""
        try:
            self._connect()
        except InstrumentError:
            self.close()
            raise
        return b""

    def _connect(self) -> None:
        within = self.opens_within
        self._guard.begin(time.monotonic() + within, Lost(f"{self._name}: no session within {within:g} s"), Lost)
        with self._errors_named_once(), self._guard.watching():
            with _opening[self._backend]:
                if self._backend == "@py":
                    guard_pyvisa_py()
                library = pyvisa.ResourceManager(self._backend)
            # By default pyvisa-py allows only 100 ms for the connection of VXI-11.
            resource: Any = library.open_resource(self._name, open_timeout=round(1000 * self._open_timeout))
            self._resource = resource
            if self._backend == "@py":
                self._check(resource)
            if outlives_its_session(self._name):
                resource.clear()  # the answer to an earlier question may still be there

    def ask(self, query: Text) -> bytes:
        """Give the bytes of one message; Silent, Lost or Unreadable."""
        if self._resource is None:
            raise Lost(f"{self._name}: not open")
        with self._errors_named_once():
            resource = self._resource
            milliseconds = round(1000 * query.timeout)
            if resource.timeout != milliseconds:
                resource.timeout = milliseconds
            late = Silent(f"{self._name}: no whole answer within {query.timeout:g} s")
            self.sent = time.monotonic()
            self._guard.begin(self.sent + query.timeout + _GRACE, late, Unreadable)
            resource.write_raw(query.command)
            return self._read(resource, self.sent + query.timeout) if query.end else b""

    def shut(self) -> None:
        """Make a call that waits return at once, where the sockets are those of pyvisa-py; else do nothing."""
        self._guard.shut()

    def close(self) -> bytes:
        """Close, within CLOSING seconds where the sockets are those of pyvisa-py."""
        resource, self._resource = self._resource, None
        if self._guard.verdict is not None:
            self._guard.shut()  # nothing more is sent where the other side is gone or says what cannot be
        self._guard.begin(time.monotonic() + CLOSING, Lost(f"{self._name}: not closed"), Lost)
        if resource is not None:
            session = resource.session
            with contextlib.suppress(InstrumentError), self._errors_named_once():
                resource.close()
            _forget(resource.visalib, session)
        self._guard.close()
        return b""

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

    def _check(self, resource: MessageBasedResource) -> None:
        """Refuse a session whose sockets are not guarded, or whose peer takes next to nothing at a time."""
        session: Any = getattr(resource.visalib, "sessions", {}).get(resource.session)
        hislip: object = getattr(getattr(session, "interface", None), "max_msg_size", None)
        vxi11: object = getattr(session, "max_recv_size", None)
        for most in (hislip, vxi11):
            if not isinstance(most, int):
                continue
            if not self._guard.used:
                raise Lost(f"{self._name}: pyvisa-py {type(session).__name__} opens sockets in a way that is not known")
            if most < _LEAST_MESSAGE:
                raise Lost(f"{self._name}: takes only {most} bytes in a message")

    @contextlib.contextmanager
    def _errors_named_once(self) -> Iterator[None]:
        name = self._name
        try:
            yield
        except InstrumentError:
            raise
        # pyvisa-py has no base class of errors: OSError, RuntimeError, RPCError, TypeError, AssertionError,
        # struct.error and plain Exception were all observed for a lost connection.
        except Exception as error:  # noqa: BLE001
            raise self._guard.verdict or _named(name, error) from None


def _named(name: str, error: Exception) -> InstrumentError:
    """Say in words what the library raised."""
    if isinstance(error, pyvisa.VisaIOError):
        if error.error_code == StatusCode.error_timeout:
            return Silent(f"{name}: no whole answer in time")
        return Lost(f"{name}: {error.description or error}")
    if isinstance(error, TimeoutError):
        return Silent(f"{name}: no answer in time")
    return Lost(f"{name}: {error or type(error).__name__}")


def _forget(library: object, session: object) -> None:
    """Take a closed session out of the tables in which pyvisa and pyvisa-py keep every session for ever."""
    for table in ("sessions", "_last_status_in_session", "_ignore_warning_in_session"):
        getattr(library, table, {}).pop(session, None)
