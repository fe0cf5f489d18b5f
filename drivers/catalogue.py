"""The drivers that are installed: this project's own and those of third parties, by name."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from drivers.driver import Driver

    DriverFactory = Callable[..., Driver[Any]]

GROUP = "daq.drivers"


@cache
def names() -> tuple[str, ...]:
    """Names that a config may use as `driver`, sorted."""
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


@cache
def factory(name: str) -> DriverFactory:
    """Give the function from options to a Driver; KeyError where no such driver is installed."""
    for point in entry_points(group=GROUP):
        if point.name == name:
            return cast("DriverFactory", point.load())
    raise KeyError(name)
