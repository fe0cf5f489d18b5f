"""Golden transcripts: what instruments say by their manuals, played to drivers and to simulators."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

NAMES = sorted(path.stem for path in Path(__file__).parent.glob("*.toml"))


def rows(name: str, kind: str) -> list[dict[str, Any]]:
    """Give the rows of a command set; `kind` is "exchange", "refused", "control" or "setup"."""
    document = tomllib.loads((Path(__file__).parent / f"{name}.toml").read_text())
    return [row | {"raw": _raw(row)} for row in document.get(kind, [])]


def every(kind: str) -> list[tuple[str, dict[str, Any]]]:
    """Give all rows of all command sets with their names."""
    return [(name, row) for name in NAMES for row in rows(name, kind)]


def _raw(row: dict[str, Any]) -> bytes:
    return bytes.fromhex(row["reply_hex"]) if "reply_hex" in row else row["reply"].encode("latin-1")
