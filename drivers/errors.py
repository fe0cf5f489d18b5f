"""What can go wrong between a question and a Sample.

    InstrumentError
    ├── Silent        the wire is there, the answer is not (time-out)
    ├── Lost          the wire itself is gone (refused, unplugged, closed by the peer)
    ├── Unreadable    an answer came and is not what the manual says
    └── Impostor      the instrument that answers is not the one in the register

The quality of a value (unstable, overrange, ...) is data, see `drivers.sample.Status`, and never an error.
"""

from __future__ import annotations


class InstrumentError(Exception):
    """An instrument could not be read; the message says what happened, in words for the lab."""


class Silent(InstrumentError):
    """No complete answer within the time-out of the query."""


class Lost(InstrumentError):
    """The link could not be opened, or broke."""


class Unreadable(InstrumentError):
    """The answer does not have the form that the manual gives; `raw` keeps it for the record."""

    def __init__(self, message: str, raw: bytes = b"") -> None:
        super().__init__(message)
        self.raw = raw


class Impostor(InstrumentError):
    """The serial number read from the wire is not the expected one."""
