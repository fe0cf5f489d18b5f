"""The truth file: what the simulators really sent and measured; the readings of a database are compared with it.

One line of JSON for each answer that carried values:

- `instrument`: its name in the lab file; `n`: number of the line; `serial`: serial number of the instrument that
  answered (empty where it sends none);
- `asked_ns`: when it had heard the request (null: sent without one); `measured_ns`: when the values were measured;
  `at_ns`: when the first byte was sent. All in UTC nanoseconds;
- `request`, `reply`: the right bytes, one character for each (latin-1); `registers`: of these, the registers of a
  Modbus answer, in hex;
- `values`: digits of each channel as sent, null where the instrument says that it has no value; `units`: the unit
  (UCUM) in which each value really is; `states`: "good", "unstable", "over", "under" or "none" of each channel;
- `fault`: null, a kind of `simulators.faults` (something else was sent instead), or "unheard" (nobody was connected).
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from simulators.instrument import Answer

FLUSH_INTERVAL = 0.1


class Truth:
    """Writes one line of JSON for each answer that carried values; without a path it writes nothing."""

    def __init__(self, path: Path | None) -> None:
        self._file = path.open("a", encoding="utf-8") if path else None
        self._lines: list[str] = []
        self._count = 0
        self._task: asyncio.Task[None] | None = None

    def note(
        self, instrument: str, request: bytes, answer: Answer, fault: str | None, *, heard_ns: int, sent_ns: int
    ) -> None:
        """Record an answer that was sent at `sent_ns`, or would have been sent without a fault."""
        if self._file is None or not answer.values:
            return
        self._count += 1
        row = {
            "instrument": instrument,
            "n": self._count,
            "asked_ns": heard_ns if request else None,
            "measured_ns": heard_ns + round(answer.measured * 1e9),
            "at_ns": sent_ns,
            "serial": answer.serial,
            "request": request.decode("latin-1"),
            "reply": answer.reply.decode("latin-1"),
            "registers": answer.registers.hex(),
            "values": dict(answer.values),
            "units": {channel: answer.units.get(channel, "") for channel in answer.values},
            "states": {
                channel: answer.states.get(channel, "none" if digits is None else "good")
                for channel, digits in answer.values.items()
            },
            "fault": fault,
        }
        self._lines.append(json.dumps(row))

    async def _write_regularly(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_INTERVAL)
            self.write()

    def write(self) -> None:
        """Write the lines that are not in the file yet."""
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
        self.write()
        if self._file is not None:
            self._file.close()
