"""What can go wrong between a question and a Sample.

    InstrumentError
    ├── Silent        the wire is connected, but no answer came (time-out)
    │   └── Unsettled      nothing may be asked yet: answers to earlier questions may still come
    ├── Lost          the wire is not connected (refused, unplugged, closed by the peer)
    ├── Unreadable    an answer came, but not in the form that the manual gives
    │   └── WrongSetting   it has that form, and shows another unit, function or setting than is expected
    │       └── Altered    a proof shows so, after an earlier one has shown the right setting
    └── Impostor      another instrument answers: not the serial number in the config

The quality of a value (unstable, overrange, ...) is data, see `drivers.sample.Status`, and never an error.
"""

from __future__ import annotations


class InstrumentError(Exception):
    """An instrument could not be read; the message says what happened, for the users in the lab."""


class Silent(InstrumentError):
    """No complete answer within the time-out of the query."""


class Unsettled(Silent):
    """Answers to earlier questions may still come, and could be taken for that of any question: nothing was asked."""


class Lost(InstrumentError):
    """The link could not be opened, or the connection was lost."""


class Unreadable(InstrumentError):
    """The answer does not have the form that the manual gives; `raw` contains it, to be stored in the event."""

    def __init__(self, message: str, raw: bytes = b"") -> None:
        super().__init__(message)
        self.raw = raw


class WrongSetting(Unreadable):
    """A well-formed answer shows that the instrument is not set as expected: another unit, function or range."""


class Altered(WrongSetting):
    """The setting was proved, and is another one now: what was read in between may be wrong."""


class Impostor(InstrumentError):
    """The serial number read from the wire is not the expected one."""
