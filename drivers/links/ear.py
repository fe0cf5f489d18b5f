"""What a wire hands on of the bytes that come between two questions."""

from __future__ import annotations

from typing import Protocol


class Ear(Protocol):
    """Hears what comes although no question waits for it."""

    def hear(self, data: bytes) -> int:
        """Take bytes; gives how many of them are to be counted as unasked for all links of the wire."""

    def forget(self) -> int:
        """Forget what was heard and is incomplete, as a new question goes out; gives bytes as `hear` does."""
