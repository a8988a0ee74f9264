"""Runs the scenario ``soak`` and prints what it came to as a table: ``make soak``."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

from machine import HOPBED, ROOT
from table_in_docs import command_of, made_by, write_table

from orchestrator.evidence import verdict
from orchestrator.evidence.folder import VERDICT

_TOLD = ("hops", "rekeys of", "negotiations of", "flat: ", "memory of the orchestrator")
"""Begin the names of the checks that the table has."""


def rows(found: verdict.Verdict) -> list[str]:
    """The checks of what happened and of what grew; and the flows together."""
    lines = [
        f"| {check.name} | {_words(check.expected)} | {_words(check.measured)} | {check.outcome.value} |"
        for check in found.checks
        if check.name.startswith(_TOLD)
    ]
    lost, sent = (sum(getattr(flow, name) for flow in found.flows) for name in ("lost", "sent"))
    lines.append(
        f"| probes lost on {len(found.flows)} flows | 0 | {lost:,} of {sent:,} | {_passed(not lost)} |"
    )
    return lines


def _passed(passed: bool) -> str:
    return "pass" if passed else "fail"


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{name} {_words(one)}" for name, one in value.items())
    return ", ".join(map(_words, value)) if isinstance(value, list) else f"{value}"


def main() -> None:
    """Soak, print the table as Markdown, and end as the run did."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runtime", choices=("namespaces", "docker"), default="namespaces")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="where the evidence goes: a new folder")
    parser.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    asked = parser.parse_args()
    words = ["-p", f"minutes={asked.minutes:g}", "--runtime", asked.runtime, "--seed", str(asked.seed)]
    done = subprocess.run(
        [*HOPBED, "run", "soak", *words, "--out", str(asked.out.resolve())],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if not (asked.out / VERDICT).exists():
        sys.exit(done.stderr[-2000:] or done.returncode)
    found = verdict.decode((asked.out / VERDICT).read_bytes())
    head = f"| {asked.runtime}, {asked.minutes:g} minutes | expected | measured | |\n|---|---|---|---|\n"
    text = (
        f"{head}{chr(10).join(rows(found))}\n\nVerdict: {found.outcome.value}. {made_by(command_of('soak'))}"
    )
    print(f"{text}\n\nThe curves: {asked.out / 'report.html'}")
    if asked.write:
        write_table(f"soak-{asked.runtime}", text)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
