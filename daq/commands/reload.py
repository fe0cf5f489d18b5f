"""`daq reload`: a running station applies the changes of its config; a wrong config changes nothing."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from daq.commands.failing import CONFIG, FAILED, config_errors, fail
from daq.commands.reach import spool_of
from daq.station import control
from daq.station.installation import load_station

if TYPE_CHECKING:
    from pathlib import Path


def reload_command(config_path: Path, *, as_json: bool) -> None:
    """Ask the station; exit 78 where the config has a mistake."""
    with config_errors():
        config = load_station(config_path)
    place = control.socket_of(spool_of(config))
    try:
        changed = control.ask(place, "reload")["changed"]
    except control.ControlError as error:
        fail(str(error), CONFIG if error.reason == "config" else FAILED)
    if as_json:
        sys.stdout.write(json.dumps({"changed": changed}) + "\n")
    else:
        sys.stdout.writelines(f"{one}\n" for one in changed or ["nothing has changed"])
