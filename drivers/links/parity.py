"""Bytes that a serial line changed on the way: the kernel marks them where the line has a parity bit."""

from __future__ import annotations

import termios

_MARK = 0xFF
_IFLAG = 0


def mark_changed_bytes(fd: int) -> None:
    """Let the kernel check parity and mark what is wrong: `ff 00 x`, a break as `ff 00 00`; `ff ff` is a byte ff."""
    settings = termios.tcgetattr(fd)
    settings[_IFLAG] |= termios.INPCK | termios.PARMRK
    settings[_IFLAG] &= ~(termios.IGNPAR | termios.ISTRIP | termios.IGNBRK | termios.BRKINT)
    termios.tcsetattr(fd, termios.TCSANOW, settings)


class Marks:
    """Takes the marks of the kernel out of what is read, which may be cut anywhere."""

    def __init__(self) -> None:
        self._cut = b""

    def take_out(self, data: bytes) -> tuple[bytes, list[int]]:
        """Give the bytes without marks, and the places in them of those that the line changed."""
        if self._cut:
            data, self._cut = self._cut + data, b""
        if _MARK not in data:
            return data, []
        clean, changed, at = bytearray(), [], 0
        while at < len(data):
            if data[at] != _MARK:
                clean.append(data[at])
                at += 1
            elif data[at + 1 : at + 2] == b"\xff":
                clean.append(_MARK)
                at += 2
            elif at + 2 < len(data):
                if data[at + 1]:  # no mark: the line does not mark bytes
                    clean.append(_MARK)
                    at += 1
                    continue
                changed.append(len(clean))
                clean.append(data[at + 2])
                at += 3
            else:
                self._cut = data[at:]
                break
        return bytes(clean), changed
