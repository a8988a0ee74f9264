"""Runs the integration suite again and again beside busy processors: ``make suite-under-load``.

Two processes do nothing but burn. What each run of the suite came to is kept in a file as it comes: the same
command again goes on where it was ended.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from machine import ROOT
from table_in_docs import command_of, made_by, write_table

_BURN = "while True: pass"
_NAME = "suite-under-load"


class SuiteRun(NamedTuple):
    """What one run of the suite came to.

    Attributes:
        commit: what was tested.
        seconds: that it took.
        load: the mean load of its last 15 minutes.
        passed: how many tests.
        skipped: how many.
        failed: which.
    """

    commit: str
    seconds: float
    load: float
    passed: int
    skipped: int
    failed: Sequence[str]


@contextlib.contextmanager
def burners(count: int) -> Iterator[None]:
    """So many processes that take all the processor time they get; they end with this one too."""
    argv = ["setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-c", _BURN]
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.callback(stack.enter_context(subprocess.Popen(argv)).kill)
        yield


def run_suite(words: Sequence[str]) -> SuiteRun:
    """Run the suite once.

    Raises:
        SystemExit: it did not run to its end.
    """
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="under-load-") as folder:
        report = Path(folder) / "junit.xml"
        argv = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *words]
        with subprocess.Popen(argv, cwd=ROOT, process_group=0) as suite:
            try:
                status = suite.wait()
            except BaseException:
                suite.send_signal(signal.SIGINT)  # it clears up behind itself
                raise
        if status not in (0, 1) or not report.exists():
            raise SystemExit(f"the suite ended with status {status}: this is no run of it")
        passed, skipped, failed = read_report(report.read_text())
    return SuiteRun(commit, round(time.monotonic() - begun), os.getloadavg()[2], passed, skipped, failed)


def read_report(text: str) -> tuple[int, int, list[str]]:
    """How many tests passed, how many were skipped and which failed, in a JUnit report of pytest's."""
    passed = skipped = 0
    failed = []
    for case in ElementTree.fromstring(text).iter("testcase"):
        outcomes = {child.tag for child in case}
        if outcomes & {"failure", "error"}:
            failed.append(f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}")
        elif "skipped" in outcomes:
            skipped += 1
        else:
            passed += 1
    return passed, skipped, sorted(set(failed))


def table_of(runs: Sequence[SuiteRun]) -> str:
    """A line for each run, and one for each test that ever failed, as Markdown."""
    lines = ["| run | commit | minutes | load | passed | skipped | failed |", "|---|---|---|---|---|---|---|"]
    for number, run in enumerate(runs, 1):
        figures = (
            f"{run.seconds / 60:.0f} | {run.load:.0f} | {run.passed} | {run.skipped} | {len(run.failed)}"
        )
        lines.append(f"| {number} | {run.commit} | {figures} |")
    failures = collections.Counter(name for run in runs for name in run.failed)
    if failures:
        lines += ["", f"| test | failed, of {len(runs)} runs |", "|---|---|"]
        lines += [f"| `{name}` | {times} |" for name, times in failures.most_common()]
    return "\n".join(lines)


def main() -> None:
    """Run the suite as often as is missing, print the table, and fail if a test failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--burners", type=int, default=2)
    parser.add_argument("--results", type=Path, default=Path("evidence/suite-under-load.jsonl"))
    parser.add_argument(
        "--words", default="-n 3 --dist loadfile tests/integration", help="what pytest is told besides"
    )
    parser.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the burners and the suite go too
    asked.results.parent.mkdir(parents=True, exist_ok=True)
    lines = asked.results.read_text().splitlines() if asked.results.exists() else []
    runs = [SuiteRun(**json.loads(line)) for line in lines]
    with burners(asked.burners):
        while len(runs) < asked.times:
            runs.append(run_suite(shlex.split(asked.words)))
            with asked.results.open("a") as file:
                file.write(json.dumps(runs[-1]._asdict()) + "\n")
    text = f"{table_of(runs)}\n\n{made_by(command_of(_NAME))}"
    print(text)
    if asked.write:
        write_table(_NAME, text)
    sys.exit(any(run.failed for run in runs))


if __name__ == "__main__":
    main()
