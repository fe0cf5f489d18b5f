"""Which answers to the question for a serial number identify an instrument, and which could come from any."""

from __future__ import annotations

import re

ANONYMOUS = "it could come from any instrument; write identified = false to store its readings unidentified"

_NOTHING = re.compile(
    r"""
    # the label of a number with nothing behind it, zeros, the X of an empty form, marks
    (?:s[./]?n[.:]?|serial(?:[ _-]?(?:number|num|no\.?|nr\.?))?|no\.?|nr\.?|\#)?[0x\W_]*
    | n[./]?a[.n]?
    | none | null | nil | unknown | undef(?:ined)? | unspecified | invalid | error | empty | blank | default | tbd
    | un(?:available|assigned|set|programmed)
    | not?[ _-]?(?:set|available|assigned|programmed|present|found|known|serial(?:[ _-]?(?:number|no\.?))?|s/?n)
    | f{4,}  # memory that was never written
    """,
    re.IGNORECASE | re.VERBOSE,
)


def identifies(serial: str) -> bool:
    """Whether a serial number can be that of one instrument alone.

    A Keysight 34401A answers 0 (its `*IDN?` has no serial number); others answer zeros, N/A, None, Unknown or nothing.
    """
    return _NOTHING.fullmatch(serial.strip().strip("\"'<>()[]").strip()) is None
