"""Instruments behind VXI-11, HiSLIP, USB-TMC and GPIB: pyvisa, with one thread for each session.

A blocking call cannot be cancelled. After a question or an opening that failed, was given up or was cancelled, the
session is never used again: its sockets are shut, so that the call returns and the thread ends, and the next attempt
has a new session and a new thread. The sockets of a vendor's library are not ours: such a thread is left behind, and
at most LEFT_BEHIND of them for each link.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING

from drivers.driver import Listen, Text
from drivers.errors import InstrumentError, Lost, Silent, Unreadable
from drivers.links.control_order import answers_to_prove
from drivers.links.open_questions import OpenQuestions
from drivers.links.visa_names import outlives_its_session
from drivers.links.visa_session import CLOSING, VisaSession
from drivers.links.visa_thread import VisaThread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

LEFT_BEHIND = 4
"""Threads of one link that may wait in a library; beyond it no session is opened until one returns."""
_MARGIN = 0.1  # so that the library's own time-out comes first
_LOOK = 0.01  # seconds between two looks whether a thread has ended

log = logging.getLogger(__name__)


class VisaLink:
    """One instrument by its VISA resource name.

    An answer ends where the interface signals END; the `end` of the query is not used. `unasked` rises with each
    further session: another instrument may have been put to the same name.
    """

    def __init__(
        self,
        name: str,
        settle: float,
        *,
        backend: str = "@py",
        open_timeout: float = 3.0,
        controls: frozenset[bytes] = frozenset(),
    ) -> None:
        """`settle` and `controls` as for a StreamLink; `backend` is "@py", or "@ivi" for the vendor's VISA library."""
        self._controls = controls
        self._name = name
        self._settle = settle
        self._backend = backend
        self._open_timeout = open_timeout
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._session = VisaSession(name, backend, open_timeout)
        self._thread: VisaThread | None = None
        self._call: Future[bytes] | None = None
        self._left: list[VisaThread] = []
        self._open = False
        self._sessions = 0
        self._sent = 0.0
        self._not_before = 0.0
        self._last_asked = b""
        self._outlives = outlives_its_session(name)
        self._questions = OpenQuestions(settle, provable=bool(controls))

    @property
    def sent(self) -> float:
        """Monotonic instant at which the last question went out."""
        return max(self._sent, self._session.sent)

    @property
    def unasked(self) -> int:
        """Sessions after the first one: nothing comes unasked, but another instrument may answer in a new one."""
        return max(0, self._sessions - 1)

    @property
    def waiting(self) -> bool:
        """Whether a question waits for its turn, for silence or for a session."""
        return self._waiting > 0

    @property
    def suspect(self) -> bool:
        """Whether the answer to an earlier question may still come: never where it ends with its connection."""
        return self._questions.any(time.monotonic())

    def to_prove(self, query: Text | Listen) -> int | None:
        """Give how many answers to this question, one after the other, show that no late one to a poll can come."""
        if isinstance(query, Listen):
            return None
        return answers_to_prove(query.command, self._controls, self._questions.forms(time.monotonic()))

    def believe(self) -> None:
        """Note that the last answer could be read: its question was answered, or an older one."""
        if self._last_asked:
            self._questions.answered(self._last_asked, self.sent, self._controls)

    def trust(self) -> None:
        """Note that control questions were answered: no answer to an earlier poll will come any more."""
        self._questions.keep_harmless(self._controls)

    def distrust(self) -> None:
        """Replace the session, and wait before the next question: the last answer was not believed."""
        self._may_come(self._last_asked)
        self._give_up()

    async def open(self) -> None:
        """Open a session where none is open; Lost where that fails."""
        with self._waits():
            async with self._turn:
                if self._open:
                    return
                await self._wait_until_quiet()
                self._make_way()
                session = self._session = VisaSession(self._name, self._backend, self._open_timeout)
                try:
                    self._thread = VisaThread(self._name)
                except RuntimeError as error:  # no thread is left
                    raise Lost(f"{self._name}: {error}") from None
                late = Lost(f"{self._name}: no session within {session.opens_within:g} s")
                await self._run(session.open, session.opens_within + _MARGIN, late)
                if self._thread is None:
                    raise Lost(f"{self._name}: closed while it was opened")
                self._open = True
                self._sessions += 1

    async def ask(self, query: Text | Listen) -> bytes:
        """Give the bytes of one message; Silent, Lost or Unreadable."""
        if isinstance(query, Listen):
            raise Unreadable(f"{self._name}: an instrument on VISA says nothing by itself; it must be asked")
        if not self._open:
            await self.open()
        with self._waits():
            await self._turn.acquire()
        try:
            if not self._open:
                raise Lost(f"{self._name}: not open")
            return await self._ask(self._session, query)
        finally:
            self._turn.release()

    async def close(self) -> None:
        """Close the session; a question that waits fails as Lost. Does not wait for the library."""
        self._retire()

    async def _ask(self, session: VisaSession, query: Text) -> bytes:
        self._last_asked = query.command
        late = Silent(f"{self._name}: no whole answer within {query.timeout:g} s")
        answered = False
        try:
            answer = await self._run(lambda: session.ask(query), query.timeout + _MARGIN, late)
            took = time.monotonic() - session.sent
            if query.end and took > query.timeout:  # this process was held: nothing shows when the answer came
                self._give_up()
                raise Silent(
                    f"{self._name}: the answer was seen {took:.3g} s after the question, and {query.timeout:g} s are "
                    "allowed; this computer was busy or suspended"
                )
            answered = True
            if not query.end:
                self._last_asked = b""  # nothing was answered, and nothing is shown
        finally:
            if not answered:
                self._may_come(query.command)
        return answer

    async def _run(self, work: Callable[[], bytes], within: float, late: InstrumentError) -> bytes:
        """Execute a call of the session in its thread; whatever fails or is cancelled ends the session."""
        if self._thread is None:
            raise Lost(f"{self._name}: not open")
        call = self._call = self._thread.submit(work)
        answered = False
        try:
            async with asyncio.timeout(within):
                answer = await asyncio.wrap_future(call)
            answered = True
        except TimeoutError:
            raise late from None
        finally:
            if not answered and call is self._call:
                self._give_up()
        return answer

    def _give_up(self) -> None:
        """End the session; the next one is opened when the wire has settled."""
        self._not_before = asyncio.get_running_loop().time() + self._settle
        self._retire()

    def _retire(self) -> None:
        """Let the thread close its session and end: at once where it waits in a call."""
        self._open = False
        thread, self._thread = self._thread, None
        call, self._call = self._call, None
        if thread is None:
            return
        self._sent = self.sent
        if call is not None and not call.done():
            self._not_before = asyncio.get_running_loop().time() + self._settle
            self._session.shut()
        thread.submit(self._session.close)
        thread.stop()
        self._left.append(thread)

    def _make_way(self) -> None:
        """Refuse another thread where too many have not come back; Lost."""
        before = len(self._left)
        self._left = [thread for thread in self._left if thread.running]
        count = len(self._left)
        if count >= LEFT_BEHIND:
            raise Lost(
                f"{self._name}: {count} calls of the VISA library {self._backend} have not returned; it is not called "
                "again before one does"
            )
        if count and count == before:
            log.warning(
                "%s: a call of the VISA library %s has not returned; its thread is left behind, %d of %d",
                self._name,
                self._backend,
                count,
                LEFT_BEHIND,
            )

    async def _wait_until_quiet(self) -> None:
        """Wait for the settle time, and for the end of the session before: many instruments take only one."""
        if (wait := self._not_before - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(wait)
        # No event: one of a thread that never ends would outlive the loop.
        for _ in range(round(CLOSING / _LOOK)):
            if not self._left or not self._left[-1].running:
                return
            await asyncio.sleep(_LOOK)

    def _may_come(self, command: bytes) -> None:
        if self._outlives:
            self._questions.add(command, time.monotonic())

    @contextlib.contextmanager
    def _waits(self) -> Iterator[None]:
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
