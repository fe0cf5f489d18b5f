"""Finds the programs of a broker and of databases on this machine, or in the cache folder of `make servers`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path


def cache_folder() -> Path:
    """Give the folder in which `make servers` keeps what it fetched and built."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("DAQ_CACHE") or Path(cache) / "daq")


def find(*names: str) -> Path | None:
    """Find a program by one of its names: on PATH, in the folders of system daemons, then in the cache folder."""
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    for name in names:
        if found := shutil.which(name, path=places):
            return Path(found)
    for name in names:
        if found := shutil.which(name, path=str(cache_folder() / "bin")):
            return Path(found)
    return None


def version_of(program: Path, *arguments: str) -> str:
    """Ask a program for its version; empty where it gives none."""
    finished = subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=20)  # noqa: S603  # found by us
    match = re.search(r"\d+\.\d+(?:\.\d+)?[\w.~-]*", finished.stdout + finished.stderr)
    return match[0] if match else ""


def find_influxdb(generation: int) -> Path | None:
    """Find an InfluxDB server of generation 1 or 2; `influxd` on PATH may be either."""
    places = [find("influxd"), cache_folder() / "bin" / "influxd", cache_folder() / "bin" / "influxd1"]
    for program in places:
        if program is not None and program.exists() and version_of(program, "version").startswith(f"{generation}."):
            return program
    return None
