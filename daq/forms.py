"""How durations, sizes, names, hosts and URLs are written in a config, and within which bounds."""

from __future__ import annotations

import ipaddress
import math
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

_DURATIONS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_SIZES = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_TEXT = {"type": "string"}
LONGEST_SPOOL_NAME = 78
"""Bytes: a socket has a name of 107 at most; that of the station takes 7 for its ending and 22 for an open folder."""
LONGEST_MQTT_TEXT = 65_535
CONTINUOUS = 0.0
"""The period of an instrument that is asked again as soon as it has answered."""


def duration(value: object) -> object:
    """Read "500 ms", "2.5 s", "5 min", "1 h", "30 d" as seconds."""
    if isinstance(value, str):
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s|min|h|d)", value.strip())
        if match is None:
            raise ValueError(
                f'"{value}" is no duration; write a number and a unit, as in "500 ms", "2 s", "5 min", "30 d"'
            )
        return float(match[1]) * _DURATIONS[match[2]]
    raise ValueError(f'{value!r} is no duration; write a number and a unit in quotes, as in "2 s"')


class Within:
    """Bounds of a duration in seconds, both possible; `shortest` and `longest` are also their words."""

    def __init__(self, shortest: str, longest: str) -> None:
        self._words = (shortest, longest)
        self._bounds = (float(str(duration(shortest))), float(str(duration(longest))))

    def __call__(self, value: float) -> float:
        """Give the value back; ValueError says the bounds."""
        if not self._bounds[0] <= value <= self._bounds[1]:
            raise ValueError(f'must be from "{self._words[0]}" to "{self._words[1]}"')
        return value


def size(value: object) -> object:
    """Read "64 KiB", "512 MiB", "2 GiB" as bytes."""
    if isinstance(value, str):
        match = re.fullmatch(r"([0-9]{1,12}) ?(KiB|MiB|GiB)", value.strip())
        if match is not None:
            return int(match[1]) * _SIZES[match[2]]
    raise ValueError(f'{value!r} is no size; write a number and a unit in quotes, as in "512 MiB" or "2 GiB"')


def _size_of_a_file(value: int) -> int:
    if value > 2**47:
        raise ValueError("must be at most 131072 GiB: an SQLite file cannot be larger")
    return value


def _period(value: object) -> object:
    if value == "continuous":
        return CONTINUOUS
    seconds = duration(value)
    if isinstance(seconds, float) and seconds < 0.001:
        raise ValueError('is shorter than 1 ms; to read as often as possible write "continuous"')
    return Within("1 ms", "366 d")(seconds) if isinstance(seconds, float) else seconds


def _prove_every(value: object) -> object:
    if value == "never":
        return math.inf
    seconds = duration(value)
    return Within("0 s", "366 d")(seconds) if isinstance(seconds, float) else seconds


def _name(value: object) -> object:
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,64}", value):
        return value
    raise ValueError(f"{value!r} cannot be a name; use letters, digits, - and _ (it becomes part of an MQTT topic)")


def _station(name: str) -> str:
    if name in {"_bridges", "_probe"}:
        raise ValueError(f'"{name}" cannot be the name of a station: bridges have the topics below it')
    return name


def _bridge(name: str) -> str:
    if name in {"data", "ack", "status", "live"}:
        raise ValueError(f'"{name}" cannot be the name of a bridge: the topic of its status would be one of a station')
    return name


def _mqtt_user(name: str) -> str:
    if not 0 < len(name.encode()) <= LONGEST_MQTT_TEXT or "\0" in name:
        raise ValueError(f"a user of MQTT has 1 to {LONGEST_MQTT_TEXT} bytes, and none of them is 0")
    return name


def _http_user(name: str) -> str:
    """Refuse what HTTP basic authentication cannot carry, as the client of the database writes it."""
    if ":" in name or not name.isprintable() or any(ord(character) > 0xFF for character in name):
        raise ValueError(f'{name!r} cannot be a user: write it without ":" and control characters, in Latin-1')
    return name


def host_and_port(text: str, default: int) -> tuple[str, int]:
    """Read "host" or "host:port"; an IPv6 address stands in brackets."""
    if "@" in text:
        raise ValueError("a host with a user before it is no host; write those as user and password_file")
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[^\s:/@]+)(?::([0-9]{1,5}))?", text)
    if match is None or not 0 < int(match[2] or default) < 65536:
        raise ValueError(f'"{text}" is no host; write "host" or "host:port", as in "broker.lab:1883"')
    check_host(match[1].strip("[]"))
    return match[1].strip("[]"), int(match[2] or default)


def check_host(name: str) -> None:
    """Refuse a host that no name server and no network can know."""
    if ":" in name or re.fullmatch(r"[0-9][0-9.]*", name):
        try:
            ipaddress.ip_address(name)
        except ValueError:
            raise ValueError(
                f'"{name}" is no IP address; write one as in "192.168.0.7", or the name of a host'
            ) from None
        return
    try:
        name.encode("idna")
        known = _HOST.fullmatch(name)
    except UnicodeError:
        known = None
    if known is None:
        raise ValueError(
            f'"{name}" is no host name: each part between two dots has 1 to 63 characters, as in "broker.lab", '
            "and these are letters, digits, - and _"
        )


_HOST = re.compile(r"[\w-]+(\.[\w-]+)*\.?")
_WRITES = re.compile(r"/(api/v[23]/(write|write_lp|query|query_sql)|write|query|ping|health)/?$")


def database_url(text: str) -> str:
    """Check the URL of a database: its host, and before that perhaps the prefix of a reverse proxy, and no more."""
    example = 'write it as in "http://127.0.0.1:8086"'
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(f'"{text}" is no URL; {example}') from None
    if parts.scheme not in {"http", "https"} or any(character.isspace() for character in text):
        raise ValueError(f'"{text}" is no URL of a database; {example}')
    if not parts.hostname or port == 0:
        raise ValueError(f'"{text}" names no host; {example}')
    if parts.username is not None or parts.password is not None:
        raise ValueError("a user or password must not be in a URL; write them as user and token_file")
    if parts.query or parts.fragment:
        raise ValueError(f'"{text}": nothing may follow the path; database and org have keys of their own')
    if found := _WRITES.search(parts.path):
        kept = text.rstrip("/").removesuffix(found[0].rstrip("/"))
        raise ValueError(f'"{text}" ends in a path that the bridge adds by itself; write "{kept}"')
    check_host(parts.hostname)
    return text


def _file(value: Path) -> Path:
    """Refuse what can be the name of no file; whether it is there, only the program that uses it can say."""
    if not value.name or "\0" in str(value):
        raise ValueError(f"{str(value)!r} is no name of a file")
    folder = False
    with suppress(OSError):  # what may not be looked at is told by the program that uses it
        folder = value.is_dir()
    if folder:
        raise ValueError(f'"{value}" is a folder; write the name of a file')
    return value


def _spool_file(value: Path) -> Path:
    """Refuse a name so long that the socket beside the spool, at which the station is asked, could not have its own."""
    if (length := len(os.fsencode(value.name))) > LONGEST_SPOOL_NAME:
        raise ValueError(
            f'"{value}": the name of the file has {length} bytes; at most {LONGEST_SPOOL_NAME} are possible'
        )
    return value


AnyDuration = Annotated[float, BeforeValidator(duration), Field(json_schema_extra=_TEXT)]
Duration = Annotated[AnyDuration, AfterValidator(Within("0 s", "36500 d"))]
Period = Annotated[float, BeforeValidator(_period), Field(json_schema_extra=_TEXT)]
ProveEvery = Annotated[float, BeforeValidator(_prove_every), Field(json_schema_extra=_TEXT)]
Size = Annotated[int, BeforeValidator(size), AfterValidator(_size_of_a_file), Field(json_schema_extra=_TEXT)]
Name = Annotated[str, BeforeValidator(_name)]
StationName = Annotated[Name, AfterValidator(_station)]
BridgeName = Annotated[Name, AfterValidator(_bridge)]
MqttUser = Annotated[str, AfterValidator(_mqtt_user)]
HttpUser = Annotated[str, AfterValidator(_http_user)]
File = Annotated[Path, AfterValidator(_file)]
SpoolFile = Annotated[File, AfterValidator(_spool_file)]
Url = Annotated[str, AfterValidator(database_url)]
