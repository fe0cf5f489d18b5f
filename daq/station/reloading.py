"""Takes over a changed config while the station runs: what differs is restarted, and nothing else; one at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from daq.config import ConfigError
from daq.road.reading import EventKind
from daq.station.control import Denied
from daq.station.installation import load_station

if TYPE_CHECKING:
    from pathlib import Path

    from daq.config import SpoolTable, StationConfig
    from daq.station.parts import Parts
    from daq.station.records import Station
    from daq.station.supervision import Kept, Supervisor
    from drivers.links import Wires


class Service(Protocol):
    """The running service whose config changes."""

    config: StationConfig
    station: Station
    supervisor: Supervisor
    wires: Wires
    parts: Parts

    def follow(self, name: str, before: Kept | None = None) -> None:
        """Follow an instrument of the config; it accounts for the time since `before`, the one it replaces, ended."""

    def take_over_spool(self, table: SpoolTable) -> None:
        """Keep other limits from now on."""

    async def restart_publishing(self) -> None:
        """Begin a new connection, to the broker that the config names now."""


class Reloading:
    """Changes the config of one running service, whose config file is `path`."""

    def __init__(self, service: Service, path: Path | None) -> None:
        self._service = service
        self._path = path
        self._turn = asyncio.Lock()

    async def asked(self, _: dict[str, Any] | None = None) -> dict[str, Any]:
        """Read the config file again and apply it; Denied says why nothing was changed."""
        if self._path is None:
            raise Denied("this station has no config file")
        try:
            async with self._turn:
                changed = await self._apply(await asyncio.to_thread(_read, self._path))
        except ConfigError as error:
            self._service.station.event(EventKind.RELOAD, f"refused, nothing was changed: {error}")
            raise Denied(f"nothing was changed:\n{error}", "config") from error
        return {"changed": changed}

    async def apply(self, new: StationConfig) -> list[str]:
        """Apply what differs in `new`, and restart only that; ConfigError where that is impossible: nothing changes."""
        async with self._turn:
            return await self._apply(new)

    async def _apply(self, new: StationConfig) -> list[str]:
        service, old = self._service, self._service.config
        if new.station != old.station or new.spool.path != old.spool.path:
            raise ConfigError(["another station name or spool file needs a restart: systemctl restart daq"])
        removed = [name for name in old.instruments if name not in new.instruments]
        changed = [n for n, table in new.instruments.items() if n in old.instruments and table != old.instruments[n]]
        added = [name for name in new.instruments if name not in old.instruments]
        gone = {kept.name: kept for kept in await service.supervisor.remove([*removed, *changed])}
        for kept in gone.values():
            await self._give_back(kept)
        service.config = new
        for name in (*changed, *added):
            service.follow(name, before=gone.get(name))
        changes = [f"{name} removed" for name in removed]
        changes += [f"{name} changed" for name in changed] + [f"{name} added" for name in added]
        if new.spool != old.spool:
            service.take_over_spool(new.spool)
            changes.append("spool changed")
        if new.broker != old.broker:
            await service.restart_publishing()
            changes.append("broker changed")
        service.station.event(EventKind.RELOAD, ", ".join(changes) or "nothing has changed")
        return changes

    async def _give_back(self, kept: Kept) -> None:
        """Let another instrument have the wire; a link that cannot be closed costs the others nothing."""
        if kept.follower is not None:
            link = kept.follower.instrument.link
            await self._service.parts[f"the link of {kept.name}"].once(lambda: self._service.wires.give_back(link))


def _read(path: Path) -> StationConfig:
    """Read and check everything that can be known before it is used; in a thread, for it may take a while."""
    config = load_station(path)
    config.broker.password()
    return config
