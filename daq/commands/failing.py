"""How a command ends where it cannot go on: in words on standard error, and with the exit code that says why."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from daq.config import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

FAILED = 1
CONFIG = 78
"""EX_CONFIG of sysexits.h; systemd does not start a service again that ends with it."""


def fail(message: str, code: int = FAILED) -> NoReturn:
    """Say what is wrong and end."""
    for line in message.splitlines():
        sys.stderr.write(f"daq: {line}\n")
    sys.exit(code)


@contextmanager
def config_errors() -> Iterator[None]:
    """End with every mistake of a config and exit code 78."""
    try:
        yield
    except ConfigError as error:
        fail(str(error), CONFIG)
