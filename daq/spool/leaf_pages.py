"""Finds records in a damaged spool without its tree: page by page, each proven by its own checksum.

Where an inner page is damaged, hundreds of whole leaf pages cannot be reached any more. Their records are still there.
What was deleted or moved may lie there, too: it comes a second time, which is harmless.

Format: "B-tree Pages" and "Record Format", sqlite.org/fileformat2.html.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daq.spool.chain import Row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = 4096
WAL_HEADER, FRAME_HEADER = 32, 24
LEAF = 0x0D
LARGEST = PAGE - 35
"""Bytes of a record that lie in its page; of a longer one the rest lies elsewhere, and it is not found here."""
_WIDTHS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
_ZERO, _ONE = 8, 9


def whole_rows(path: Path) -> Iterator[Row]:
    """Give every whole record in the pages of a file and of its write-ahead log; OSError as the disk says."""
    log = path.with_name(path.name + "-wal")
    for file, start, step in ((path, 0, PAGE), (log, WAL_HEADER + FRAME_HEADER, PAGE + FRAME_HEADER)):
        if not file.exists():
            continue
        with file.open("rb") as stream:
            stream.seek(start)
            while len(page := stream.read(PAGE)) == PAGE:
                if page[0] == LEAF:
                    yield from _rows(page)
                stream.seek(step - PAGE, 1)


def _rows(page: bytes) -> Iterator[Row]:
    for number in range(int.from_bytes(page[3:5], "big")):
        pointer = page[8 + 2 * number : 10 + 2 * number]
        try:
            row = _row(page, int.from_bytes(pointer, "big"))
        except (IndexError, KeyError):
            continue  # no record of ours, or one that is damaged
        if row.whole:
            yield row


def _row(page: bytes, place: int) -> Row:
    """Read the cell at `place`; IndexError or KeyError where it is none of the table of records."""
    size, place = _varint(page, place)
    seq, place = _varint(page, place)
    if size > LARGEST or place + size > len(page):
        raise IndexError(size)
    header, types = place, []
    length, at = _varint(page, header)
    while at < header + length:
        kind, at = _varint(page, at)
        types.append(kind)
    if len(types) not in {4, 5} or types[0] != 0 or types[2] < 12 or types[2] % 2:
        raise KeyError(types[0])
    stamp, at = _integer(page, at, types[1])
    line, at = page[at : at + (types[2] - 12) // 2], at + (types[2] - 12) // 2
    crc, at = _integer(page, at, types[3])
    linked = len(types) == 5 and types[4] != 0
    return Row(seq, stamp, line, crc, page[at : at + (types[4] - 12) // 2] if linked else None)


def _varint(page: bytes, place: int) -> tuple[int, int]:
    value = 0
    for count in range(8):
        byte = page[place + count]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place + count + 1
    return value << 8 | page[place + 8], place + 9


def _integer(page: bytes, place: int, kind: int) -> tuple[int, int]:
    if kind in {_ZERO, _ONE}:
        return kind - _ZERO, place
    width = _WIDTHS[kind]
    return int.from_bytes(page[place : place + width], "big", signed=True), place + width
