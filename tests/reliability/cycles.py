"""Brings the default testbed up and down hundreds of times in one process: ``make soak-cycles``."""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import sys
import time
from pathlib import Path

import anyio
from resources import Sample, curves, sample, trends
from table_in_docs import command_of, made_by, write_table

from orchestrator.testbed import Testbed

_SLACK = {"rss_kib": 8192, "threads": 2}
"""What may come and go: pages of which the allocator uses a part, and worker threads; nothing else may."""


async def cycles(runtime: str, count: int) -> list[Sample]:
    """The samples after each cycle."""
    started = time.monotonic()
    found = []
    for _ in range(count):
        async with Testbed.from_compose("compose.yaml", runtime=runtime) as bed:
            run_id = bed.plan.run_id
        _give_back()
        found.append(sample(started, run_id))
    return found


def _give_back() -> None:
    """Free what nothing refers to, and what the allocator keeps of it for each thread that ever ran."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def main() -> None:
    """Run the cycles, print the trend of each figure, and fail if one grows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runtime", choices=("namespaces", "docker"), default="namespaces")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--out", type=Path, help="a folder for the samples and the curves")
    parser.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    asked = parser.parse_args()
    samples = anyio.run(cycles, asked.runtime, asked.count)
    if asked.out is not None:
        asked.out.mkdir(parents=True, exist_ok=True)
        (asked.out / "samples.json").write_text(json.dumps([one._asdict() for one in samples]))
        (asked.out / "curves.html").write_text(curves(samples, f"{asked.count} cycles in {asked.runtime}"))
    each = samples[-1].seconds / asked.count
    lines = [f"| {asked.count} cycles in {asked.runtime} | first fifth | last fifth | peak | flat |"]
    lines.append("|---|---|---|---|---|")
    grown = False
    for trend in trends(samples):
        flat = trend.is_flat(tolerance=0.05, slack=_SLACK.get(trend.name, 0))
        grown |= not flat
        figures = f"{trend.first:g} | {trend.last:g} | {trend.peak:g}"
        lines.append(f"| {trend.name} | {figures} | {'yes' if flat else 'NO'} |")
    lines += ["", f"{each:.2f} s each. {made_by(command_of('soak-cycles'))}"]
    print("\n".join(lines))
    if asked.write:
        write_table(f"soak-cycles-{asked.runtime}", "\n".join(lines))
    sys.exit(grown)


if __name__ == "__main__":
    main()
