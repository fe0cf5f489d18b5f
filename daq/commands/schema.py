"""`daq schema`: the JSON Schema of a config file."""

from __future__ import annotations

import json
import sys
from typing import Literal

from daq.config import BridgeConfig, StationConfig


def schema_command(kind: Literal["station", "bridge"]) -> None:
    """Print the schema."""
    model = StationConfig if kind == "station" else BridgeConfig
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | model.model_json_schema()
    sys.stdout.write(json.dumps(schema, indent=2) + "\n")
