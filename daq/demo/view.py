"""What a person sees of a running demo: a live table on a terminal, else one text line every two seconds."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from daq.commands.status import doubts_in_words

if TYPE_CHECKING:
    from daq.road.mqtt import Connection

REFRESH = 0.25
LINE_EVERY = 2.0
_STYLE = {"good": "green", "unstable": "yellow"}


@dataclass
class View:
    """The newest live values and the newest status of the station."""

    station: str
    places: list[str]
    newest: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)

    async def serve(self, connection: Connection) -> None:
        """Listen to the live topics and the status of the station."""
        await connection.subscribe(f"daq/1/{self.station}/live/#", 0)
        await connection.subscribe(f"daq/1/{self.station}/status", 0)
        async for message in connection.messages():
            document = json.loads(message.payload)
            match message.topic.split("/"):
                case [_, _, _, "live", instrument, channel]:
                    self.newest[instrument, channel] = document
                case _:
                    self.status = document

    def table(self) -> Group:
        """Draw the table, the counts and the addresses."""
        table = Table("instrument", "serial", "channel", box=None, header_style="bold", pad_edge=False)
        table.add_column("value", justify="right")
        for name in ("unit", "status"):
            table.add_column(name)
        for name in ("age", "readings"):
            table.add_column(name, justify="right")
        instruments = self.status.get("instruments", {})
        for (instrument, channel), one in sorted(self.newest.items()):
            known = instruments.get(instrument, {})
            status = one["status"]
            table.add_row(
                instrument,
                known.get("serial") or "-",
                channel,
                one["text"] or "-",
                one["unit"],
                Text(status, style=_STYLE.get(status, "red")),
                f"{max(0.0, time.time() - one['at_ns'] / 1e9):.1f} s",
                str(known.get("readings", "")),
            )
        head = Text("daq demo: simulated instruments, real wires", style="bold")
        return Group(
            head,
            Text(),
            table,
            Text(),
            *(Text(line, style="yellow") for line in doubts_in_words(instruments)),
            *(Text(line, style="dim") for line in [self.counts(), *self.places, "Ctrl-C ends it"]),
        )

    def counts(self) -> str:
        """Say how many records are stored, waiting and in quarantine, and how many doubts there are, if any."""
        if "acquired" not in self.status:
            return "waiting for the station …"
        text = "acquired {acquired} = stored {stored} + spooled {spooled} + quarantined {quarantined}"
        doubts = self.status.get("doubts", 0)
        return text.format(**self.status) + (f"; doubts: {doubts}" if doubts else "")

    async def show(self, console: Console) -> None:
        """Show it until cancelled."""
        if console.is_terminal:
            with Live(self.table(), console=console, auto_refresh=False) as live:
                while True:
                    await asyncio.sleep(REFRESH)
                    live.update(self.table(), refresh=True)
        while True:
            await asyncio.sleep(LINE_EVERY)
            sys.stderr.write(f"daq: {self.counts()}\n")
