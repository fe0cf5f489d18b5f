"""An export says of each reading which instrument gave it and whether it may be wrong, whenever that was recorded."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path

import pytest

from daq.commands.export import export_command
from tests.unit.commands.doubtful import RECORDS, START, STRANGER, archive_file, doubt, reading, spool_file

FIRST, SECOND = f"identity: {STRANGER}", "unit: stored without a unit"


async def exported(
    folder: Path, kind: str, start: int | None = None, end: int | None = None, instrument: str | None = None
) -> list[dict[str, str]]:
    records = [*RECORDS, doubt(7, 7, text="at one instant"), doubt(7, 7, "setting", text="9 instead of 7", channel="x")]
    path = await (archive_file if kind == "archive" else spool_file)(folder, records)
    span = (instant(start), instant(end))
    output = folder / "out.csv"
    archive, spool = (path, None) if kind == "archive" else (None, path)
    export_command(archive, spool, instrument, span, output)
    with output.open() as lines:
        return list(csv.DictReader(lines))


def instant(second: int | None) -> str | None:
    return None if second is None else datetime.fromtimestamp(START // 10**9 + second, UTC).isoformat()


def by_second(rows: list[dict[str, str]], channel: str = "mass") -> dict[int, str]:
    return {int(row["value"]): row["doubt"] for row in rows if row["channel"] == channel}


@pytest.mark.parametrize("kind", ["archive", "spool"])
async def test_readings_from_first_to_last_of_a_doubt_show_it_and_no_other(tmp_path: Path, kind: str) -> None:
    rows = await exported(tmp_path, kind)
    assert by_second(rows) == {
        0: "", 1: "", 2: FIRST, 3: FIRST, 4: f"{FIRST}; {SECOND}", 5: SECOND, 6: SECOND,
        7: "identity: at one instant", 8: "", 9: "",
    }  # fmt: skip
    assert by_second(rows, "other") == {3: ""}, "a doubt is of its own channel only"


@pytest.mark.parametrize("kind", ["archive", "spool"])
@pytest.mark.parametrize(("start", "end"), [(3, 4), (4, 5), (6, 7), (5, 9)])
async def test_doubt_is_found_by_its_span_and_not_by_the_time_asked_for(
    tmp_path: Path, kind: str, start: int, end: int
) -> None:
    """The span begins before, ends after, or both; it was recorded after everything."""
    found = by_second(await exported(tmp_path, kind, start, end))
    (tmp_path / "all").mkdir()
    whole = by_second(await exported(tmp_path / "all", kind))
    assert found == {second: whole[second] for second in range(start, end)}
    assert found[start]


@pytest.mark.parametrize("kind", ["archive", "spool"])
async def test_serial_number_stands_beside_whether_it_is_the_expected_one(tmp_path: Path, kind: str) -> None:
    rows = await exported(tmp_path, kind, instrument="balance")
    assert {(row["channel"], row["serial"], row["identified"]) for row in rows} == {
        ("mass", "B1", "True"),
        ("other", "", "False"),
    }
    assert not await exported(tmp_path, kind, instrument="another")


async def test_another_number_that_was_read_is_shown_and_not_identified(tmp_path: Path) -> None:
    path = await spool_file(tmp_path, [reading(1, serial="B2", identified=False)])
    export_command(None, path, None, (None, None), tmp_path / "out.csv")
    (row,) = csv.DictReader((tmp_path / "out.csv").read_text().splitlines())
    assert (row["serial"], row["identified"]) == ("B2", "False")


@pytest.mark.parametrize("kind", ["archive", "spool"])
async def test_name_of_a_file_may_hold_what_has_a_meaning_in_a_uri(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await (archive_file if kind == "archive" else spool_file)(tmp_path, [reading(1)])
    path = made.rename(tmp_path / "a#b?c%41.sqlite")
    monkeypatch.chdir(tmp_path)
    relative = Path(path.name)
    archive, spool = (relative, None) if kind == "archive" else (None, relative)
    export_command(archive, spool, None, (None, None), tmp_path / "out.csv")
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 2
