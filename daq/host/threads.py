"""Work that may hang, such as reading a file on a disk that does not answer: in a thread that no end waits for.

The threads of `asyncio.to_thread` are waited for when the process ends, however long their work takes.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def in_thread(work: Callable[[], T]) -> asyncio.Future[T]:
    """Do `work` in a thread of its own; gives its result, which is dropped where the future was cancelled."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def tell(give: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(lambda: None if future.done() else give())

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001  # raised where the result is awaited
            failure = error
            tell(lambda: future.set_exception(failure))
        else:
            tell(lambda: future.set_result(result))

    threading.Thread(target=run, name="work that may hang", daemon=True).start()
    return future
