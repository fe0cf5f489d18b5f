"""How a command fails: with a message on standard error, and an exit code for the kind of failure."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from daq.config import ConfigError
from daq.spool.schema import SpoolError
from daq.station.control import ControlError

if TYPE_CHECKING:
    from collections.abc import Iterator

FAILED = 1
CONFIG = 78
"""EX_CONFIG of sysexits.h; systemd does not start a service again that ends with it."""


def fail(message: str, code: int = FAILED) -> NoReturn:
    """Print what is wrong and exit."""
    for line in message.splitlines():
        sys.stderr.write(f"daq: {line}\n")
    sys.exit(code)


@contextmanager
def config_errors() -> Iterator[None]:
    """Print every mistake of a config and exit with 78."""
    try:
        yield
    except ConfigError as error:
        fail(str(error), CONFIG)


@contextmanager
def spool_errors() -> Iterator[None]:
    """Print why the spool of a station cannot be reached and exit."""
    try:
        yield
    except FileNotFoundError as error:
        fail(f"{error.args[0]}: there is no such file; name the config of the station that keeps it")
    except (ControlError, SpoolError) as error:
        fail(str(error))
