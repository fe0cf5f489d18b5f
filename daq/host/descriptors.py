"""Which files and connections this process may have open, and how many at once."""

from __future__ import annotations

import logging
import os
import resource

log = logging.getLogger(__name__)

ENOUGH = 2**20
"""More are not asked for: some systems allow a thousand million, and a table for them costs memory."""


def allow_many() -> int:
    """Raise the soft limit of open files to the hard one; gives what is allowed now, 0 where that is unknown.

    The soft limit is mostly 1024, for programs that use select(2). Here only VXI-11 in pyvisa-py does: a link of it
    with a higher descriptor fails, and no other part.
    """
    soft = 0
    try:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return wanted
    except (OSError, ValueError) as error:
        log.warning("only %d files can be open at once: %s", soft, error)
    return soft


def open_standard() -> None:
    """Open standard input, output and error on /dev/null where they are closed.

    Else the next file or socket that is opened takes their number, and gets what is meant for a terminal.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
