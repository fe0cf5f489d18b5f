"""What bad wires, foreign devices and broken instruments make of an answer: cheap, and the same again from one seed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

from drivers.links.connection import LARGEST_ANSWER

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

_T = TypeVar("_T")

_NUMBER = re.compile(rb"[+-]?\d+(?:\.\d*)?(?:[Ee][+-]?\d+)?")
_WORD = re.compile(rb"[^A-Za-z]?([A-Za-z]+|[^A-Za-z])[^A-Za-z\r\n]?")
SPELLINGS = (
    *(b"inf -Infinity nan sNaN NaN123 #INF 1e999 1E-999 9.9E37 9.91E37 1.7976931348623159E308 -1E309 1e1000".split()),
    *(b"0x1F 1_000 1__0 _1 1d5 1,5 1.2.3 --5 +-5 . .5 5. 1e e5 1e+0005 -0 +0.000 00000 1E5 1e+ 100.00.00".split()),
    # Arabic and full-width digits, a superscript, a half, a minus that is none, an Arabic point.
    *("\u0661\u0662\u0663 \uff11\uff12 \xb2 \xbd \u22125 1\u066b5 0\u0661".encode().split()),
    *(b"", b"1" * 19, b"9" * 20, b"9" * 21, b"0." + b"3" * 21, b"9" * 400, b"\xb2", b"\xa05"),
    *(b"1 2", b" 5", b"5 ", b"\t5", b"5\n", b"***"),
)
"""Numbers as Python, C, other languages and other instruments write them, and what only looks like one."""
SINGLES = tuple(
    number.to_bytes(4, "big")
    for number in (
        *(0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC00000, 0x7F800001, 0xFFFFFFFF, 0x7F7FFFFF, 0xFF7FFFFF),
        *(0x00000001, 0x007FFFFF, 0x00800000, 0x80000000, 0x00000000, 0x4B7FFFFF, 0x3DCCCCCD, 0x7E967699),
    )
)
"""Borders of IEEE 754: infinities, both kinds of not-a-number, the largest, the smallest, both zeros."""
CONTROLS = b'\0\x01\x03\x04\x06\x08\t\n\x0b\x0c\r\x11\x13\x15\x1a\x1b\x1c\x1f\x7f\x80\x85\xa0\xff\r\n >*,;"'
_RARELY_LONG = 1 / 2000
"""Part of the inputs that grow to the largest answer: one of them costs as much as a thousand others."""


class Mutator:
    """An endless row of spoiled answers, made out of right ones."""

    def __init__(
        self,
        seeds: Sequence[bytes],
        dice: random.Random,
        *,
        foreign: Sequence[bytes] = (b"",),
        repair: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """`foreign` are answers of others; `repair` puts a right checksum on half of all, to reach what lies behind."""
        self._seeds = seeds
        self._random = dice.random
        self._bytes = dice.randbytes
        self._foreign = foreign
        self._repair = repair
        self._ways: tuple[Callable[[bytes], bytes], ...] = (
            self._flip,
            self._flip,
            self._change,
            self._change,
            self._cut,
            self._leave_out,
            self._merge,
            self._double,
            self._repeat,
            self._swap,
            self._insert,
            self._insert,
            self._respell,
            self._respell,
            self._put_single,
            self._noise,
            self._late,
        )

    def next(self) -> bytes:
        """Give the next input, at most as long as what a link hands on."""
        chance = self._random()
        if chance < _RARELY_LONG:
            raw = self._grow(self._one_of(self._seeds), LARGEST_ANSWER)
        elif chance < 0.002:
            raw = self._one_of((b"", b"\r\n", b"\r", b"\n", b"\0"))
        else:
            raw = self._one_of(self._seeds)
            for _ in range(1 + (chance > 0.6) + (chance > 0.85)):
                raw = self._one_of(self._ways)(raw)
        if self._repair is not None and self._random() < 0.5:
            raw = self._repair(raw)
        return raw[:LARGEST_ANSWER]

    def _below(self, limit: int) -> int:
        return int(self._random() * limit)

    def _one_of(self, many: Sequence[_T]) -> _T:
        return many[int(self._random() * len(many))]

    def _slice(self, raw: bytes, longest: int) -> tuple[int, int]:
        low = self._below(len(raw) + 1)
        return low, low + 1 + self._below(longest)

    def _flip(self, raw: bytes) -> bytes:
        if not raw:
            return raw
        place = self._below(len(raw))
        return b"%b%c%b" % (raw[:place], raw[place] ^ 1 << self._below(8), raw[place + 1 :])

    def _change(self, raw: bytes) -> bytes:
        place = self._below(len(raw) or 1)
        return b"%b%c%b" % (raw[:place], self._below(256), raw[place + 1 :])

    def _cut(self, raw: bytes) -> bytes:
        place = self._below(len(raw) + 1)
        return raw[:place] if self._random() < 0.5 else raw[place:]

    def _leave_out(self, raw: bytes) -> bytes:
        low, high = self._slice(raw, 4)
        return raw[:low] + raw[high:]

    def _merge(self, raw: bytes) -> bytes:
        other = self._one_of(self._seeds)
        return raw[: self._below(len(raw) + 1)] + other[self._below(len(other) + 1) :]

    def _double(self, raw: bytes) -> bytes:
        return raw + self._one_of((raw, self._one_of(self._seeds)))

    def _repeat(self, raw: bytes) -> bytes:
        return self._grow(raw, 1 + self._below(200))

    def _grow(self, raw: bytes, size: int) -> bytes:
        low, high = self._slice(raw, 12)
        piece = raw[low:high] or b" "
        return raw[:low] + piece * (size // len(piece)) + raw[low if self._random() < 0.7 else len(raw) :]

    def _swap(self, raw: bytes) -> bytes:
        low, high = self._slice(raw, 8)
        return raw[:low] + raw[high : 2 * high - low] + raw[low:high] + raw[2 * high - low :]

    def _insert(self, raw: bytes) -> bytes:
        place = self._below(len(raw) + 1)
        return b"%b%c%b" % (raw[:place], self._one_of(CONTROLS), raw[place:])

    def _respell(self, raw: bytes) -> bytes:
        found = [match.span() for match in _NUMBER.finditer(raw[:400])]
        low, high = self._one_of(found or [(0, len(raw))])
        spelling = self._one_of(SPELLINGS)
        if self._random() < 0.5:  # in the width of the field, or it would only show that the width is checked
            spelling = spelling.rjust(high - low)
            low = max(0, high - len(spelling))
        return raw[:low] + spelling + raw[high:]

    def _put_single(self, raw: bytes) -> bytes:
        place, single = 2 * self._below(len(raw) // 2 + 1), self._one_of(SINGLES)
        if self._random() < 0.5:
            single = single[2:] + single[:2]
        return raw[:place] + single + raw[place + 4 :]

    def _noise(self, raw: bytes) -> bytes:
        return self._bytes(self._one_of((len(raw), self._below(64))))

    def _late(self, raw: bytes) -> bytes:
        return self._one_of(self._one_of((self._seeds, self._foreign)))


def words(raw: bytes) -> list[tuple[int, int]]:
    """Find the words of an answer, bare and with the characters around them: where each begins and ends."""
    return sorted({match.span(group) for match in _WORD.finditer(raw) for group in (0, 1)})


def grown(raw: bytes, low: int, high: int) -> tuple[bytes, bytes]:
    """Repeat a word up to the largest answer, alone and in its place.

    A pattern whose search is quadratic in the length of the answer shows itself here.
    """
    many = raw[low:high] * (LARGEST_ANSWER // (high - low))
    return many, (raw[:low] + many + raw[high:])[:LARGEST_ANSWER]


def changed_bytes(raw: bytes) -> list[bytes]:
    """Give every answer that differs from `raw` in one byte: 255 for each of its bytes."""
    return [
        b"%b%c%b" % (raw[:place], byte, raw[place + 1 :])
        for place in range(len(raw))
        for byte in range(256)
        if byte != raw[place]
    ]


def crc16(data: bytes) -> bytes:
    """Reckon the checksum of Modbus RTU (MODBUS over serial line V1.02, 6.2.2) without the library under test."""
    crc = 0xFFFF
    for byte in data:
        crc = _CRC[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc.to_bytes(2, "little")


def _crc_of(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0xA001 if byte & 1 else 0)
    return byte


_CRC = [_crc_of(byte) for byte in range(256)]


def with_crc16(frame: bytes) -> bytes:
    """Put a right checksum in the place of the last two bytes."""
    return frame[:-2] + crc16(frame[:-2])


def with_sum(reply: bytes) -> bytes:
    """Put a right CS2 (the sum of all bytes before it, modulo 256, in two hex digits) before the line end."""
    body = reply.removesuffix(b"\r\n")[:-2]
    return b"%b%02X\r\n" % (body, sum(body) % 256)
