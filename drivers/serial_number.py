"""Which answers to the question for a serial number identify an instrument, and which could come from any."""

from __future__ import annotations

import re

ANONYMOUS = "it could come from any instrument; write identified = false to store its readings unidentified"

_NOTHING = re.compile(
    r"[0\W_]*|n/?a|none|null|nil|unknown|undefined|not[ _-]?(?:set|available)|no[ _-]?serial|x+", re.IGNORECASE
)


def identifies(serial: str) -> bool:
    """Whether a serial number can be that of one instrument alone.

    A Keysight 34401A answers 0 (its `*IDN?` has no serial number); others answer zeros, N/A, None, Unknown or nothing.
    """
    return _NOTHING.fullmatch(serial.strip()) is None
