"""Every kind of mistake in a config gives a message that names the place and what would be right, all in one go."""

from __future__ import annotations

import json
import math
from pathlib import Path

import jsonschema
import pytest

from daq.config import BridgeConfig, ConfigError, InfluxTable, StationConfig, load, secret
from daq.station.installation import instrument_of, load_station
from drivers.links import Wires

GOOD = """
station = "lab"
[instruments.balance]
driver = "mt-sics"
address = "tcp://127.0.0.1:8001"
serial = "B1"
period = "1 s"
"""


def modbus(keys: str, address: str = "tcp://127.0.0.1:502") -> str:
    """Give the config of a Modbus device."""
    table = GOOD.replace("mt-sics", "modbus-singles").replace("tcp://127.0.0.1:8001", address)
    return table.replace('serial = "B1"', "identified = false") + keys


def two(first: str, old: str = "", new: str = "") -> str:
    """Give a config with an instrument and another one at the same place."""
    table = first[first.index("[") :].replace("balance]", "other]").replace('"B1"', '"B2"')
    return first + (table.replace(old, new) if old else table)


MISTAKES = {
    "no TOML": ("station = lab", "no valid TOML"),
    "no station": (GOOD.replace('station = "lab"', ""), "station: missing"),
    "station name": (GOOD.replace('"lab"', '"lab/1"'), "cannot be a name; use letters, digits, - and _"),
    "no instruments": ('station = "lab"', "instruments: missing"),
    "empty instruments": ('station = "lab"\n[instruments]\n', "instruments: "),
    "misspelt key": (GOOD + 'perod = "1 s"', '[instruments.balance] perod: unknown; did you mean "period"?'),
    "misspelt table": (GOOD + "[brokr]\n", 'brokr: unknown; did you mean "broker"?'),
    "unknown driver": (
        GOOD.replace("mt-sics", "mt-siks"),
        'driver: "mt-siks" is not installed; did you mean "mt-sics"?',
    ),
    "no period": (GOOD.replace('period = "1 s"', ""), "[instruments.balance] period: missing"),
    "period without unit": (GOOD.replace('"1 s"', "1"), 'write a number and a unit in quotes, as in "2 s"'),
    "period with a strange unit": (GOOD.replace('"1 s"', '"1 sec"'), '"1 sec" is no duration'),
    "period too short": (GOOD.replace('"1 s"', '"0 s"'), "is shorter than 1 ms"),
    "no serial": (GOOD.replace('serial = "B1"', ""), "serial: missing; write the serial number that is printed on"),
    "unknown option": (GOOD + "options = { unti = 'g' }", 'options: unknown unti; did you mean "unit"?'),
    "option value": (
        GOOD + "options = { unit = 'pound' }",
        "options: unit: 'pound' is not possible; use 'g', 'mg' or 'kg'",
    ),
    "address": (GOOD.replace("tcp://127.0.0.1:8001", "tcp:/127.0.0.1"), "[instruments.balance] address: "),
    "line": (GOOD + 'line = "9600 8X1"', '"9600 8X1" is no line setting'),
    "unit for text": (GOOD + "unit = 3", "unit is for Modbus only"),
    "inline password": (GOOD + '[broker]\npassword = "x"', "a secret must not be in a config; write it into a file"),
    "broker host": (GOOD + '[broker]\nhosts = ["a b"]', '"a b" is no host'),
    "protocol": (GOOD + '[broker]\nprotocol = "4"', "'4' is not possible; use 'auto', '5' or '3.1.1'"),
    "size": (GOOD + '[spool]\nlimit = "2 GB"', "'2 GB' is no size"),
    "policy": (GOOD + '[spool]\nwhen_full = "panic"', "'panic' is not possible; use 'drop_oldest' or 'refuse_new'"),
    "period too long": (GOOD.replace('"1 s"', '"99999999999999 d"'), 'must be from "1 ms" to "366 d"'),
    "period of many digits": (GOOD.replace('"1 s"', f'"{"9" * 400} d"'), 'must be from "1 ms" to "366 d"'),
    "period shorter than the line allows": (
        GOOD.replace("tcp://127.0.0.1:8001", "/dev/ttyS9").replace('"1 s"', '"1 ms"'),
        'answer take at 9600 8N1 xonxoff: at least 8 ms; to read as often as possible write "continuous"',
    ),
    "period shorter than the bus allows": (
        modbus("unit = 1", address="/dev/ttyS9").replace('"1 s"', '"10 ms"'),
        "period: 10 ms is shorter than question and answer take at 19200 8E1: at least 14 ms",
    ),
    "keep-alive of a day": (GOOD + '[broker]\nkeep_alive = "24 h"', '[broker] keep_alive: must be from "1 s" to "1 h"'),
    "keep-alive of nothing": (GOOD + '[broker]\nkeep_alive = "100 ms"', 'keep_alive: must be from "1 s" to "1 h"'),
    "keep for ever": (GOOD + '[spool]\nkeep = "99999999999999 d"', 'keep: must be from "0 s" to "36500 d"'),
    "keep waiting nothing": (GOOD + '[spool]\nkeep_waiting = "0 s"', 'keep_waiting: must be from "1 s" to "36500 d"'),
    "spool too small": (GOOD + '[spool]\nlimit = "1 KiB"', "limit: must be at least 1 MiB"),
    "spool too large": (GOOD + '[spool]\nlimit = "999999999 GiB"', "limit: must be at most 131072 GiB"),
    "line without speed": (GOOD + 'line = "0 8N1"', "line: 0 baud is not possible; it must be from 50 to 4000000"),
    "empty line": (GOOD + 'line = ""', '"" is no line setting'),
    "empty serial": (GOOD.replace('"B1"', '""'), "serial: '' is no serial number: it could come from any instrument"),
    "serial of zeros": (GOOD.replace('"B1"', '"000000"'), "write identified = false to store its readings unident"),
    "serial that is none": (GOOD.replace('"B1"', '"N/A"'), "serial: 'N/A' is no serial number"),
    "serial with a space": (GOOD.replace('"B1"', '"B1 "'), "serial: 'B1 ' begins or ends with a space; write 'B1'"),
    "serial that is not compared": (
        GOOD + "identified = false",
        "serial: identified = false says that it is not compared; leave out one of the two",
    ),
    "prove_every": (GOOD + 'prove_every = "always"', '"always" is no duration'),
    "timeout": (GOOD + 'timeout = "2 h"', 'timeout: must be from "1 ms" to "1 h"'),
    "no singles": (modbus("unit = 1\noptions = { count = 0 }"), "options: "),
    "less than no singles": (modbus("unit = 1\noptions = { count = -1 }"), "options: "),
    "more singles than fit": (modbus("unit = 1\noptions = { count = 70 }"), "options: "),
    "register that is not there": (modbus("unit = 1\noptions = { address = 70000 }"), "options: "),
    "registers beyond the last": (
        modbus("unit = 1\noptions = { address = 65530, count = 4 }"),
        "options: ",
    ),
    "unit of all": (
        modbus("unit = 0", address="rtu+tcp://127.0.0.1:4001"),
        "unit: 0 is no address of one device on an RTU line; it must be from 1 to 247",
    ),
    "unit that is reserved": (modbus("unit = 250", address="/dev/ttyS9"), "unit: 250 is no address of one device"),
    "unit out of range": (modbus("unit = 300"), "unit: 300 is not possible; it must be at most 255"),
    "time-out of a multimeter": (
        GOOD.replace("mt-sics", "scpi-dmm") + "options = { slowest_s = -1 }",
        "options: ",
    ),
    "address of a transducer": (
        GOOD.replace("mt-sics", "digiquartz") + "options = { address = 123 }",
        "options: ",
    ),
    "host with an empty part": (
        GOOD.replace("127.0.0.1:8001", "balance..lab:8001"),
        'address: "balance..lab" is no host name: each part between two dots has 1 to 63 characters',
    ),
    **{
        f"host {host}": (GOOD.replace("127.0.0.1:8001", f"{host}:8001"), f'address: "{host}" is no {kind}')
        for host, kind in {
            "ba lance": "host name: each part",
            "*": "host name: each part",
            "..": "host name: each part",
            "300.1.1.1": "IP address; write one as in",
            "1.2.3": "IP address; write one as in",
        }.items()
    },
    **{
        f"VISA host {host}": (
            GOOD.replace("mt-sics", "scpi-dmm").replace("tcp://127.0.0.1:8001", f"TCPIP::{host}::INSTR"),
            f'address: "{host.partition(",")[0]}" is no {kind}',
        )
        for host, kind in {
            "a..b": "host name: each part",
            "a b": "host name: each part",
            ": ": "IP address; write one as in",
            "300.1.1.1": "IP address; write one as in",
            "a..b,1024": "host name: each part",
        }.items()
    },
    "address that is a folder": (
        GOOD.replace("tcp://127.0.0.1:8001", "/proc"),
        'address: "/proc" is a folder; write the device of a port, as in "/dev/serial/by-id/…"',
    ),
    "code that is no single": (
        modbus("unit = 1\noptions = { no_value = [1e-46] }"),
        "options: 1e-46 is smaller than any single: it would stand for 0",
    ),
    "code that is true": (
        modbus("unit = 1\noptions = { no_value = [true] }"),
        "options: [no_value] 0: True is not possible; write a number without quotes",
    ),
    "code in quotes": (
        modbus("unit = 1\noptions = { no_value = ['-9999'] }"),
        "options: [no_value] 0: '-9999' is not possible; write a number without quotes",
    ),
    "code outside of a list": (
        modbus("unit = 1\noptions = { no_value = -9999 }"),
        "options: no_value: -9999 is not possible; write a list in brackets, as in [-9999]",
    ),
    "code in quotes outside of a list": (
        modbus("unit = 1\noptions = { no_value = '-9999' }"),
        "options: no_value: write a list in brackets",
    ),
    "broker with an empty part": (GOOD + '[broker]\nhosts = ["broker..lab"]', '"broker..lab" is no host name'),
    "broker with a user": (GOOD + '[broker]\nhosts = ["me:secret@lab"]', "is no host"),
    "two on one port": (
        two(GOOD.replace("tcp://127.0.0.1:8001", "/dev/ttyS9")),
        "[instruments.other] address: /dev/ttyS9 is that of balance already, and nothing in the commands says which",
    ),
    "two on one TCP address": (two(GOOD), "tcp://127.0.0.1:8001 is that of balance already"),
    "two kinds on one port": (
        two(GOOD, 'driver = "mt-sics"', 'driver = "sartorius-sbi"'),
        "is that of balance already",
    ),
    "two options on one port": (
        two(GOOD, 'period = "1 s"', 'period = "1 s"\noptions = { wait_for_stability = true }'),
        "is that of balance already",
    ),
    "no Modbus unit": (
        GOOD.replace("mt-sics", "keller-33x").replace('serial = "B1"', "identified = false"),
        "Modbus needs the unit address of the instrument",
    ),
    "identity that cannot be asked": (
        GOOD.replace("mt-sics", "keller-33x") + "unit = 1",
        "the driver keller-33x asks for no serial number; write identified = false",
    ),
    "same serial twice": (
        GOOD + GOOD.partition("[")[1] + GOOD.partition("[")[2].replace("balance]", "other]").replace(":8001", ":8002"),
        "[instruments.other] serial: 'B1' is the serial number of balance already",
    ),
}


def problems(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "station.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_station(path)
    assert all(line.startswith(str(path)) for line in caught.value.problems)
    return caught.value.problems


@pytest.mark.parametrize("kind", MISTAKES)
def test_mistake_is_named(tmp_path: Path, kind: str) -> None:
    text, expected = MISTAKES[kind]
    found = problems(tmp_path, text)
    assert any(expected in line for line in found), found


def test_good_config_is_good(tmp_path: Path) -> None:
    path = tmp_path / "station.toml"
    path.write_text(GOOD)
    assert load_station(path).instruments["balance"].period == 1.0


def station(tmp_path: Path, text: str) -> StationConfig:
    path = tmp_path / "station.toml"
    path.write_text(text)
    return load_station(path)


def test_addressed_transducers_share_one_line(tmp_path: Path) -> None:
    one = GOOD.replace("mt-sics", "digiquartz").replace("tcp://127.0.0.1:8001", "/dev/ttyS9")
    other = 'period = "1 s"\noptions = { address = 2 }'
    assert len(station(tmp_path, two(one, 'period = "1 s"', other)).instruments) == 2


def test_continuous_never_and_timeout(tmp_path: Path) -> None:
    text = GOOD.replace('"1 s"', '"continuous"') + 'prove_every = "never"\n'
    table = station(tmp_path, text).instruments["balance"]
    assert (table.period, table.prove_every, table.timeout) == (0.0, math.inf, None)
    table = station(tmp_path, GOOD + 'prove_every = "1 min"').instruments["balance"]
    assert table.prove_every == 60.0
    instrument = instrument_of("balance", table, Wires())
    assert instrument.prove_every == 60.0
    assert station(tmp_path, GOOD).instruments["balance"].prove_every == 5.0


@pytest.mark.parametrize(
    "address",
    [
        "tcp://dmm_1:1",
        "tcp://b\u00f6se.lab.:1",
        "tcp://[fe80::1%eth0]:1",
        "TCPIP::[fe80::1]::INSTR",
        "TCPIP::dmm,1024::INSTR",
    ],
)
def test_hosts_that_may_be(tmp_path: Path, address: str) -> None:
    text = GOOD.replace("mt-sics", "scpi-dmm").replace("tcp://127.0.0.1:8001", address)
    assert station(tmp_path, text).instruments["balance"].address == address


def test_codes_that_stand_for_no_value(tmp_path: Path) -> None:
    assert station(tmp_path, modbus("unit = 1\noptions = { no_value = [-9999, 2.0, 0, 1e-40] }"))


def test_unit_0_is_right_behind_modbus_tcp(tmp_path: Path) -> None:
    assert station(tmp_path, modbus("unit = 0")).instruments["balance"].unit == 0


def test_driver_that_fails_is_a_mistake_of_its_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise KeyError("of a third party")

    monkeypatch.setattr("drivers.catalogue.factory", lambda _: broken)
    (problem,) = problems(tmp_path, GOOD)
    assert "driver: mt-sics cannot be made with these options: KeyError: 'of a third party'" in problem


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:8086/write", 'write "http://127.0.0.1:8086"'),
        ("http://127.0.0.1:8086/api/v2/write/", 'write "http://127.0.0.1:8086"'),
        ("https://lab/influx/api/v3/write_lp", 'write "https://lab/influx"'),
        ("http://", "names no host"),
        ("http:///path", "names no host"),
        ("http://:8086", "names no host"),
        ("http://lab:99999", "is no URL"),
        ("http://me:secret@lab:8086", "a user or password must not be in a URL"),
        ("http://lab:8086/?db=daq", "nothing may follow the path"),
        ("127.0.0.1:8086", "is no URL of a database"),
        ("http://influx..lab:8086", "is no host name"),
    ],
)
def test_url_that_is_none_of_a_database(tmp_path: Path, url: str, words: str) -> None:
    path = tmp_path / "bridge.toml"
    path.write_text(f'[influxdb]\nurl = "{url}"\n')
    with pytest.raises(ConfigError) as caught:
        load(path, BridgeConfig)
    assert words in str(caught.value)
    assert "me:secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8086", "https://lab/influx", "http://[::1]:8086/", "https://a.b/write/x"]
)
def test_url_may_have_the_prefix_of_a_reverse_proxy(url: str) -> None:
    assert InfluxTable(url=url).url == url


def test_a_number_that_is_too_long_to_be_read_is_named(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, GOOD + f"unit = {'9' * 5000}\n")
    assert found.endswith("a whole number in it is too long")


def test_all_mistakes_come_at_once(tmp_path: Path) -> None:
    text = GOOD.replace('"lab"', '"lab 1"').replace('"1 s"', "1") + 'perod = 1\n[spool]\nlimit = "much"\n'
    assert len(problems(tmp_path, text)) == 4
    text = (
        GOOD.replace("mt-sics", "mt-siks")
        + GOOD.partition("[")[1]
        + GOOD.partition("[")[2].replace("balance]", "b]").replace('serial = "B1"', "")
    )
    assert len(problems(tmp_path, text)) == 2


def test_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.toml", StationConfig)


def test_secret_comes_from_file_credential_or_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert secret(None, "token", "DAQ_TEST_TOKEN") is None
    monkeypatch.setenv("DAQ_TEST_TOKEN", "from the environment")
    assert secret(None, "token", "DAQ_TEST_TOKEN") == "from the environment"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert secret(None, "token", "DAQ_TEST_TOKEN") == "from the environment"
    (tmp_path / "token").write_text("from systemd\n")
    assert secret(None, "token", "DAQ_TEST_TOKEN") == "from systemd"
    (tmp_path / "file").write_text("from a file\n")
    assert secret(tmp_path / "file", "token", "DAQ_TEST_TOKEN") == "from a file"
    with pytest.raises(ConfigError, match="cannot read the secret"):
        secret(tmp_path / "missing", "token", "DAQ_TEST_TOKEN")
    (tmp_path / "file").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="it is no text"):
        secret(tmp_path / "file", "token", "DAQ_TEST_TOKEN")


def test_shipped_examples_are_good() -> None:
    configs = Path(__file__).parents[2] / "configs"
    assert len(load_station(configs / "station.example.toml").instruments) == 5
    assert load(configs / "bridge.example.toml", BridgeConfig).influxdb is not None


@pytest.mark.parametrize(("model", "name"), [(StationConfig, "station"), (BridgeConfig, "bridge")])
def test_schema_accepts_the_examples_and_nothing_strange(model: type[StationConfig | BridgeConfig], name: str) -> None:
    import tomllib

    schema = json.loads(json.dumps(model.model_json_schema()))
    jsonschema.Draft202012Validator.check_schema(schema)
    example = tomllib.loads((Path(__file__).parents[2] / "configs" / f"{name}.example.toml").read_text())
    jsonschema.validate(example, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(example | {"brokr": {}}, schema)
