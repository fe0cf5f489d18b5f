"""`daq verify` says how many readings of a time lie inside doubts, and compares doubts as the other records."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from daq.commands.verify import verify_command
from tests.unit.commands.doubtful import RECORDS, START, archive_file, spool_file

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Give the config of a station that does not run, and whose spool holds the ten readings."""
    asyncio.run(spool_file(tmp_path))
    path = tmp_path / "station.toml"
    path.write_text(
        f'station = "lab"\n[broker]\nhosts = ["127.0.0.1:1"]\n[spool]\npath = "{tmp_path}/spool.sqlite"\n'
        '[instruments.balance]\ndriver = "mt-sics"\naddress = "tcp://127.0.0.1:1"\nserial = "B1"\nperiod = "1 s"\n'
    )
    return path


def verified(capsys: pytest.CaptureFixture[str], config: Path, *seconds: int, bridge: Path | None = None) -> Any:
    span = tuple(datetime.fromtimestamp(START // 10**9 + one, UTC).isoformat() for one in seconds) or (None, None)
    verify_command(config, bridge, (span[0], span[1]), as_json=True)
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("span", "doubts", "readings"),
    [((), 3, 5), ((0, 2), 1, 0), ((3, 4), 2, 1), ((4, 6), 3, 2), ((6, 9), 2, 1), ((20, 30), 0, 0)],
)
def test_readings_inside_doubts_are_counted(
    config: Path, capsys: pytest.CaptureFixture[str], span: tuple[int, ...], doubts: int, readings: int
) -> None:
    said = verified(capsys, config, *span)
    assert (said["whole"], said["records"]) == (True, len(RECORDS))
    assert (said["doubts"], said["readings_in_doubt"]) == (doubts, readings)


def test_summary_says_it_in_words(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verify_command(config, None, (None, None), as_json=False)
    assert "doubts: 3, with 5 readings inside, which may be wrong" in capsys.readouterr().out.replace("\n", " ")


def test_missing_archive_names_the_config_of_the_bridge(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        verify_command(config, bridge_of(tmp_path), (None, None), as_json=True)
    said = capsys.readouterr().err
    assert (
        said == f"daq: {tmp_path}/archive.sqlite: there is no such file; name the config of the bridge that keeps it\n"
    )


def test_doubt_that_differs_in_the_database_is_found(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored(tmp_path)
    bridge = bridge_of(tmp_path)
    assert verified(capsys, config, bridge=bridge)["equal"] == len(RECORDS)
    with sqlite3.connect(tmp_path / "archive.sqlite") as connection:
        connection.execute("UPDATE point SET fields = replace(fields, 'identity', 'harmless')")
    connection.close()
    with pytest.raises(SystemExit):
        verified(capsys, config, bridge=bridge)
    said = json.loads(capsys.readouterr().out)
    assert [one["seq"] for one in said["findings"]] == [12, 14]
    assert "doubt balance mass at" in said["findings"][0]["text"]
    assert "kind is 'identity' at the station and 'harmless' in the database" in said["findings"][0]["text"]


def bridge_of(folder: Path) -> Path:
    path = folder / "bridge.toml"
    path.write_text(f'[broker]\nhosts = ["127.0.0.1:1"]\n[archive]\npath = "{folder}/archive.sqlite"\n')
    return path


def stored(folder: Path) -> None:
    """Let the archive have, and the spool know that it has, every record."""
    from daq.spool.file import Changes, SpoolFile

    asyncio.run(archive_file(folder))
    file = SpoolFile(folder / "spool.sqlite", 2**30)
    epoch = file.epoch
    file.commit(Changes(stored=[(1, len(RECORDS))]))
    file.close()
    with sqlite3.connect(folder / "archive.sqlite") as connection:
        connection.execute("UPDATE point SET fields = replace(fields, ?, ?)", ("e" * 32, epoch))
    connection.close()
