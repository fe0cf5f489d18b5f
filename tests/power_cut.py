"""What lies on a disk after a power cut, out of the log that `tests.disk` has made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Iterator

    from tests.disk import Operation

SECTOR = 512


@dataclass(eq=False)
class _File:
    """What is safe of a file, and what was done to it since: (offset, bytes), or (size, None) for a truncation."""

    safe: bytearray = field(default_factory=bytearray)
    loose: list[tuple[int, bytes | None]] = field(default_factory=list)

    def sync(self) -> None:
        _apply(self.safe, self.loose)
        self.loose.clear()

    def cut(self, share: float, dice: random.Random) -> bytes:
        """Give the safe part and of the rest the sectors that had reached the disk, about `share` of them."""
        reached = [piece for piece in _sectors(self.loose) if dice.random() < share]
        dice.shuffle(reached)
        content = bytearray(self.safe)
        _apply(content, reached)
        return bytes(content)


def _sectors(loose: list[tuple[int, bytes | None]]) -> Iterator[tuple[int, bytes | None]]:
    for offset, data in loose:
        if data is None:
            yield offset, None
            continue
        place = 0
        while place < len(data):
            size = SECTOR - (offset + place) % SECTOR
            yield offset + place, data[place : place + size]
            place += size


def _apply(content: bytearray, changes: Iterable[tuple[int, bytes | None]]) -> None:
    for offset, data in changes:
        content.extend(bytes(max(0, offset - len(content))))
        if data is None:
            del content[offset:]
        else:
            content[offset : offset + len(data)] = data


class _Platter:
    """The files as the program sees them (`names`), as they are safe on the disk, and the changes between the two."""

    def __init__(self, log: Iterable[Operation]) -> None:
        self.names: dict[str, _File] = {}
        self.safe: dict[str, _File] = {}
        self.loose: list[tuple[str, _File | None]] = []
        for one in log:
            self._take(one)

    def _take(self, one: Operation) -> None:
        match one.kind:
            case "there":
                self.names[one.name] = self.safe[one.name] = _File(bytearray(one.data))
            case "create":
                self.names[one.name] = _File()
                self.loose.append((one.name, self.names[one.name]))
            case "delete":
                del self.names[one.name]
                self.loose.append((one.name, None))
            case "write":
                self.names[one.name].loose.append((one.number, one.data))
            case "truncate":
                self.names[one.name].loose.append((one.number, None))
            case "sync":
                self.names[one.name].sync()
            case "mark":
                pass
        if one.folder:
            self.safe = dict(self.names)
            self.loose.clear()


def replay(log: Iterable[Operation]) -> dict[str, bytes]:
    """Give the files with everything that was written, as if each had been synced."""
    files = _Platter(log).names
    for file in files.values():
        file.sync()
    return {name: bytes(file.safe) for name, file in files.items()}


def cut(log: list[Operation], position: int, dice: random.Random) -> dict[str, bytes]:
    """Give what lies on the disk where the power went before operation `position` of the log.

    That is all that was synced. Of the rest each sector of 512 bytes, each truncation and each change of the folder may
    have happened or not, in any order.
    """
    platter = _Platter(log[:position])
    share = dice.choice((0.0, 0.5, 0.97, 1.0, dice.random()))
    names = dict(platter.safe)
    for name, file in platter.loose:
        if dice.random() >= share:
            continue
        if file is None:
            names.pop(name, None)
        else:
            names[name] = file
    return {name: file.cut(share, dice) for name, file in names.items()}
