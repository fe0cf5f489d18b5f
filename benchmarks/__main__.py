"""`make bench`: run all benchmarks and print them as a table in Markdown."""

from __future__ import annotations

import asyncio

from benchmarks.measure import machine
from benchmarks.road import DATABASE, everything


def main() -> None:
    """Run all benchmarks and print the table."""
    results = asyncio.run(everything())
    print(f"\n{machine()}; mosquitto, {DATABASE}\n\n| what | measured | target | remark |\n|---|---|---|---|")
    for one in results:
        print(f"| {one.name} | {one.value} | {one.aim} | {one.note} |")


if __name__ == "__main__":
    main()
