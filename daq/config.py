"""The two config files, typed: what a station reads and where it sends, and where a bridge stores.

All mistakes of a file are found in one pass and reported with file, table, key and what would be right. Secrets are
never in a config: a password or token comes from a file, from systemd's credentials or from the environment.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic_core import ErrorDetails

_DURATIONS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_SIZES = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


class ConfigError(Exception):
    """One or more mistakes in a config; each line of the message is one mistake."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def duration(value: object) -> object:
    """Read "500 ms", "2.5 s", "5 min", "1 h", "30 d" as seconds."""
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+(?:\.\d+)?) ?(ms|s|min|h|d)", value.strip())
        if match is None:
            raise ValueError(
                f'"{value}" is no duration; write a number and a unit, as in "500 ms", "2 s", "5 min", "30 d"'
            )
        return float(match[1]) * _DURATIONS[match[2]]
    raise ValueError(f'{value!r} is no duration; write a number and a unit in quotes, as in "2 s"')


def size(value: object) -> object:
    """Read "64 KiB", "512 MiB", "2 GiB" as bytes."""
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+) ?(KiB|MiB|GiB)", value.strip())
        if match is not None:
            return int(match[1]) * _SIZES[match[2]]
    raise ValueError(f'{value!r} is no size; write a number and a unit in quotes, as in "512 MiB" or "2 GiB"')


def _period(value: float) -> float:
    if value < 0.001:
        raise ValueError("is shorter than 1 ms")
    return value


def _name(value: object) -> object:
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,64}", value):
        return value
    raise ValueError(f"{value!r} cannot be a name; use letters, digits, - and _ (it becomes part of an MQTT topic)")


Duration = Annotated[float, BeforeValidator(duration), Field(json_schema_extra={"type": "string"})]
Size = Annotated[int, BeforeValidator(size), Field(json_schema_extra={"type": "string"})]
Name = Annotated[str, BeforeValidator(_name)]


class Table(BaseModel):
    """A table of a config: unknown keys are mistakes, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class Tls(Table):
    """Certificates for the broker; verification cannot be switched off."""

    ca: Path | None = Field(None, description="CA certificate; left out: the certificates of the system")
    certificate: Path | None = Field(None, description="client certificate")
    key: Path | None = Field(None, description="key of the client certificate")


class Broker(Table):
    """Where the MQTT broker is; several hosts of a cluster are tried in turn."""

    hosts: list[str] = Field(
        ["127.0.0.1:1883"], min_length=1, description='"host" or "host:port", in order of preference'
    )
    protocol: Literal["auto", "5", "3.1.1"] = Field(
        "auto", description="auto: MQTT 5, or 3.1.1 where the broker does not support 5"
    )
    user: str | None = None
    password_file: Path | None = Field(
        None, description="file with the password; else credential mqtt-password, else DAQ_MQTT_PASSWORD"
    )
    tls: Tls | None = None
    keep_alive: Duration = 10.0

    def password(self) -> str | None:
        """Give the password from its file, the systemd credential or the environment; None where there is none."""
        return secret(self.password_file, "mqtt-password", "DAQ_MQTT_PASSWORD")

    @model_validator(mode="after")
    def _check_hosts(self) -> Broker:
        for host in self.hosts:
            _host_and_port(host, 1883)
        return self

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Hosts and ports; 1883 where none is named, 8883 with TLS."""
        return [_host_and_port(host, 8883 if self.tls else 1883) for host in self.hosts]


def _host_and_port(text: str, default: int) -> tuple[str, int]:
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.%]+\]|[^\s:/]+)(?::(\d{1,5}))?", text)
    if match is None or int(match[2] or default) > 65535:
        raise ValueError(f'"{text}" is no host; write "host" or "host:port", as in "broker.lab:1883"')
    return match[1].strip("[]"), int(match[2] or default)


class SpoolTable(Table):
    """The queue on the disk of the station."""

    path: Path | None = Field(
        None, description="SQLite file; default: spool.sqlite in systemd's state directory, else in the working folder"
    )
    keep: Duration = Field(30 * 86400.0, description="how long rows stay on this disk after the database has them")
    keep_waiting: Duration | None = Field(
        None,
        description="drop records that the database has not confirmed after this time; left out: never for their age",
    )
    limit: Size = Field(2 * 2**30, ge=2**20, description="the file never grows beyond this; at least 1 MiB")
    when_full: Literal["drop_oldest", "refuse_new"] = Field(
        "drop_oldest", description="which records are lost when the spool is full: the oldest waiting ones, or new ones"
    )
    alarm_after: Duration = Field(3600.0, description="raise an alarm when a record has waited for this long")
    ballast: Size = Field(
        16 * 2**20, description='size of a reserve file, deleted when other files have filled the disk; "0 MiB": none'
    )


class InstrumentTable(Table):
    """One instrument: what it is, where it is, which one it must be, and how often it is read."""

    driver: str = Field(description="command set, one of those that `daq drivers` lists")
    address: str = Field(
        description='"/dev/serial/by-id/…", "tcp://host:port", "rtu+tcp://host:port" or a VISA resource name'
    )
    serial: str | None = Field(None, description="serial number that the instrument must answer with at each connect")
    identified: bool = Field(True, description="false: this instrument has no way to ask for its serial number")
    period: Annotated[Duration, AfterValidator(_period)] = Field(
        description="time between readings, on a grid of the wall clock"
    )
    line: str | None = Field(None, description='serial line, as in "9600 8N1"; default: factory setting of the driver')
    unit: int | None = Field(None, ge=0, le=255, description="Modbus unit (1 to 247)")
    echo: bool = Field(False, description="true: the RS-485 adapter gives back what was sent")
    visa: str = Field("@py", description="VISA library: @py (pyvisa-py) or @ivi (a vendor's)")
    simulated: bool = Field(False, description="true: its readings are marked as simulated")
    options: dict[str, Any] = Field(default_factory=dict, description="options of the driver, see `daq drivers NAME`")


class StationConfig(Table):
    """The config of `daq run`."""

    station: Name = Field(description="name of the station in topics and tags")
    broker: Broker = Broker()
    spool: SpoolTable = SpoolTable()
    instruments: dict[Name, InstrumentTable] = Field(min_length=1)


class InfluxTable(Table):
    """The database; the server is asked which generation it is."""

    url: str = Field(pattern=r"^https?://", description='as in "http://127.0.0.1:8086"')
    database: str = Field("daq", description="bucket (2.x) or database (1.x, 3)")
    org: str = Field("", description="organisation (2.x)")
    user: str | None = Field(None, description="user (1.x)")
    token_file: Path | None = Field(
        None,
        description="file with the token or password; else credential influxdb-token, else DAQ_INFLUXDB_TOKEN",
    )
    create: bool = Field(False, description="true: create a missing database (1.x)")
    compress: Literal["auto", "always", "never"] = Field(
        "auto", description="gzip what is written; auto: where the database is on another machine"
    )

    @property
    def compressed(self) -> bool:
        """Whether requests are compressed: on one machine it costs more than it saves."""
        if self.compress == "auto":
            return (urlsplit(self.url).hostname or "") not in {"localhost", "127.0.0.1", "::1"}
        return self.compress == "always"

    def token(self) -> str | None:
        """Give the token or password from its file, the systemd credential or the environment."""
        return secret(self.token_file, "influxdb-token", "DAQ_INFLUXDB_TOKEN")


class ArchiveTable(Table):
    """The embedded sink: one SQLite file with the same measurements, tags and fields."""

    path: Path | None = Field(
        None, description="default: archive.sqlite in systemd's state directory, else in the working folder"
    )


class BridgeConfig(Table):
    """The config of `daq bridge`: a broker, and InfluxDB or (where that table is missing) an archive file."""

    broker: Broker = Broker()
    name: Name | None = Field(None, description="name of this bridge; default: host name and process id")
    share: Name | Literal[False] = Field(
        "bridges", description="group of bridges that share the work; false: this bridge takes everything"
    )
    influxdb: InfluxTable | None = None
    archive: ArchiveTable = ArchiveTable()


def secret(path: Path | None, credential: str, variable: str) -> str | None:
    """Read a secret from `path`, else from systemd's credential of that name, else from the environment.

    An empty file is no secret: the service needs the file even where its broker asks for no password.
    """
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    given = path or (Path(folder) / credential if folder else None)
    if given is not None:
        try:
            return given.read_text().strip() or None
        except OSError as error:
            if path is not None or not isinstance(error, FileNotFoundError):  # systemd may not know of this credential
                raise ConfigError([f"{given}: cannot read the secret: {error.strerror}"]) from error
    return os.environ.get(variable)


T = TypeVar("T", bound=Table)


def load(path: Path, model: type[T]) -> T:
    """Read a TOML file into `model`; ConfigError holds every mistake of the file."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: cannot be read: {error}"]) from error
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{path}: no valid TOML: {error}"]) from error
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise ConfigError([f"{path}: {problem}" for problem in explain(error, model)]) from error


_SECRETS = {
    "password": "password_file",
    "token": "token_file",
    "secret": "password_file",
    "passwd": "password_file",
}


def explain(error: ValidationError, model: type[Table] | None = None) -> list[str]:
    """Describe each mistake that pydantic found: place, what is wrong, what would be right."""
    return [f"{_place(problem['loc'])}: {_advice(problem, model)}" for problem in error.errors()]


def _place(location: tuple[int | str, ...]) -> str:
    *tables, key = [str(part) for part in location] or ["file"]
    return f"[{'.'.join(tables)}] {key}" if tables else key


def _advice(problem: ErrorDetails, model: type[Table] | None) -> str:
    key = str(problem["loc"][-1]) if problem["loc"] else ""
    match problem["type"]:
        case "missing":
            return "missing"
        case "extra_forbidden" if key in _SECRETS:
            return f"a secret must not be in a config; write it into a file and name that as {_SECRETS[key]}"
        case "extra_forbidden":
            known = _keys_of_table(problem["loc"], model)
            near = difflib.get_close_matches(key, known, 1)
            return f'unknown; did you mean "{near[0]}"?' if near else f"unknown; known are {', '.join(known)}"
        case "literal_error":
            return f"{problem['input']!r} is not possible; use {problem['ctx']['expected']}"
        case _:
            return problem["msg"].removeprefix("Value error, ")


def _keys_of_table(location: tuple[int | str, ...], model: type[BaseModel] | None) -> list[str]:
    """Give the keys that the table of a mistake may have."""
    for part in location[:-1]:
        if model is None:
            break
        annotation = model.model_fields[str(part)].annotation if str(part) in model.model_fields else model
        model = next((one for one in _models(annotation)), model)
    return sorted(model.model_fields) if model is not None else []


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
