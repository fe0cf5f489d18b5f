"""Finds whole Modbus frames among the bytes that come between two questions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivers.links.modbus_frames import TcpFrame, frame_in_front, frame_may_follow

if TYPE_CHECKING:
    from collections.abc import Callable

    from drivers.links.modbus_frames import Overheard


class RtuEar:
    """On RTU a frame is known by its checksum; a few bytes just behind it come from turning the line around."""

    def __init__(self, overheard: Overheard, is_rubbish: Callable[[int], bool]) -> None:
        self._overheard = overheard
        self._is_rubbish = is_rubbish
        self._heard = bytearray()

    def hear(self, data: bytes) -> int:
        """Take bytes; those that are neither a frame nor rubbish are unasked for all."""
        heard, unasked = self._heard, 0
        heard += data
        at = 0
        while at < len(heard):
            length = frame_in_front(heard, at)
            if length:
                self._overheard(heard[at], (heard[at + 1], heard[at + 2]), length)
                at += length
            elif self._is_rubbish(heard[at]):
                at += 1
            elif frame_may_follow(heard, at):
                break
            else:
                unasked += 1
                at += 1
        del heard[:at]
        return unasked

    def forget(self) -> int:
        """Forget the beginning of a frame: a new question goes out."""
        unasked = len(self._heard)
        self._heard.clear()
        return unasked


class TcpEar:
    """On Modbus TCP a frame has a header with its length and the number of its question."""

    def __init__(self, overheard: Overheard) -> None:
        self._overheard = overheard
        self._heard = bytearray()

    def hear(self, data: bytes) -> int:
        """Take bytes; those that are no frame are unasked for all."""
        heard, unasked = self._heard, 0
        heard += data
        while heard:
            length = TcpFrame.length_of(heard)
            if length is None:
                unasked += len(heard)
                heard.clear()
            elif not length or len(heard) < length:
                break
            else:
                self._overheard(heard[6], int.from_bytes(heard[:2], "big"), length)
                del heard[:length]
        return unasked

    def forget(self) -> int:
        """Forget the beginning of a frame: a new question goes out."""
        unasked = len(self._heard)
        self._heard.clear()
        return unasked
