"""The truth file: what the simulators really sent; the readings of a database are compared with it."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

FLUSH_INTERVAL = 0.1


class Truth:
    """Writes one line of JSON for each answer that carried values; without a path it writes nothing."""

    def __init__(self, path: Path | None) -> None:
        self._file = path.open("a", encoding="utf-8") if path else None
        self._lines: list[str] = []
        self._count = 0
        self._task: asyncio.Task[None] | None = None

    def note(
        self,
        instrument: str,
        request: bytes,
        reply: bytes,
        values: Mapping[str, str | None],
        fault: str | None,
    ) -> None:
        """Record an answer that was sent at this instant, or would have been sent without a fault."""
        if self._file is None or not values:
            return
        self._count += 1
        row = {
            "instrument": instrument,
            "n": self._count,
            "at_ns": time.time_ns(),
            "request": request.decode("latin-1"),
            "reply": reply.decode("latin-1"),
            "values": dict(values),
            "fault": fault,
        }
        self._lines.append(json.dumps(row))

    async def _write_regularly(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_INTERVAL)
            self._write()

    def _write(self) -> None:
        if self._file is not None and self._lines:
            lines, self._lines = self._lines, []
            self._file.write("\n".join(lines) + "\n")
            self._file.flush()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._write_regularly())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
        self._write()
        if self._file is not None:
            self._file.close()
