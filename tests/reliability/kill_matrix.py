"""Kills each part of a run at each phase of it, and looks at what is left: ``make kill-matrix``.

Every cell is several runs of the scenario ``rekey``. A run counts as clean if its exit status is one that
fits, nothing that bears its id is left on the machine (processes, containers, networks, mounts, files), no
network namespace of it lives on, and the evidence that was written up to then can be read.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from machine import HOPBED, ROOT, network_namespaces, wait_until_gone
from victims import VICTIMS, Victim, of_run

from orchestrator.capture.pcapng import read_file
from orchestrator.evidence import verdict
from orchestrator.evidence.folder import CAPTURES, RUN, TIMELINE, VERDICT
from orchestrator.evidence.read import read_run

PHASES = {
    "images": "testbed.starting",  # the image has been looked at, nothing is made yet
    "network": "bridge.up",
    "nodes": "node.ready",
    "tunnel": "ike-sa.established",
    "scenario": "child-sa.rekeyed",
    "capture stop": "captures.ending",
    "report": "report.started",
}
"""The phases of a run, by the event that begins each."""
_RUN_ID = re.compile(r"testbed\.starting run ([0-9a-f]{8})")
_GONE_WITHIN = 30.0
"""Seconds after which what is there still counts as left behind."""


class Result(NamedTuple):
    """What one run came to: what is wrong, or nothing; and whether the victim was there at all."""

    problems: tuple[str, ...]
    was_there: bool


def kill_once(victim: Victim, phase: str, runtime: str) -> Result:
    """One run, whose victim is killed as the phase begins."""
    with tempfile.TemporaryDirectory(prefix="matrix-") as folder:
        out = Path(folder) / "e"
        words = [
            "run",
            "rekey",
            "-p",
            "count=4",
            "-p",
            "interval=0.2",
            "--runtime",
            runtime,
            "--out",
            str(out),
        ]
        process = subprocess.Popen(
            [*HOPBED, *words], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        run_id, said = "", []
        for line in process.stderr:
            said.append(line)
            if found := _RUN_ID.search(line):
                run_id = found[1]
            if PHASES[phase] in line:
                break
        else:
            return Result((f"the run ended before {phase}: {said[-1:]}",), was_there=False)
        pid = victim.find(run_id, process.pid)
        if pid is not None:
            spaces = set() if phase == "report" else network_namespaces(of_run(run_id) - {process.pid})
            os.kill(pid, victim.number)
        rest = process.stderr.read()
        status = process.wait(180)
        if pid is None:
            wait_until_gone(run_id, _GONE_WITHIN)
            return Result((), was_there=False)
        if victim.name == "dockerd":
            restart_engine()
            subprocess.run([*HOPBED, "ps"], cwd=ROOT, capture_output=True, check=False)
        problems = []
        if status not in victim.statuses:
            problems.append(f"exit status {status}: {rest.strip().splitlines()[-1:]}")
        problems += [f"left: {one}" for one in sorted(wait_until_gone(run_id, _GONE_WITHIN))]
        if network_namespaces() & spaces:
            problems.append("left: a network namespace")
        return Result((*problems, *unreadable(out, ended=status >= 0)), was_there=True)


def restart_engine() -> None:
    """Start the engine that was killed, as a user would."""
    subprocess.run(["make", "engine"], cwd=ROOT, capture_output=True, check=True)


def unreadable(out: Path, *, ended: bool) -> list[str]:
    """What of the evidence does not open; a run that came to its end has a verdict."""
    problems = []
    try:
        if (out / RUN).exists():
            read_run(out)
        if (out / TIMELINE).exists():
            *whole, _being_written = (out / TIMELINE).read_bytes().split(b"\n")
            for line in whole:
                json.loads(line)
        if (out / VERDICT).exists():
            verdict.decode((out / VERDICT).read_bytes())
        elif ended:
            problems.append("there is no verdict")
        for capture in (out / CAPTURES).glob("*.pcapng"):
            if capture.stat().st_size:
                read_file(capture)
    except Exception as error:
        problems.append(f"the evidence does not open: {type(error).__name__}: {error}")
    return problems


def cell(victim: Victim, phase: str, runtime: str, times: int) -> tuple[str, list[str]]:
    """Some runs, as ``clean/all``, or a dash where the victim is never there; and the problems."""
    results = [kill_once(victim, phase, runtime) for _ in range(times)]
    hit = [result for result in results if result.was_there]
    problems = [problem for result in results for problem in result.problems]
    clean = sum(1 for result in hit if not result.problems)
    return (f"{clean}/{len(hit)}" if hit else "–"), problems


def _engine(victims: list[Victim]) -> list[Victim]:
    return [victim for victim in victims if victim.name == "dockerd"]


def _all_but_engine(victims: list[Victim]) -> list[Victim]:
    return [victim for victim in victims if victim.name != "dockerd"]


def main() -> None:
    """Run the matrix, print its table as Markdown, and fail if a cell is not clean."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runtime", choices=("namespaces", "docker"), action="append")
    parser.add_argument("--times", type=int, default=5, help="runs of each cell")
    parser.add_argument("--jobs", type=int, default=3, help="runs side by side")
    parser.add_argument("--victim", action="append", help="only these")
    parser.add_argument("--phase", action="append", choices=tuple(PHASES), help="only these")
    asked = parser.parse_args()
    found: list[str] = []
    for runtime in asked.runtime or ("namespaces", "docker"):
        names = asked.victim or [victim.name for victim in VICTIMS]
        victims = [victim for victim in VICTIMS if runtime in victim.runtimes and victim.name in names]
        phases = asked.phase or list(PHASES)
        cells: dict[Victim, dict[str, str]] = collections.defaultdict(dict)
        # the engine's death concerns every run: those cells stand alone, after the others
        for jobs, chosen in ((asked.jobs, _all_but_engine(victims)), (1, _engine(victims))):
            with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
                under_way = {
                    (victim, phase): pool.submit(cell, victim, phase, runtime, asked.times)
                    for victim in chosen
                    for phase in phases
                }
                for (victim, phase), job in under_way.items():
                    cells[victim][phase], problems = job.result()
                    where = f"{runtime}, {victim.name} {victim.number.name}, {phase}"
                    found += [f"{where}: {problem}" for problem in problems]
        print(f"\n| {runtime} | {' | '.join(phases)} |\n|---|{'---|' * len(phases)}")
        for victim in victims:
            name = f"{victim.name} {signal.Signals(victim.number).name}"
            print(f"| {name} | {' | '.join(cells[victim][phase] for phase in phases)} |", flush=True)
    for problem in found:
        print(problem, file=sys.stderr)
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
