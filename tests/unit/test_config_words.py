"""A mistake in a config is said in the words of the person who wrote it, and a file that cannot be used is found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from daq.config import BridgeConfig, ConfigError, StationConfig, check_files, load, read_toml
from daq.station.installation import load_station

if TYPE_CHECKING:
    from pathlib import Path

BALANCE = '[instruments.a]\ndriver = "mt-sics"\naddress = "tcp://127.0.0.1:1"\nserial = "B1"\nperiod = "1 s"\n'
GOOD = f'station = "lab"\n{BALANCE}'


def said(folder: Path, text: str) -> list[str]:
    path = folder / "station.toml"
    path.write_text(text)
    try:
        check_files(path, load_station(path))
    except ConfigError as error:
        return [one.removeprefix(f"{path}: ") for one in error.problems]
    return []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD.replace('"B1"', "12345"), "[instruments.a] serial: 12345 is not possible; write a text in quotes"),
        (GOOD + 'unit = "x"', "[instruments.a] unit: 'x' is not possible; write a whole number without quotes"),
        (GOOD + "unit = 1.5", "[instruments.a] unit: 1.5 is not possible; write a whole number without quotes"),
        (GOOD + 'echo = "perhaps"', "[instruments.a] echo: 'perhaps' is not possible; write true or false"),
        (GOOD + "options = 3", "[instruments.a] options: this is a table of keys with their values"),
        ('station = "lab"\ninstruments = 3', "instruments: this is a table of keys with their values"),
        ('station = "lab"\n[instruments]\na = 3', "[instruments] a: this is a table of keys with their values"),
        ('station = "lab"\ninstruments = {}', "instruments: {} is not possible; it must not be empty"),
        (GOOD + '[broker]\nhosts = "lab"', "[broker] hosts: write a list in brackets"),
        (GOOD + "[broker]\nhosts = []", "[broker] hosts: [] is not possible; it must not be empty"),
        (GOOD.replace("[instruments.a]", '[instruments."a b"]'), "[instruments] a b: 'a b' cannot be a name"),
        (GOOD + '[spool]\npath = ""', "[spool] path: '.' is no name of a file"),
        (GOOD + '[spool]\npath = "a\\u0000b"', "[spool] path: 'a\\x00b' is no name of a file"),
        (GOOD + '[spool]\npath = "/"', "[spool] path: '/' is no name of a file"),
        (GOOD + '[spool]\npath = "/proc"', '[spool] path: "/proc" is a folder; write the name of a file'),
        (
            GOOD + f'[spool]\npath = "/x/{"ü" * 40}"',
            f'[spool] path: "/x/{"ü" * 40}": the name of the file has 80 bytes',
        ),
        (GOOD + '[broker]\npassword_file = "/proc"', '[broker] password_file: "/proc" is a folder; write the name'),
        (
            GOOD + f'[broker]\nuser = "{"ü" * 32_768}"',
            "[broker] user: a user of MQTT has 1 to 65535 bytes, and none of",
        ),
        (GOOD + '[broker]\nuser = "a\\u0000"', "[broker] user: a user of MQTT has 1 to 65535 bytes, and none of"),
        (GOOD.replace('"lab"', '"_bridges"'), 'station: "_bridges" cannot be the name of a station: bridges have the'),
        (GOOD + '[broker.tls]\nkey = "/etc/hostname"', "[broker] tls: key without certificate is of no use"),
        (
            GOOD + '[broker]\nuser = "x"\npassword_file = "/none"',
            "[broker] password_file: /none: cannot read the secret: No such file or directory",
        ),
        (GOOD + '[broker.tls]\nca = "/none"', "[broker.tls] ca: /none: cannot be read: No such file or directory"),
        ("station = " + "[" * 5_000, "no valid TOML: lists or tables lie too deep in one another"),
    ],
    ids=lambda text: text.partition(" is ")[0][-40:],
)
def test_mistake_in_plain_words(tmp_path: Path, text: str, words: str) -> None:
    found = said(tmp_path, text)
    assert len(found) == 1, found
    assert found[0].startswith(words)


@pytest.mark.parametrize(
    "text",
    [
        GOOD + '[broker]\nhosts = ["me:hunter2@lab"]',
        GOOD + '[broker]\nhosts = "me:hunter2@lab"',
        'broker = "mqtt://me:hunter2@lab"\n' + GOOD,
        'broker = ["hunter2"]\n' + GOOD,
        GOOD + '[broker]\npassword = "hunter2"',
        GOOD + '[broker]\nhosts = { password = "hunter2" }',
    ],
)
def test_secret_at_a_wrong_place_is_not_repeated(tmp_path: Path, text: str) -> None:
    found = said(tmp_path, text)
    assert len(found) == 1, found
    assert "hunter2" not in found[0]


def test_every_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "good").write_text("x")
    tls = f'[broker.tls]\nca = "{tmp_path}/a"\ncertificate = "{tmp_path}/good"\nkey = "{tmp_path}/c"\n'
    found = said(tmp_path, f'{GOOD}[broker]\npassword_file = "{tmp_path}/p"\n{tls}')
    assert [one.partition(":")[0] for one in found] == ["[broker] password_file", "[broker.tls] ca", "[broker.tls] key"]


def test_files_of_a_bridge(tmp_path: Path) -> None:
    path = tmp_path / "bridge.toml"
    path.write_text('[influxdb]\nurl = "http://lab:8086"\ntoken_file = "/none"\n')
    with pytest.raises(ConfigError, match=r"bridge.toml: \[influxdb\] token_file: /none: cannot read the secret"):
        check_files(path, load(path, BridgeConfig))
    path.write_text('[influxdb]\nurl = "http://lab:8086"\n')
    check_files(path, load(path, BridgeConfig))


BRIDGE = '[influxdb]\nurl = "http://lab:8086"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BRIDGE + 'user = "a:b"', "[influxdb] user: 'a:b' cannot be a user: write it without"),
        (BRIDGE + 'user = "a\\nb"', r"[influxdb] user: 'a\nb' cannot be a user: write it without"),
        (BRIDGE + 'user = "\u65e5"', "[influxdb] user: '\u65e5' cannot be a user: write it without"),
        ('name = "data"\n' + BRIDGE, 'name: "data" cannot be the name of a bridge: the topic of its status would be'),
    ],
)
def test_mistake_of_a_bridge(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bridge.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path, BridgeConfig)
    assert str(caught.value).startswith(f"{path}: {words}")


def test_good_users_of_a_database_and_a_broker(tmp_path: Path) -> None:
    path = tmp_path / "bridge.toml"
    path.write_text(f'name = "data-1"\n{BRIDGE}user = "J\u00fcrgen"\n[broker]\nuser = "{"x" * 65_535}"\n')
    assert load(path, BridgeConfig).broker.user == "x" * 65_535


def test_token_that_no_header_can_carry(tmp_path: Path) -> None:
    path, token = tmp_path / "bridge.toml", tmp_path / "token"
    path.write_text(f'{BRIDGE}token_file = "{token}"\n')
    token.write_text("abc\ndef\n")
    with pytest.raises(ConfigError, match=r"\[influxdb\] token_file: .*token: a token is one line") as caught:
        check_files(path, load(path, BridgeConfig))
    assert "abc" not in str(caught.value)
    token.write_text("abc=€\n")
    check_files(path, load(path, BridgeConfig))
    path.write_text(f'{BRIDGE}token_file = "{token}"\nuser = "daq"\n')
    with pytest.raises(ConfigError, match="beside a user it holds no characters beyond Latin-1") as caught:
        check_files(path, load(path, BridgeConfig))
    assert "abc" not in str(caught.value)


@pytest.mark.parametrize("host", ["[fe80::1%eth0]:1883", "[fe80::1%2]", "[::1]:1883", "broker.lab."])
def test_brokers_that_may_be(tmp_path: Path, host: str) -> None:
    path = tmp_path / "bridge.toml"
    path.write_text(f'[broker]\nhosts = ["{host}"]\n')
    assert load(path, BridgeConfig).broker.hosts == [host]


FILES = {
    "station.toml": "this config",
    "secret": "[broker] password_file",
    "ca": "[broker.tls] ca",
    "certificate": "[broker.tls] certificate",
    "key": "[broker.tls] key",
}


@pytest.mark.parametrize("kind", ["spool", "archive"])
@pytest.mark.parametrize("file", FILES)
def test_records_have_a_file_of_their_own(tmp_path: Path, file: str, kind: str) -> None:
    """The spool would move it away as a damaged one; also where another path leads to it."""
    (tmp_path / "link").symlink_to(tmp_path)
    path = tmp_path / "station.toml"
    for name in FILES:
        (tmp_path / name).touch()
    broker = f'[broker]\nuser = "lab"\npassword_file = "{tmp_path}/secret"\n[broker.tls]\n'
    broker += "".join(f'{key} = "{tmp_path}/{key}"\n' for key in ("ca", "certificate", "key"))
    written = f"{tmp_path}/link/{file}"
    path.write_text(f'{GOOD if kind == "spool" else ""}{broker}[{kind}]\npath = "{written}"\n')
    config = load_station(path) if kind == "spool" else load(path, BridgeConfig)
    with pytest.raises(ConfigError) as caught:
        check_files(path, config)
    words = f"[{kind}] path: {written} is the file of {FILES[file]}; records need a file of their own"
    assert caught.value.problems == [f"{path}: {words}"]


def test_file_of_an_editor_of_windows_is_good(tmp_path: Path) -> None:
    path = tmp_path / "station.toml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load_station(path) == load(path, StationConfig)
    assert read_toml(path)["station"] == "lab"
