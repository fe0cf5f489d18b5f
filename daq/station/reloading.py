"""Takes over a changed config while the station runs: what differs is restarted, and nothing else; one at a time."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from daq.config import ConfigError, check_files
from daq.host.clock import wait
from daq.host.threads import in_thread
from daq.road.reading import EventKind
from daq.station.control import Denied
from daq.station.installation import load_station
from daq.station.kept import NOTHING_LEFT, Left

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from daq.config import InstrumentTable, SpoolTable, StationConfig
    from daq.station.kept import Kept
    from daq.station.records import Station
    from daq.station.supervision import Supervisor
    from drivers.instrument import Link


GIVE_UP_WITHIN = 6.0
"""Seconds that are waited for the end of a change where the station stops."""


class Service(Protocol):
    """The running service whose config changes."""

    config: StationConfig
    station: Station
    supervisor: Supervisor

    def follow(self, name: str, left: Left = NOTHING_LEFT) -> None:
        """Follow an instrument of the config; `left` is what the one has left that it replaces."""

    async def give_back(self, name: str, link: Link[Any]) -> None:
        """Let another instrument have the wire of this one."""

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
        self._changing: asyncio.Task[Any] | None = None
        self._stopping = False

    async def asked(self, _: dict[str, Any] | None = None) -> dict[str, Any]:
        """Read the config file again and apply it; Denied says why nothing was changed."""
        if self._path is None:
            raise Denied("this station has no config file")
        try:
            async with self._turn:
                changed = await self._apply(await in_thread(partial(_read, self._path)))
        except ConfigError as error:
            self._service.station.event(EventKind.RELOAD, f"refused, nothing was changed: {error}")
            raise Denied(f"nothing was changed:\n{error}", "config") from error
        return {"changed": changed}

    async def apply(self, new: StationConfig) -> list[str]:
        """Apply what differs in `new`, and restart only that; ConfigError where that is impossible: nothing changes."""
        async with self._turn:
            return await self._apply(new)

    async def give_up(self) -> None:
        """End a change that is under way: what it has ended is followed again, and ends with the others."""
        self._stopping = True
        if (task := self._changing) is not None:
            task.cancel()
            await wait(self._service.station.clock, [task], GIVE_UP_WITHIN)

    async def _apply(self, new: StationConfig) -> list[str]:
        service, old = self._service, self._service.config
        if self._stopping:
            raise Denied("the station stops: nothing was changed")
        if fixed := [key for key, one, other in _fixed(old, new) if one != other]:
            keys = ", ".join(fixed)
            raise ConfigError([f"{self._path}: {keys}: another value needs a restart: systemctl restart daq"])
        followed = list(service.supervisor.followers)
        removed = [name for name in followed if name not in new.instruments]
        changed = [n for n, table in new.instruments.items() if n in followed and table != old.instruments.get(n)]
        added = [name for name in new.instruments if name not in followed]
        before = old.instruments
        same = {name for name in changed if name in before and _at(before[name]) == _at(new.instruments[name])}
        gone = await self._end([*removed, *changed], same)
        service.config = old.model_copy(update={"instruments": new.instruments})
        for name in changed:
            service.follow(name, gone[name].hand_on(same=name in same) if name in gone else NOTHING_LEFT)
        for name in added:
            service.follow(name)
        changes = [f"{name} removed" for name in removed]
        changes += [f"{name} changed" for name in changed] + [f"{name} added" for name in added]
        if new.spool != old.spool:
            service.take_over_spool(new.spool)
            changes.append("spool changed")
        if new.broker != old.broker:
            service.config = service.config.model_copy(update={"broker": new.broker})
            await service.restart_publishing()
            changes.append("broker changed")
        service.config = new
        service.station.event(EventKind.RELOAD, ", ".join(changes) or "nothing has changed")
        return changes

    async def _end(self, names: Sequence[str], same: set[str]) -> dict[str, Kept]:
        """End these and give their wires back; where that fails, or is given up, nothing was changed: all go on.

        `same` are those with which somebody goes on as the same instrument, at the same place.
        """
        service = self._service
        self._changing = asyncio.current_task()
        removing = asyncio.ensure_future(service.supervisor.remove(names, for_good=set(names) - same))
        try:
            gone = await asyncio.shield(removing)
            for kept in gone:
                if kept.follower is not None:
                    await service.give_back(kept.name, kept.follower.instrument.link)
        except BaseException:  # also where the station stops now
            await asyncio.wait([removing])
            ended = [] if removing.cancelled() or removing.exception() else removing.result()
            left = {kept.name: kept.hand_on(same=True) for kept in ended}
            for name in names:
                service.follow(name, left.get(name, NOTHING_LEFT))
            raise
        finally:
            self._changing = None
        return {kept.name: kept for kept in gone}


def _at(table: InstrumentTable) -> tuple[object, ...]:
    """Say which instrument a table means."""
    return table.driver, table.address, table.unit, table.serial


def _fixed(old: StationConfig, new: StationConfig) -> list[tuple[str, object, object]]:
    """Give what a running station cannot change: key, old value, new value."""
    return [
        ("station", old.station, new.station),
        ("[spool] path", old.spool.path, new.spool.path),
        ("[spool] ballast", old.spool.ballast, new.spool.ballast),
    ]


def _read(path: Path) -> StationConfig:
    """Read and check everything that can be known before it is used; in a thread, for a file may hang."""
    config = load_station(path)
    check_files(path, config)
    return config
