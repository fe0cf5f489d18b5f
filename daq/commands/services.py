"""`daq run` and `daq bridge`: start a service and turn what it dies of into words and an exit code."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from daq.commands.failing import CONFIG, fail
from daq.config import BridgeConfig, ConfigError, load
from daq.installation import load_station
from daq.logs import Form, configure
from daq.spool import SpoolError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

log = logging.getLogger("daq")


def run_station_command(path: Path, form: Form, *, verbose: bool) -> None:
    """Run the station of a config."""
    configure(form, verbose=verbose)

    def start() -> Coroutine[Any, Any, None]:
        from daq.service import run_station

        config = load_station(path)
        config.broker.password()
        return run_station(config)

    _run(start)


def run_bridge_command(path: Path, form: Form, *, verbose: bool) -> None:
    """Run the bridge of a config."""
    configure(form, verbose=verbose)

    def start() -> Coroutine[Any, Any, None]:
        from daq.bridge_service import run_bridge

        return run_bridge(load(path, BridgeConfig))

    _run(start)


def _run(start: Callable[[], Coroutine[Any, Any, None]]) -> None:
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(start())
    except ConfigError as error:
        for problem in error.problems:
            log.critical("%s", problem)
        raise SystemExit(CONFIG) from None
    except SpoolError as error:
        log.critical("%s", error)
        raise SystemExit(1) from None
    except ExceptionGroup as group:
        expected, rest = group.split(SpoolError)
        if rest is not None or expected is None:
            raise
        fail(str(expected.exceptions[0]))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Give the loop of uvloop where it is installed: a third less processor time for each reading."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
