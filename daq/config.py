"""The two config files, typed: what a station reads and where it sends, and where a bridge stores.

All mistakes of a file are found in one pass and reported with file, table, key and what would be right. Secrets are
never in a config: a password or token comes from a file, from systemd's credentials or from the environment.
"""

from __future__ import annotations

import os
import tomllib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from daq.forms import (
    AnyDuration,
    BridgeName,
    Duration,
    File,
    HttpUser,
    MqttUser,
    Name,
    Period,
    ProveEvery,
    Size,
    SpoolFile,
    StationName,
    Url,
    Within,
    host_and_port,
)
from daq.mistakes import explain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class ConfigError(Exception):
    """One or more mistakes in a config; each line of the message is one mistake."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Table(BaseModel):
    """A table of a config: unknown keys are mistakes, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class Tls(Table):
    """Certificates for the broker; verification cannot be switched off."""

    ca: File | None = Field(None, description="CA certificate; left out: the certificates of the system")
    certificate: File | None = Field(None, description="client certificate")
    key: File | None = Field(None, description="key of the client certificate")

    @model_validator(mode="after")
    def _check_key(self) -> Tls:
        if self.key is not None and self.certificate is None:
            raise ValueError("key without certificate is of no use; name the certificate as well, or leave out both")
        return self


class Broker(Table):
    """Where the MQTT broker is; several hosts of a cluster are tried in turn."""

    hosts: list[str] = Field(
        ["127.0.0.1:1883"], min_length=1, description='"host" or "host:port", in order of preference'
    )
    protocol: Literal["auto", "5", "3.1.1"] = Field(
        "auto", description="auto: MQTT 5, or 3.1.1 where the broker does not support 5"
    )
    user: MqttUser | None = None
    password_file: File | None = Field(
        None, description="file with the password; else credential mqtt-password, else DAQ_MQTT_PASSWORD"
    )
    tls: Tls | None = None
    keep_alive: Annotated[AnyDuration, AfterValidator(Within("1 s", "1 h"))] = Field(
        10.0, description='the broker counts this client as lost after one and a half of this; "1 s" to "1 h"'
    )

    def password(self) -> str | None:
        """Give the password from its file, the systemd credential or the environment; None where there is none."""
        return secret(self.password_file, "mqtt-password", "DAQ_MQTT_PASSWORD")

    @model_validator(mode="after")
    def _check_hosts(self) -> Broker:
        for host in self.hosts:
            host_and_port(host, 1883)
        return self

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Hosts and ports; 1883 where none is named, 8883 with TLS."""
        return [host_and_port(host, 8883 if self.tls else 1883) for host in self.hosts]


def _at_least_1_mib(value: int) -> int:
    if value < 2**20:
        raise ValueError("must be at least 1 MiB")
    return value


class SpoolTable(Table):
    """The queue on the disk of the station."""

    path: SpoolFile | None = Field(
        None, description="SQLite file; default: spool.sqlite in systemd's state directory, else in the working folder"
    )
    keep: Duration = Field(30 * 86400.0, description="how long rows stay on this disk after the database has them")
    keep_waiting: Annotated[AnyDuration, AfterValidator(Within("1 s", "36500 d"))] | None = Field(
        None,
        description="drop records that the database has not confirmed after this time; left out: never for their age",
    )
    limit: Annotated[Size, AfterValidator(_at_least_1_mib)] = Field(
        2 * 2**30, description="the file never grows beyond this; at least 1 MiB"
    )
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
    identified: bool = Field(True, description="false: the serial number is not compared, or the driver asks for none")
    period: Period = Field(
        description='time between readings, on a grid of the wall clock; "continuous": again after each answer'
    )
    timeout: Annotated[AnyDuration, AfterValidator(Within("1 ms", "1 h"))] | None = Field(
        None, description="how long each answer is awaited; default: what the driver says for each question"
    )
    prove_every: ProveEvery = Field(
        5.0,
        description="ask again who answers when the last proof is older than this; "
        '"never": only at the connection, after trouble and after bytes that came unasked',
    )
    line: str | None = Field(None, description='serial line, as in "9600 8N1"; default: factory setting of the driver')
    unit: int | None = Field(None, ge=0, le=255, description="Modbus unit (1 to 247)")
    echo: bool = Field(False, description="true: the RS-485 adapter gives back what was sent")
    visa: str = Field("@py", description="VISA library: @py (pyvisa-py) or @ivi (a vendor's)")
    simulated: bool = Field(False, description="true: its readings are marked as simulated")
    options: dict[str, Any] = Field(default_factory=dict, description="options of the driver, see `daq drivers NAME`")


class StationConfig(Table):
    """The config of `daq run`."""

    station: StationName = Field(description="name of the station in topics and tags")
    broker: Broker = Broker()
    spool: SpoolTable = SpoolTable()
    instruments: dict[Name, InstrumentTable] = Field(min_length=1)


class InfluxTable(Table):
    """The database; the server is asked which generation it is."""

    url: Url = Field(description='as in "http://127.0.0.1:8086"')
    database: str = Field("daq", description="bucket (2.x) or database (1.x, 3)")
    org: str = Field("", description="organisation (2.x)")
    user: HttpUser | None = Field(None, description="user (1.x)")
    token_file: File | None = Field(
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
        token = secret(self.token_file, "influxdb-token", "DAQ_INFLUXDB_TOKEN")
        place = self.token_file or "the token"
        if token is not None and not token.isprintable():
            raise ConfigError([f"{place}: a token is one line without control characters; this is another file"])
        if token is not None and self.user is not None and any(ord(one) > 0xFF for one in token):
            raise ConfigError([f"{place}: beside a user it holds no characters beyond Latin-1, such as the euro"])
        return token


class ArchiveTable(Table):
    """The embedded sink: one SQLite file with the same measurements, tags and fields."""

    path: File | None = Field(
        None, description="default: archive.sqlite in systemd's state directory, else in the working folder"
    )


class BridgeConfig(Table):
    """The config of `daq bridge`: a broker, and InfluxDB or (where that table is missing) an archive file."""

    broker: Broker = Broker()
    name: BridgeName | None = Field(None, description="name of this bridge; default: host name and process id")
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
        except UnicodeDecodeError as error:
            raise ConfigError([f"{given}: cannot read the secret: it is no text"]) from error
        except OSError as error:
            if path is not None or not isinstance(error, FileNotFoundError):  # systemd may not know of this credential
                raise ConfigError([f"{given}: cannot read the secret: {error.strerror}"]) from error
    return os.environ.get(variable)


def check_files(path: Path, config: StationConfig | BridgeConfig) -> None:
    """Read the files that the config at `path` names for broker and database; ConfigError holds each that cannot be."""
    problems: list[str] = []
    for key, read in _files(config):
        try:
            read()
        except ConfigError as error:
            problems += [f"{path}: {key}: {problem}" for problem in error.problems]
    problems += [f"{path}: {problem}" for problem in _shared(path, config)]
    if problems:
        raise ConfigError(problems)


def _shared(path: Path, config: StationConfig | BridgeConfig) -> Iterator[str]:
    """Name each file that a service would read and also write over."""
    key, written = (
        ("[spool] path", config.spool.path)
        if isinstance(config, StationConfig)
        else ("[archive] path", config.archive.path)
    )
    tls = config.broker.tls or Tls()
    read = {
        "this config": path,
        "[broker] password_file": config.broker.password_file,
        "[broker.tls] ca": tls.ca,
        "[broker.tls] certificate": tls.certificate,
        "[broker.tls] key": tls.key,
    }
    for what, file in read.items():
        if written is not None and file is not None and os.path.realpath(written) == os.path.realpath(file):
            yield f"{key}: {written} is the file of {what}; records need a file of their own"


def _files(config: StationConfig | BridgeConfig) -> Iterator[tuple[str, Callable[[], object]]]:
    yield "[broker] password_file", config.broker.password
    if (tls := config.broker.tls) is not None:
        for key, file in (("ca", tls.ca), ("certificate", tls.certificate), ("key", tls.key)):
            if file is not None:
                yield f"[broker.tls] {key}", partial(_check_readable, file)
    if isinstance(config, BridgeConfig) and config.influxdb is not None:
        yield "[influxdb] token_file", config.influxdb.token


def _check_readable(file: Path) -> None:
    try:
        file.open("rb").close()
    except OSError as error:
        raise ConfigError([f"{file}: cannot be read: {error.strerror}"]) from error


T = TypeVar("T", bound=Table)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; ConfigError where it is none. A byte order mark, as on Windows, is no mistake."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: cannot be read: {error}"]) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{path}: no valid TOML: {error}"]) from error
    except ValueError as error:  # a whole number of more digits than Python reads
        raise ConfigError([f"{path}: no valid TOML: a whole number in it is too long"]) from error
    except RecursionError as error:
        raise ConfigError([f"{path}: no valid TOML: lists or tables lie too deep in one another"]) from error


def load(path: Path, model: type[T]) -> T:
    """Read a TOML file into `model`; ConfigError holds every mistake of the file."""
    return made(path, read_toml(path), model)


def made(path: Path, document: dict[str, Any], model: type[T]) -> T:
    """Make a `model` of what was read from `path`; ConfigError holds every mistake of it."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise ConfigError([f"{path}: {problem}" for problem in explain(error, model)]) from error
