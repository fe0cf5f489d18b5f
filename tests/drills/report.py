"""How long a drill runs, and what it saw: one row for each drill, and docs/reliability.md out of all rows.

`make test` runs every drill in its short form. `make drills` sets DAQ_DRILLS=long and DAQ_DRILL_REPORT to a folder;
what was seen is left there and becomes the table.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

SEED = int(os.environ.get("DAQ_DRILL_SEED", "1"))
LONG = os.environ.get("DAQ_DRILLS") == "long"
TABLE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- drills: begin -->", "<!-- drills: end -->"


@dataclass(frozen=True)
class Row:
    """One drill: its number in the list of demands, what is claimed, the aim, what was seen, how to see it again."""

    number: str
    claim: str
    aim: str
    seen: str
    test: str
    seed: int | None = None


def count(short: int, long: int) -> int:
    """Give how often to do it: `short` in the test suite, `long` in the drills, or what DAQ_DRILL_COUNT says."""
    return int(os.environ.get("DAQ_DRILL_COUNT", long if LONG else short))


def note(number: str, *, claim: str, aim: str, seen: str, test: str, seed: int | None = None) -> None:
    """Write down what a drill saw; `number` is "R5", or "R5 half-open" where one demand has several drills."""
    folder = os.environ.get("DAQ_DRILL_REPORT")
    if folder is None:
        return
    path = Path(folder) / f"{number.replace(' ', '-')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(Row(number, claim, aim, seen, test, seed)), indent=1) + "\n")


def _order(row: Row) -> tuple[int, str]:
    return int(row.number.split()[0].removeprefix("R")), row.number


def table(folder: Path) -> str:
    """Write the rows that lie in `folder` as a Markdown table."""
    rows = sorted((Row(**json.loads(path.read_text())) for path in folder.glob("R*.json")), key=_order)
    lines = ["| # | claim | aim | seen | test | seed |", "|---|---|---|---|---|---|"]
    for row in rows:
        seed = "" if row.seed is None else str(row.seed)
        lines.append(f"| {row.number} | {row.claim} | {row.aim} | {row.seen} | `{row.test}` | {seed} |")
    machine = f"Linux {platform.release()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return "\n".join([BEGIN, f"Seen on {machine}.", "", *lines, END])


def main() -> None:
    """Put the table of the folder that is named into docs/reliability.md, between its two marks."""
    text = TABLE.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    TABLE.write_text(before + table(Path(sys.argv[1])) + after)


if __name__ == "__main__":
    main()
