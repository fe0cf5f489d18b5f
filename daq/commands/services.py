"""`daq run` and `daq bridge`: start a service; an error that ends it becomes a message and an exit code."""

from __future__ import annotations

import asyncio
import codecs
import logging
import sys
from typing import TYPE_CHECKING, Any

from daq.commands.failing import CONFIG, FAILED
from daq.config import BridgeConfig, ConfigError, check_files, load
from daq.host.descriptors import allow_many, open_standard
from daq.host.logs import Form, configure
from daq.spool.queue import SpoolError
from daq.station.installation import load_station

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

log = logging.getLogger("daq")


def run_station_command(path: Path, form: Form, *, verbose: bool) -> None:
    """Run the station of a config."""
    open_standard()
    configure(form, verbose=verbose)

    def start() -> Coroutine[Any, Any, None]:
        from daq.station.service import run_station

        config = load_station(path)
        check_files(path, config)
        return run_station(config, path)

    _run(start)


def run_bridge_command(path: Path, form: Form, *, verbose: bool) -> None:
    """Run the bridge of a config."""
    open_standard()
    configure(form, verbose=verbose)

    def start() -> Coroutine[Any, Any, None]:
        from daq.bridge.service import run_bridge

        config = load(path, BridgeConfig)
        check_files(path, config)
        return run_bridge(config)

    _run(start)


def _run(start: Callable[[], Coroutine[Any, Any, None]]) -> None:
    allow_many()
    for codec in ("idna", "unicode_escape"):  # a codec is a file, which could not be opened where no descriptor is free
        codecs.lookup(codec)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(start())
    except* ConfigError as group:
        for problem in str(_first(group)).splitlines():
            log.critical("%s", problem)
        sys.exit(CONFIG)
    except* SpoolError as group:
        log.critical("%s", _first(group))
        sys.exit(FAILED)
    except* (
        Exception
    ) as group:  # told by the log, behind the lines that still wait: the interpreter would write between
        log.critical("daq ends: %s", _first(group), exc_info=_first(group))
        sys.exit(FAILED)


def _first(error: BaseException) -> BaseException:
    """Give the first error of a group in which a TaskGroup raised it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Give the loop of uvloop where it is installed: a third less processor time for each reading."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
