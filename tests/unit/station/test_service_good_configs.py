"""What `daq check` calls good, a station starts and keeps running with, whatever stands in it."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from daq.config import ConfigError
from daq.station.acquisition import Follower
from daq.station.installation import instrument_of, load_station
from daq.station.records import Station
from daq.station.supervision import Supervisor
from drivers import catalogue
from drivers.links import Wires
from tests.followed import Records
from tests.jumping_clock import JumpingClock

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLES = 60
WORDS = st.sampled_from(["", "B1", "0", "N/A", "0037402012", "x" * 70, " B1", "balance..lab", "9600 8N1", "never"])
NUMBERS = st.sampled_from([-1, 0, 1, 2, 4, 31, 32, 62, 63, 70, 98, 99, 100, 123, 247, 248, 255, 256, 65_535, 70_000])
DURATIONS = st.sampled_from(
    ["0 s", "1 ms", "20 ms", "1 s", "2.5 s", "1 h", "24 h", "366 d", "99999999999999 d", "1", "continuous", "never"]
)
ADDRESSES = st.sampled_from(
    [
        *("/nowhere/ttyUSB0", "/nowhere/ttyUSB1", "serial:/nowhere/ttyS0"),
        *("tcp://127.0.0.1:9", "tcp://127.0.0.1", "tcp://127.0.0.1:0", "rtu+tcp://127.0.0.1:9", "tcp://[::1]:9"),
        *("tcp://balance..lab:8001", "tcp:/x"),
    ]
)
LINES = st.sampled_from(["9600 8N1", "0 8N1", "50 7E1", "99999999 8N1", "19200 8N2 rtscts", "", "8N1"])
OPTIONS = [
    *("address", "count", "words", "table", "quantity", "unit"),
    *("wait_for_stability", "slowest_s", "channels", "range_ohm", "wires", "root2", "model"),
]
VALUES = st.one_of(WORDS, NUMBERS, st.booleans(), st.sampled_from(["g", "mg", "high first", "1,2", "ptb330"]))
TABLE = st.fixed_dictionaries(
    {"driver": st.sampled_from([*catalogue.names(), "nonsense"]), "address": ADDRESSES, "period": DURATIONS},
    optional={
        "serial": WORDS,
        "identified": st.booleans(),
        "line": LINES,
        "unit": NUMBERS,
        "echo": st.booleans(),
        "prove_every": DURATIONS,
        "timeout": DURATIONS,
        "options": st.dictionaries(st.sampled_from(OPTIONS), VALUES, max_size=2),
    },
)


def document(tables: list[dict[str, Any]]) -> str:
    """Write instruments as TOML."""
    written = ['station = "lab"']
    for number, table in enumerate(tables):
        written.append(f"[instruments.i{number}]")
        written += [f"{key} = {value(one)}" for key, one in table.items()]
    return "\n".join(written)


def value(one: object) -> str:
    match one:
        case bool():
            return str(one).lower()
        case dict():
            return "{ " + ", ".join(f"{key} = {value(part)}" for key, part in one.items()) + " }"
        case str():
            return f'"{one}"'
        case _:
            return str(one)


def mended(table: dict[str, Any]) -> dict[str, Any]:
    """Give a table that is more likely to be good: what no driver could take is left out."""
    if table["driver"] == "nonsense":
        return table
    driver = catalogue.factory(table["driver"])
    known = inspect.signature(driver).parameters
    options = {key: one for key, one in table.get("options", {}).items() if key in known}
    modbus = "unit" in table and table["driver"] in {"keller-33x", "vaisala-hmp", "modbus-singles"}
    kept = {key: one for key, one in table.items() if key != "unit" or modbus}
    return kept | {"options": options}


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(tables=st.lists(TABLE.map(mended), min_size=1, max_size=3))
async def test_what_check_calls_good_is_started_and_kept_running(tmp_path: Path, tables: list[dict[str, Any]]) -> None:
    path = tmp_path / "station.toml"
    path.write_text(document(tables))
    try:
        config = load_station(path)
    except ConfigError:
        reject()
    clock, records, wires = JumpingClock(), Records(), Wires()
    supervisor = Supervisor(Station("lab", records, clock))
    for name, table in config.instruments.items():
        instrument = instrument_of(name, table, wires)
        supervisor.add(Follower(supervisor._station, instrument, table.period, table.simulated))
    task = asyncio.create_task(supervisor.run())
    await clock.run_for(5.0)
    await asyncio.sleep(0.01)  # the refusal of a connection comes from the kernel
    await clock.run_for(5.0)
    task.cancel()
    await clock.finish(task)
    await wires.close()
    failures = {name: (one.failures.count, one.failures.last) for name, one in supervisor.followers.items()}
    assert not any(count for count, _ in failures.values()), (failures, path.read_text())
    assert not records.readings
