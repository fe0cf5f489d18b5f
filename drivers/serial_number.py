"""Which answers to the question for a serial number identify an instrument, and which could come from any."""

from __future__ import annotations

import re

ANONYMOUS = "it could come from any instrument; write identified = false to store its readings unidentified"

_LABEL = r"(?:s[./]?n[.:]?|serial(?:[ _-]?(?:number|num|no\.?|nr\.?))?|no\.?|nr\.?|\#)"
_WORD = r"""(?:
    n[./]?a[.n]?
    | none | null | nil | unknown | undef(?:ined)? | unspecified | invalid | error | empty | blank | default | tbd
    | un(?:available|assigned|set|programmed)
    | not?[ _-]?(?:set|available|assigned|programmed|present|found|known|applicable)
    | not?[ _-]?(?:serial(?:[ _-]?(?:number|no\.?))?|s/?n)
    | (?:0x)?f{4,}  # memory that was never written
)"""
_NOTHING = re.compile(
    rf"""
    {_LABEL}?[0x\W_]*  # the label of a number with nothing behind it, zeros, the X of an empty form, marks
    | (?:{_LABEL}[\W_]*)? {_WORD} (?:[\W_]+(?:{_WORD}|[0x]+))* [\W_]*
    # Memory that was never written, as a number; "SN-1" and "SN65535" may be real.
    | (?:{_LABEL}[\s:=]+)? (?:-1|65535|4294967295)
    """,
    re.IGNORECASE | re.VERBOSE,
)


def identifies(serial: str) -> bool:
    """Whether a serial number can be that of one instrument alone.

    A Keysight 34401A answers 0 (its `*IDN?` has no serial number); others answer zeros, N/A, None, Unknown or nothing,
    and a memory that was never written gives its highest number.
    """
    return _NOTHING.fullmatch(serial.strip().strip("\"'<>()[]").strip()) is None
