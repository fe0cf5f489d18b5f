"""`daq check`: every mistake of a config."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from daq.commands.failing import CONFIG
from daq.config import BridgeConfig, ConfigError, check_files, made, read_toml
from daq.station.installation import station_of

if TYPE_CHECKING:
    from pathlib import Path


def check_command(paths: list[Path], *, as_json: bool) -> None:
    """Check each file as config of a station or of a bridge; exit 78 where one has a mistake."""
    found = {str(path): _problems(path) for path in paths}
    if as_json:
        sys.stdout.write(
            json.dumps({path: {"ok": not problems, "problems": problems} for path, problems in found.items()}) + "\n"
        )
    else:
        for path, problems in found.items():
            sys.stdout.writelines(f"{problem}\n" for problem in problems or [f"{path}: good"])
    if any(found.values()):
        sys.exit(CONFIG)


def _problems(path: Path) -> list[str]:
    try:
        document = read_toml(path)  # once: it may be a pipe
        config = made(path, document, BridgeConfig) if _is_bridge(document) else station_of(path, document)
        check_files(path, config)
    except ConfigError as error:
        return error.problems
    return []


def _is_bridge(document: dict[str, Any]) -> bool:
    """Tell a bridge, which has a database or an archive, from a station, which has instruments."""
    keys = set(document)
    return not keys & {"station", "instruments"} and bool(keys & {"influxdb", "archive", "share", "name"})
