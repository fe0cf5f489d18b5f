"""Every kind of mistake in a config gives a message that names the place and what would be right, all in one go."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from daq.config import BridgeConfig, ConfigError, StationConfig, load, secret
from daq.station.installation import load_station

GOOD = """
station = "lab"
[instruments.balance]
driver = "mt-sics"
address = "tcp://127.0.0.1:8001"
serial = "B1"
period = "1 s"
"""

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
    "no Modbus unit": (
        GOOD.replace("mt-sics", "keller-33x").replace('serial = "B1"', "identified = false"),
        "Modbus needs the unit address of the instrument",
    ),
    "identity that cannot be asked": (
        GOOD.replace("mt-sics", "keller-33x") + "unit = 1",
        "keller-33x has no way to ask for a serial number; write identified = false",
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
