"""Runs scenarios at the same time, again and again, beside somebody else's things: ``make isolation``."""

from __future__ import annotations

import argparse
import concurrent.futures
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from foreign import foreign_things, say
from machine import HOPBED, ROOT, wait_until_gone
from table_in_docs import command_of, made_by, write_table

_RUN_ID = re.compile(r"testbed\.starting run ([0-9a-f]{8})")
_GONE_WITHIN = 30.0


def one(runtime: str, scenario: str, out: Path) -> list[str]:
    """One run; what is wrong with it."""
    words = ["run", scenario, "--runtime", runtime, "-p", "rate=100", "-p", "tcp_rate=0", "--out", str(out)]
    done = subprocess.run([*HOPBED, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    found = _RUN_ID.search(done.stderr)
    problems = []
    if done.returncode:
        said = [
            line
            for line in (done.stderr + done.stdout).splitlines()
            if line.startswith(("hopbed:", "fail", "inc"))
        ]
        problems.append(f"exit status {done.returncode}: {said or done.stderr.splitlines()[-1:]}")
    if found:
        problems += [f"left: {left}" for left in sorted(wait_until_gone(found[1], _GONE_WITHIN))]
    return problems


def round_of_runs(runtime: str, scenario: str, at_once: int) -> list[str]:
    """Several runs side by side; what is wrong with any."""
    with (
        tempfile.TemporaryDirectory(prefix="isolation-") as folder,
        concurrent.futures.ThreadPoolExecutor(at_once) as pool,
    ):
        runs = [pool.submit(one, runtime, scenario, Path(folder) / str(number)) for number in range(at_once)]
        return [problem for run in runs for problem in run.result()]


def main() -> None:
    """Run the rounds and print a table as Markdown; fail if a run did not pass or something changed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runtime", choices=("namespaces", "docker"), action="append")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--scenario", default="tunnel")
    parser.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    asked = parser.parse_args()
    runtimes = asked.runtime or ["namespaces", "docker"]
    found: list[str] = []
    lines = ["| runtime | rounds | at once | runs that passed | seconds a round |", "|---|---|---|---|---|"]
    with foreign_things(docker="docker" in runtimes) as told:
        before = say(told)
        for runtime in runtimes:
            started = time.monotonic()
            failed = 0
            for number in range(asked.rounds):
                problems = round_of_runs(runtime, asked.scenario, asked.at_once)
                failed += sum(problem.startswith("exit") for problem in problems)
                found += [f"{runtime}, round {number + 1}: {problem}" for problem in problems]
            took = (time.monotonic() - started) / asked.rounds
            runs = asked.rounds * asked.at_once
            row = f"| {runtime} | {asked.rounds} | {asked.at_once} | {runs - failed} of {runs} | {took:.1f} |"
            lines.append(row)
            print(row, file=sys.stderr, flush=True)
        after = say(told)
    found += [
        f"somebody else's {name} changed: {before[name]} > {after[name]}"
        for name in told
        if before[name] != after[name]
    ]
    same = ", ".join(name for name in told if before[name] == after[name])
    lines += ["", f"Unchanged beside them: {same}. {made_by(command_of('isolation'))}"]
    print("\n".join(lines))
    if asked.write:
        write_table("isolation", "\n".join(lines))
    for problem in found:
        print(problem, file=sys.stderr)
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
