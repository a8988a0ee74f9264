"""Kills each part of a run at each phase of it, and looks at what is left: ``make kill-matrix``.

A cell is several runs. One is clean if its exit status is one that fits; if nothing of it is left on the
machine: no process, network namespace, interface, mount, container, network, rule of the packet filter,
temporary file or folder; and if the evidence of everything until then is on disk and can be read.

Docker's runs have an engine of their own (``engine_of_own.py``), so that its death harms nobody else's.
Results are kept in a file as they come: the same command again goes on where it was ended.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from engine_of_own import OwnEngine
from kill import Engine, kill
from machine import docker_lines
from table_in_docs import command_of, made_by, write_table
from victims import PHASES, VICTIMS, Victim


class Cell(NamedTuple):
    """One place of the matrix."""

    runtime: str
    victim: Victim
    phase: str

    @property
    def key(self) -> str:
        """What it is called in the file of results."""
        return f"{self.runtime}: {self.victim.title}: {self.phase}"


class Results:
    """What the runs of each cell came to, in a file of one JSON document a line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.runs: dict[str, list[dict[str, object]]] = {}
        if path.exists():
            for line in path.read_text().splitlines():
                one = json.loads(line)
                self.runs.setdefault(one["cell"], []).append(one)

    def add(self, cell: Cell, **result: object) -> None:
        """Keep the result of one more run."""
        one = {"cell": cell.key, **result}
        self.runs.setdefault(cell.key, []).append(one)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            file.write(json.dumps(one) + "\n")

    def of(self, cell: Cell) -> list[dict[str, object]]:
        """The runs of a cell so far."""
        return self.runs.get(cell.key, [])

    def missing(self, cell: Cell, repeat: int) -> int:
        """How many more runs a cell needs; none once a run found that nobody is there, nor has to be."""
        runs = self.of(cell)
        empty = any(not one["was_there"] and not one["problems"] for one in runs)
        return 0 if empty else max(0, repeat - len(runs))

    def problems(self, cell: Cell) -> list[str]:
        """What was wrong with any run of a cell."""
        return [f"{cell.key}: {problem}" for one in self.of(cell) for problem in one["problems"]]  # type: ignore[attr-defined]

    def in_words(self, cell: Cell) -> str:
        """``clean/killed``; a dash where the victim is never there."""
        runs = self.of(cell)
        hit = [one for one in runs if one["was_there"] or one["problems"]]
        return f"{sum(not one['problems'] for one in hit)}/{len(hit)}" if hit else "–" if runs else ""


def fill(cell: Cell, results: Results, repeat: int, engine: Engine | None) -> None:
    """Run what is missing of a cell."""
    while results.missing(cell, repeat):
        begun = time.monotonic()
        killed = kill(cell.victim, cell.phase, cell.runtime, engine)
        took = round(time.monotonic() - begun, 1)
        results.add(cell, problems=killed.problems, was_there=killed.was_there, seconds=took)
        words = "; ".join(killed.problems) or ("clean" if killed.was_there else "nobody there")
        print(f"{took:6.1f} s  {cell.key}: {words}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def engine_for(cells: list[Cell]) -> Iterator[Engine | None]:
    """An engine of our own where a cell needs one; nothing may be left in it at the end."""
    if not any(cell.runtime == "docker" for cell in cells):
        yield None
        return
    with OwnEngine() as own:
        before = os.environ.get("DOCKER_HOST")
        os.environ["DOCKER_HOST"] = own.host
        try:
            yield Engine(lambda: own.pid, own.start, own.inside)
            left = docker_lines("ps", "-aq") | docker_lines("network", "ls", "-q", "--filter", "type=custom")
            if left:
                raise SystemExit(f"left in the engine in the end: {left}")
        finally:
            os.environ.pop("DOCKER_HOST")
            if before is not None:
                os.environ["DOCKER_HOST"] = before


def table_of(runtime: str, cells: list[Cell], results: Results) -> str:
    """The cells of one runtime, as Markdown."""
    shown = [cell for cell in cells if cell.runtime == runtime]
    phases = [phase for phase in PHASES if any(cell.phase == phase for cell in shown)]
    lines = [f"| {runtime} | {' | '.join(phases)} |", f"|---|{'---|' * len(phases)}"]
    for victim in (one for one in VICTIMS if any(cell.victim is one for cell in shown)):
        found = [results.in_words(Cell(runtime, victim, phase)) for phase in phases]
        lines.append(f"| {victim.title} | {' | '.join(found)} |")
    return "\n".join(lines)


def main() -> None:
    """Run the matrix, print its table as Markdown, and fail if a run is not clean."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runtime", choices=("namespaces", "docker"), action="append")
    parser.add_argument("--repeat", type=int, default=5, help="runs of each cell")
    parser.add_argument("--jobs", type=int, default=4, help="runs side by side")
    parser.add_argument("--victim", action="append", help="only these, by name")
    parser.add_argument("--phase", action="append", choices=PHASES, help="only these")
    parser.add_argument("--results", type=Path, default=Path("evidence/kill-matrix.jsonl"))
    parser.add_argument("--write", action="store_true", help="put the tables into docs/reliability.md")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the engine goes too
    cells = [
        Cell(runtime, victim, phase)
        for runtime in asked.runtime or ("namespaces", "docker")
        for victim in VICTIMS
        if runtime in victim.runtimes and victim.name in (asked.victim or [victim.name])
        for phase in asked.phase or PHASES
    ]
    results = Results(asked.results)
    begun = time.monotonic()
    # the engine's death concerns every run on it: those cells stand alone, after the others
    alone = [cell for cell in cells if cell.victim.name == "dockerd"]
    missing = [cell for cell in cells if results.missing(cell, asked.repeat)]
    with engine_for(missing) as engine:
        for jobs, chosen in ((asked.jobs, [one for one in missing if one not in alone]), (1, alone)):
            with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
                try:
                    for done in [pool.submit(fill, one, results, asked.repeat, engine) for one in chosen]:
                        done.result()
                except BaseException:
                    pool.shutdown(cancel_futures=True)  # those under way are waited for
                    raise
    runtimes = dict.fromkeys(cell.runtime for cell in cells)
    tables = "\n\n".join(table_of(runtime, cells, results) for runtime in runtimes)
    runs = sum(len(results.of(cell)) for cell in cells)
    took = f"{runs} runs; this time {time.monotonic() - begun:.0f} s"
    text = f"{tables}\n\n{took}. {made_by(command_of('kill-matrix'))}"
    print(text)
    if asked.write:
        write_table("kill-matrix", text)
    problems = [problem for cell in cells for problem in results.problems(cell)]
    for problem in problems:
        print(problem, file=sys.stderr)
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
