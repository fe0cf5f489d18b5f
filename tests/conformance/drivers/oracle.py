"""What an answer says by its manual, read a second time: by position and digit, without a line of the drivers' code.

It is kept simple, and reads without regular expressions and Decimal: an oracle that shares code shares errors.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from drivers.sample import Sample, Status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drivers.driver import Channel, Poll

DIGITS = "0123456789"
UNITS = {"g": "g", "mg": "mg", "kg": "kg", "hPa": "hPa", "'C": "Cel", "%RH": "%"}
FAULTS = (1, 2, 3, 9, 10, 11, 12, 14, 15)
LARGEST = Fraction((2**24 - 1) * 2**104)
NONE = (Fraction(991) * 10**35, LARGEST)


@dataclass(frozen=True)
class Said:
    """What one channel says; `unit` is None where it could be shown and is not, `within` how exactly it is known."""

    status: str
    value: Fraction | None = None
    unit: str | None = ""
    within: Fraction = Fraction(0)


def judge(poll: Poll[Any], samples: tuple[Sample, ...], said: list[Said] | None) -> None:
    """Fail where accepted samples are not well-formed, or are not what the answer says."""
    assert said is not None, "taken, and not in the grammar of the manual"
    assert len(samples) == len(said)
    for channel, sample, right in zip(poll.channels, samples, said, strict=True):
        assert type(sample) is Sample
        assert type(sample.status) is Status
        status = right.status if right.value is None or _is_natural(channel, right.value) else "IMPLAUSIBLE"
        assert sample.status.name == status, f"{channel.name} is {sample}, and the answer says {right}"
        assert (sample.value is None) == (right.value is None)
        if sample.value is None or right.value is None:
            assert sample.unit in {"", channel.unit}
            continue
        number = float(sample.value)
        assert math.isfinite(number), f"{sample.value} is stored as {number}"
        assert number or not sample.value, f"{sample.value} is stored as 0"
        assert re.fullmatch(r"-?\d+(\.\d+)?(E[+-]\d+)?", str(sample.value), re.ASCII)
        assert sample.unit == right.unit, f"{channel.name} is {sample}, and the answer says {right}"
        assert sample.unit in {channel.unit, None}, f"{channel.name} is in {sample.unit}"
        off = abs(Fraction(sample.value) - right.value)
        assert off <= right.within, f"{channel.name} is {sample.value}, and the answer says {float(right.value)!r}"


def _is_natural(channel: Channel, value: Fraction) -> bool:
    """Whether the value can be that of a temperature in degrees Celsius, or of a relative humidity in percent."""
    lowest, highest = {"Cel": (Fraction(-27315, 100), None), "%": (Fraction(-100), 1000)}.get(
        channel.unit, (None, None)
    )
    return (lowest is None or value >= lowest) and (highest is None or value <= highest)


def says(name: str, raw: bytes, options: Mapping[str, Any]) -> list[Said] | None:  # noqa: PLR0911  # one a command set
    """Read an answer to a poll; None where the manual does not know it."""
    match name:
        case "keller-33x":
            return _registers(raw, [(0, "bar"), (4, "Cel")], 8, low_first=False)
        case "vaisala-hmp":
            return _registers(raw, [(0, "%"), (4, "Cel")], 8, low_first=True)
        case "modbus-singles":
            places = [(4 * index, "1") for index in range(options.get("count", 1))]
            return _registers(raw, places, 4 * len(places), low_first=options.get("words") == "low first")
    end = {"milli-k": "\r", "scpi-dmm": "\n"}.get(name, "\r\n")
    if name == "scpi-dmm" and raw.endswith(b"\r\n"):
        end = "\r\n"
    text = raw.decode("latin-1")
    if not text.endswith(end) or any(not " " <= letter <= "~" for letter in text[: -len(end)]):
        return None
    text = text[: -len(end)]
    match name:
        case "mt-sics":
            return _mt_sics(text)
        case "sartorius-sbi":
            return _sbi(text)
        case "scpi-dmm":
            return _scpi(text)
        case "milli-k":
            ohms = _plain(text, 5)
            return _good(ohms if ohms is not None and -1 <= ohms <= 506 else None, "Ohm")
        case "digiquartz":
            return _good(_plain(text[5:], 3), "hPa") if text[:5] == "*0001" else None
        case "vaisala-ptu":
            return _vaisala(text)
    raise KeyError(name)  # a driver without an oracle


def _good(value: Fraction | None, unit: str) -> list[Said] | None:
    return None if value is None else [Said("GOOD", value, unit)]


def _integer(text: str) -> int | None:
    total = 0
    for letter in text:
        if letter not in DIGITS:
            return None
        total = total * 10 + DIGITS.index(letter)
    return total if text else None


def _plain(text: str, decimals: int | None = None) -> Fraction | None:
    """Read minus, digits, point, digits; no zero before another digit."""
    negative = text[:1] == "-"
    before, point, behind = text[negative:].partition(".")
    whole, part = _integer(before), _integer(behind) if point else 0
    if whole is None or part is None or len(before) > 20 or len(behind) > 20:
        return None
    if (before[0] == "0" and len(before) > 1) or (decimals is not None and len(behind) != decimals):
        return None
    value = whole + Fraction(part, 10 ** len(behind))
    return -value if negative else value


def _none_or(value: Fraction, unit: str, within: Fraction = Fraction(0)) -> Said:
    """Apply the rule for numbers that mean none."""
    size = abs(value)
    if any(abs(size - one) * 10**6 <= one for one in NONE) or 0 < size < Fraction(1, 2**126):
        return Said("INVALID")
    if size >= 10**37:
        return Said("OVERRANGE" if value > 0 else "UNDERRANGE")
    return Said("GOOD", value, unit, within)


def _mt_sics(text: str) -> list[Said] | None:
    words = {"S +": "OVERRANGE", "S -": "UNDERRANGE", "S I": "INVALID"}
    if text in words:
        return [Said(words[text])]
    if text[:4] == "S S " and text[4:].lstrip(" ") in {f"Error {code}{letter}" for code in FAULTS for letter in "tb"}:
        return [Said("INVALID")]
    if text[:4] not in {"S S ", "S D "} or len(text) < 16 or text[14] != " ":
        return None
    value = _plain(text[4:14].lstrip(" "))
    unit = UNITS.get(text[15:])
    if value is None or unit is None:
        return None
    return [Said("GOOD" if text[2] == "S" else "UNSTABLE", value, unit)]


def _sbi(text: str) -> list[Said] | None:  # noqa: PLR0911  # one for each form
    if len(text) > 20:
        return None
    words = text.split(" ")
    words = [word for word in words if word]
    states = {"High": "OVERRANGE", "H": "OVERRANGE", "Low": "UNDERRANGE", "L": "UNDERRANGE"}
    states |= dict.fromkeys(("Cal.Int.", "Cal.Ext.", "C", "OFF", "HH", "LL", "--"), "INVALID")
    if text[:5] == "Stat " and len(words) == 2 and words[1] in states:
        return [Said(states[words[1]])]
    if len(text) == 14 and text[0] == " " and len(words) == 1 and words[0] in states:
        return [Said(states[words[0]])]
    if text in {" " * 14, "Stat" + " " * 16} or _is_error(text, words):
        return [Said("INVALID")]
    if len(text) == 20:
        if text[:6] not in {"N     ", "N1    "}:
            return None
        text = text[6:]
    if len(text) != 14 or text[0] not in "+- " or text[10] != " ":
        return None
    value, unit = _plain(text[1:10].strip(" ")), text[11:].rstrip(" ")
    if value is None or text[1:10].strip(" ")[0] == "-" or (unit and unit not in UNITS):
        return None
    value = -value if text[0] == "-" else value
    return [Said("GOOD", value, UNITS[unit])] if unit else [Said("UNSTABLE", value, None)]


def _is_error(text: str, words: list[str]) -> bool:
    if text[:5] == "Stat ":
        words = words[1:]
    numbered = len(words) == 2 and len(words[1]) <= 3 and _integer(words[1]) is not None
    if words[:1] in (["Err"], ["ERR"]):
        return numbered
    return words[:1] in (["APP.ERR"], ["DIS.ERR"], ["PRT.ERR"]) and (numbered or len(words) == 1)


def _scpi(text: str) -> list[Said] | None:
    number, _, function = text.partition(";")
    function = function.removeprefix(" ")
    sign = number[:1] if number[:1] in {"+", "-"} else ""
    mantissa, _, exponent = number[len(sign) :].partition("E")
    power_sign = exponent[:1] if exponent[:1] in {"+", "-"} else ""
    power = exponent[len(power_sign) :]
    before, point, behind = mantissa.partition(".")
    size, significant = _integer(power), _integer(before + behind)
    right = function == '"FRES"' and len(power) == 2 and len(before) == 1 and len(behind) < 16 and (behind or not point)
    if not right or size is None or significant is None:
        return None
    value = Fraction(significant, 10 ** len(behind)) * Fraction(10) ** (-size if power_sign == "-" else size)
    if before == "0" and significant:
        return None
    said = _none_or(-value if sign == "-" else value, "Ohm")
    if said.value is not None and not -(10**12) < said.value < 10**12:
        return None
    fixed = sign and power_sign and len(behind) == 8
    return [said] if fixed or said.value is None else None


def _vaisala(text: str) -> list[Said] | None:
    message = text[:-2]
    total = 0
    for letter in message:
        total = (total + ord(letter)) % 256
    hexadecimal = "0123456789ABCDEF"
    if text[-2:] != hexadecimal[total // 16] + hexadecimal[total % 16]:
        return None
    fields = [("P=", 12, 3, 4), ("T=", 11, 3, 3), ("RH=", 9, 2, 4)]
    if found := _fields(message, fields[:1]):
        return found
    message, flags = message[:-4], message[-4:]
    before = message.rstrip(" .0123456789")
    state, number = before[-1:], message[len(before) :]
    if set(flags) - {"0", "1"} or len(flags) < 4 or state not in set("NhHSX") or not 2 <= len(number) <= 7:
        return None
    if not number.startswith(" ") or (found := _fields(before[:-1], fields)) is None:
        return None
    bad = [state in "HSX" or flag == "1" for flag in (flags[0], flags[1], flags[3])]
    return [Said("INVALID") if wrong else one for one, wrong in zip(found, bad, strict=True)]


def _fields(message: str, fields: list[tuple[str, int, int, int]]) -> list[Said] | None:
    """Take the fields from the last to the first: no character of a value is one of a label."""
    found: list[Said] = []
    for label, width, decimals, unit_width in reversed(fields):
        before, unit = message[:-unit_width], message[-unit_width:]
        label_and_field, blank = before[:-1], before[-1:]
        rest = label_and_field.rstrip(" *.-" + DIGITS)
        field = label_and_field[len(rest) :]
        if len(unit) != unit_width or blank != " " or not rest.endswith(label):
            return None
        message = rest[: -len(label)]
        if "*" in field and not field.strip(" *."):
            found.insert(0, Said("INVALID"))
            continue
        value = _plain(field.lstrip(" "), decimals)
        if value is None or len(field) != width or unit.rstrip(" ") not in {"hPa", "'C", "%RH"}:
            return None
        found.insert(0, Said("GOOD", value, UNITS[unit.rstrip(" ")]))
    return None if message else found


def _registers(raw: bytes, places: list[tuple[int, str]], size: int, *, low_first: bool) -> list[Said] | None:
    if len(raw) != size:
        return None
    return [_single(raw[place : place + 4], unit, low_first=low_first) for place, unit in places]


def _single(raw: bytes, unit: str, *, low_first: bool) -> Said:
    """Take the parts of an IEEE 754 single by hand: sign, eight bits of exponent, 23 of fraction."""
    order = (2, 3, 0, 1) if low_first else (0, 1, 2, 3)
    bits = 0
    for place in order:
        bits = bits * 256 + raw[place]
    negative, power, rest = bits >> 31, bits >> 23 & 255, bits & 0x7FFFFF
    if power == 255:
        return Said("INVALID" if rest else "UNDERRANGE" if negative else "OVERRANGE")
    value = Fraction(rest + (2**23 if power else 0)) * Fraction(2) ** (max(power, 1) - 150)
    step = Fraction(2) ** (max(power, 1) - 150)
    return _none_or(-value if negative else value, unit, step / 2)
