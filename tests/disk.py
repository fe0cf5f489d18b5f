"""A disk for tests under the real SQLite: it logs what happens to the files, and fails where it is told to.

SQLite reaches the disk through a table of functions, its VFS. `faulty_disk` puts a copy of that table before the
original one, so all that is above it runs as at a station: Python's own sqlite3 module and the library it has loaded.
Only files that SQLite itself handles are seen; what Python opens, renames or locks in the same folder is not.
"""

from __future__ import annotations

import ctypes
import math
import re
import sqlite3
from collections import Counter
from contextlib import contextmanager
from ctypes import CFUNCTYPE, c_char_p, c_int, c_int64, c_void_p
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Call = Literal["open", "delete", "read", "write", "truncate", "sync", "size"]
_CREATE = 0x4  # SQLITE_OPEN_CREATE
_JOURNALS = 0x800 | 0x4000 | 0x80000  # SQLITE_OPEN_MAIN_JOURNAL, _SUPER_JOURNAL, _WAL

_OPEN = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, c_void_p)
_DELETE = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int)
_TRANSFER = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
_TRUNCATE = CFUNCTYPE(c_int, c_void_p, c_int64)
_SYNC = CFUNCTYPE(c_int, c_void_p, c_int)
_SIZE = CFUNCTYPE(c_int, c_void_p, c_void_p)


class _Vfs(ctypes.Structure):
    """`sqlite3_vfs`, version 3, as in sqlite3.h; what stays the original's own has no name here."""

    _fields_ = (
        ("version", c_int),
        ("file_size", c_int),
        ("path_size", c_int),
        ("next", c_void_p),
        ("name", c_char_p),
        ("data", c_void_p),
        ("open", c_void_p),
        ("delete", c_void_p),
        ("others", c_void_p * 14),
    )


class _Methods(ctypes.Structure):
    """`sqlite3_io_methods`, version 3: what SQLite calls for an open file."""

    _fields_ = (
        ("version", c_int),
        ("close", c_void_p),
        ("read", c_void_p),
        ("write", c_void_p),
        ("truncate", c_void_p),
        ("sync", c_void_p),
        ("size", c_void_p),
        ("others", c_void_p * 12),
    )


@dataclass(frozen=True, slots=True)
class Operation:
    """What happened to a file, in the order of the calls; `number` is an offset, a size, or what the test marked.

    A sync or delete with `folder` has also made durable which files there are.
    """

    kind: Literal["there", "create", "write", "truncate", "sync", "delete", "mark"]
    name: str = ""
    number: int = 0
    data: bytes = b""
    folder: bool = False


_kept: list[object] = []
"""What a connection that outlives its test may still call: freed, it would take the process with it."""


class Disk:
    """The files of one folder: `log` is what happened to them, `calls` how often SQLite asked for what."""

    def __init__(self, folder: Path, below: int) -> None:
        """Begin with the files that lie in `folder`; `below` is the address of the VFS that does the work."""
        self.log = [Operation("there", path.name, data=path.read_bytes()) for path in _files(folder)]
        self.calls: Counter[Call] = Counter()
        self._faults: dict[Call, tuple[int, float, int]] = {}
        self._folder = folder.resolve()
        self._names: dict[int, str] = {}
        self._tables: dict[int, _Methods] = {}
        self._folder_not_synced: set[int] = set()
        self._below = below
        original = _Vfs.from_address(below)
        self.vfs = _Vfs.from_buffer_copy(original)
        self.vfs.version = min(3, original.version)
        self.vfs.name = b"faulty-disk"
        self._open_below: Any = _OPEN(original.open)
        self._delete_below: Any = _DELETE(original.delete)
        ours = _OPEN(self._open), _DELETE(self._delete)
        self.vfs.open, self.vfs.delete = (ctypes.cast(one, c_void_p).value for one in ours)
        _kept.append((self, ours))

    def mark(self, number: int) -> None:
        """Note in the log that something has happened, such as that a commit has returned."""
        self.log.append(Operation("mark", number=number))

    def fail(self, call: Call, k: int, code: int, times: float = 1) -> None:
        """Let the k-th `call` from now on, and the `times` - 1 after it, do nothing and return `code`."""
        first = self.calls[call] + k
        self._faults[call] = (first, first + times, code)

    def fail_for_ever(self, call: Call, k: int, code: int) -> None:
        """Let every `call` fail from the k-th on, until `heal`."""
        self.fail(call, k, code, math.inf)

    def heal(self) -> None:
        """Fail no more."""
        self._faults.clear()

    def _fault(self, call: Call) -> int:
        self.calls[call] += 1
        first, beyond, code = self._faults.get(call, (0, 0, 0))
        return code if first <= self.calls[call] < beyond else 0

    def _name(self, address: int | None) -> str | None:
        """Give the name of a file of our folder, None for all others: temporary ones have none at all."""
        path = Path(ctypes.string_at(address).decode()) if address else None
        return path.name if path is not None and path.parent == self._folder else None

    def _open(self, _: int, address: int | None, file: int, flags: int, flags_out: int | None) -> int:
        name = self._name(address)
        if name is None:
            return int(self._open_below(self._below, address, file, flags, flags_out))
        methods = c_void_p.from_address(file)
        methods.value = None
        if code := self._fault("open"):
            return code
        new = not (self._folder / name).exists()
        if code := int(self._open_below(self._below, address, file, flags, flags_out)):
            return code
        if new:
            self.log.append(Operation("create", name))
        self._names[file] = name
        # The first sync of a journal or WAL syncs its folder, too: see UNIXFILE_DIRSYNC in SQLite's os_unix.c.
        (self._folder_not_synced.add if flags & _CREATE and flags & _JOURNALS else self._folder_not_synced.discard)(
            file
        )
        methods.value = ctypes.addressof(self._table(methods.value or 0))
        return 0

    def _delete(self, _: int, address: int | None, folder: int) -> int:
        name = self._name(address)
        code = self._fault("delete") if name is not None else 0
        code = code or int(self._delete_below(self._below, address, folder))
        if name is not None and code == sqlite3.SQLITE_OK:
            self.log.append(Operation("delete", name, folder=bool(folder)))
        return code

    def _table(self, address: int) -> _Methods:
        """Give a copy of the methods at `address` with ours among them."""
        if address not in self._tables:
            original = _Methods.from_address(address)
            table = _Methods.from_buffer_copy(original)
            table.version = min(3, original.version)
            ours = {
                "read": self._wrapped("read", _TRANSFER(original.read), lambda *_: None),
                "write": self._wrapped("write", _TRANSFER(original.write), self._written),
                "truncate": self._wrapped("truncate", _TRUNCATE(original.truncate), self._truncated),
                "sync": self._wrapped("sync", _SYNC(original.sync), self._synced),
                "size": self._wrapped("size", _SIZE(original.size), lambda *_: None),
            }
            for name, one in ours.items():
                setattr(table, name, ctypes.cast(one, c_void_p).value)
            _kept.append(ours)
            self._tables[address] = table
        return self._tables[address]

    def _wrapped(self, call: Call, original: Any, note: Callable[..., None]) -> Any:
        def run(file: int, *values: int) -> int:
            code = self._fault(call) or int(original(file, *values))
            if code == sqlite3.SQLITE_OK:
                note(file, *values)
            return code

        return type(original)(run)

    def _written(self, file: int, data: int, size: int, offset: int) -> None:
        self.log.append(Operation("write", self._names[file], offset, ctypes.string_at(data, size)))

    def _truncated(self, file: int, size: int) -> None:
        self.log.append(Operation("truncate", self._names[file], size))

    def _synced(self, file: int, _: int) -> None:
        self.log.append(Operation("sync", self._names[file], folder=file in self._folder_not_synced))
        self._folder_not_synced.discard(file)


@contextmanager
def faulty_disk(folder: Path) -> Iterator[Disk]:
    """Let every file that SQLite opens in `folder` from now on lie on a disk of ours."""
    library = _library(Path("/proc/self/maps").read_text())
    below = library.sqlite3_vfs_find(None)
    disk = Disk(folder, below)
    library.sqlite3_vfs_register(ctypes.byref(disk.vfs), 1)
    try:
        yield disk
    finally:
        library.sqlite3_vfs_unregister(ctypes.byref(disk.vfs))
        library.sqlite3_vfs_register(below, 1)


def _library(maps: str) -> ctypes.CDLL:
    """Give the SQLite that Python's sqlite3 has loaded, found in the map of this process."""
    for path in sorted(set(re.findall(r"/\S*/libsqlite3[^/\s]*\.so[^/\s]*", maps))):
        library = ctypes.CDLL(path)
        library.sqlite3_libversion.restype = c_char_p
        if library.sqlite3_libversion().decode() == sqlite3.sqlite_version:
            library.sqlite3_vfs_find.argtypes, library.sqlite3_vfs_find.restype = [c_char_p], c_void_p
            library.sqlite3_vfs_register.argtypes = [c_void_p, c_int]
            library.sqlite3_vfs_unregister.argtypes = [c_void_p]
            return library
    raise RuntimeError(
        "this Python has SQLite inside itself, not as libsqlite3.so: no disk of ours can be put under it; "
        "use a Python whose _sqlite3 is linked with the system's library"
    )


def _files(folder: Path) -> list[Path]:
    """Name what a power cut leaves: not the -shm, which is memory that SQLite makes anew."""
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.endswith("-shm"))
