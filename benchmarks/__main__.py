"""`make bench`: run all benchmarks and print them as a table in Markdown."""

from __future__ import annotations

import asyncio

from benchmarks.measure import machine
from benchmarks.road import DATABASE, everything


def main() -> None:
    """Run and print."""
    results = asyncio.run(everything())
    print(f"\n{machine()}; mosquitto, {DATABASE}\n\n| what | seen | aim | remark |\n|---|---|---|---|")
    for one in results:
        print(f"| {one.name} | {one.value} | {one.aim} | {one.note} |")


if __name__ == "__main__":
    main()
