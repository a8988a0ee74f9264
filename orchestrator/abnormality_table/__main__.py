"""``python -m orchestrator.abnormality_table``; ``make abnormality-table`` calls it."""

from __future__ import annotations

import datetime
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import click

from orchestrator.abnormality_table import page, runs
from orchestrator.abnormality_table.runs import Bed, Pair
from orchestrator.cli.execute import execute
from orchestrator.cli.options import evidence_folder
from orchestrator.topology.plan import Dataplane

K = TypeVar("K")

PAGE = Path("docs/ike-abnormality-table.md")
LONG = "60"
"""T1 and T2, in seconds, of the comparison by charon's timers."""
LONG_DURATION = "180"
"""Longer than an attempt by charon's own timers lasts, 165 s."""


@click.command()
@click.option("--page", "target", type=click.Path(path_type=Path), default=PAGE, show_default=True)
@click.option("--evidence", type=click.Path(path_type=Path), help="Where the runs go; runs there are kept.")
@click.option("--jobs", type=click.IntRange(1, 32), default=8, show_default=True, help="Testbeds at a time.")
@click.option("--seconds", default="30", show_default=True, help="T1 and T2.")
@click.option("--duration", default="65", show_default=True, help="Seconds for which each stays broken.")
@click.option("--runtime", default="auto", show_default=True, help="namespaces, docker or auto.")
def main(target: Path, evidence: Path | None, jobs: int, seconds: str, duration: str, runtime: str) -> None:
    """Run every abnormality without the handling and with it, and write the page."""

    async def verb() -> None:
        folder = evidence_folder(evidence, "abnormality-table")
        bed = Bed(file=Path("compose.yaml"), runtime=runtime, dataplane=Dataplane.AUTO.value)
        kinds, soon = runs.kind_pairs(seconds, duration), runs.activated(seconds)
        long, floods = runs.long_pairs(LONG, LONG_DURATION), runs.floods(seconds)
        steady = runs.steady_pairs(seconds)
        # the longest first, so that the last slots are not theirs
        every: list[Pair] = [*long.values(), *kinds.values(), *soon.values()]
        every += [*floods.values(), *steady.values()]
        kept = any(runs.is_done(pair, folder) for pair in every)
        begin = time.monotonic()
        await runs.run_all(every, bed, folder, jobs, lambda text: click.echo(text, err=True))
        found = {pair.name: runs.verdicts(pair, folder) for pair in every}
        version = next(
            (v.versions.get("strongSwan", "?") for sides in found.values() for v in sides.values() if v), "?"
        )
        setting = page.Setting(
            date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
            command=f"make abnormality-table JOBS={jobs}",
            machine=f"{os.cpu_count()} processors, Linux {platform.release()}, strongSwan {version}",
            seconds=None if kept else time.monotonic() - begin,
            jobs=jobs,
            times=f"T1 = T2 = {seconds} s, {duration} s each",
            long_times=f"T1 = T2 = {LONG} s, {LONG_DURATION} s each",
        )

        text = page.whole(
            setting,
            kinds=_of(kinds, found),
            soon=_of(soon, found),
            long=_of(long, found),
            floods=_of(floods, found),
            steady=_of(steady, found),
        )
        target.write_text(text)
        click.echo(target)

    execute(verb)


def _of(pairs: Mapping[K, Pair], found: Mapping[str, page.Sides]) -> dict[K, page.Sides]:
    return {key: found[pair.name] for key, pair in pairs.items()}


if __name__ == "__main__":
    main()
