"""Two text instruments share a port only where each command says which of them is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from daq.config import InstrumentTable
from daq.station.installation import driver_of
from daq.station.neighbours import Neighbours

if TYPE_CHECKING:
    from pathlib import Path

PORT = "/nowhere/ttyUSB0"


def conflicts(*tables: tuple[str, str, dict[str, Any]]) -> list[str]:
    """Give what is said of each: driver, address, options."""
    neighbours = Neighbours()
    said = []
    for number, (name, address, options) in enumerate(tables):
        given = {"driver": name, "address": address, "period": "1 s", "options": options}
        table = InstrumentTable.model_validate(given)
        said.append(neighbours.conflict(f"i{number}", table, driver_of(table)))
    return said


def test_two_without_a_bus_address_are_refused() -> None:
    first, second, third = conflicts(("mt-sics", PORT, {}), ("mt-sics", PORT, {}), ("mt-sics", "/nowhere/ttyUSB1", {}))
    assert (first, third) == ("", "")
    assert second == (
        f"address: {PORT} is that of i0 already, and nothing in the commands says which is asked; "
        "give each a port of its own, or another bus address (an option of drivers that have one)"
    )


@pytest.mark.parametrize("address", [PORT, "tcp://127.0.0.1:8001"])
def test_different_bus_addresses_may_share_a_wire(address: str) -> None:
    made = [("digiquartz", address, {"address": number}) for number in (1, 2, 3, 2)]
    *good, same = conflicts(*made)
    assert good == ["", "", ""]
    assert "is that of i1 already" in same


def test_one_with_a_bus_address_beside_one_without_is_refused() -> None:
    for drivers in (("digiquartz", "mt-sics"), ("mt-sics", "digiquartz"), ("mt-sics", "milli-k")):
        first, second = conflicts(*((name, PORT, {}) for name in drivers))
        assert first == ""
        assert "is that of i0 already" in second


def test_refused_one_is_no_neighbour_of_the_next() -> None:
    said = conflicts(("digiquartz", PORT, {"address": 1}), ("mt-sics", PORT, {}), ("digiquartz", PORT, {"address": 2}))
    assert [bool(one) for one in said] == [False, True, False]


def test_another_port_of_the_same_host_is_another_wire_and_capitals_are_none() -> None:
    said = conflicts(
        ("mt-sics", "tcp://lab:8001", {}), ("mt-sics", "tcp://lab:8002", {}), ("mt-sics", "tcp://LAB:8001", {})
    )
    assert [bool(one) for one in said] == [False, False, True]


def test_two_names_of_one_port_are_one_wire(tmp_path: Path) -> None:
    (tmp_path / "port").touch()
    (tmp_path / "other").symlink_to("port")
    said = conflicts(("mt-sics", str(tmp_path / "port"), {}), ("mt-sics", str(tmp_path / "other"), {}))
    assert "is that of i0 already" in said[1]


def test_modbus_units_and_visa_names_are_known_to_their_links() -> None:
    assert not any(conflicts(*[("modbus-singles", "rtu+tcp://127.0.0.1:1", {})] * 2))
    assert not any(conflicts(*[("mt-sics", "GPIB0::7::INSTR", {})] * 2))
