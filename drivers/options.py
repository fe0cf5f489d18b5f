"""Types of driver options for which Python's own are too lenient."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Strict

Number: TypeAlias = Annotated[float, Strict()]
"""A number, and neither text that reads like one nor true or false."""
