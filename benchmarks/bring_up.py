"""How long a testbed takes from the command to the first answered ping between its first and its last node.

Hopbed's two runtimes beside Mininet from Debian, in one run, interleaved; each figure is the whole process,
imports too. Mininet runs in a network and a mount namespace of its own, for it works in the host's otherwise.

    make benchmark-bring-up          or: python benchmarks/bring_up.py --nodes 2 10 50 --repeat 5
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

CONTENDERS = Path(__file__).with_name("contenders")
_APART = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child=KILL"]


def commands(nodes: int) -> dict[str, list[str]]:
    """The command line of each contender."""
    hopbed = [sys.executable, str(CONTENDERS / "hopbed_hosts.py")]
    return {
        "namespaces": [*hopbed, "namespaces", str(nodes)],
        "docker": [*hopbed, "docker", str(nodes)],
        "mininet": [*_APART, "/usr/bin/python3", str(CONTENDERS / "mininet_hosts.py"), str(nodes)],
    }


def seconds(command: Sequence[str]) -> tuple[float, float]:
    """Seconds until the ping was answered, and until everything was gone again."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    line = process.stdout.readline()
    answered = time.perf_counter() - start
    process.stdin.close()
    status = process.wait()
    process.stdout.close()
    if line != "answered\n" or status:
        sys.exit(f"{' '.join(command)}: ended with status {status}, having said {line!r}")
    return answered, time.perf_counter() - start - answered


def main() -> None:
    """Measure, and print a table of medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, nargs="+", default=[2, 10, 50])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--without", nargs="*", default=[], choices=["namespaces", "docker", "mininet"])
    asked = parser.parse_args()
    print(
        f"Linux {platform.release()}, {asked.repeat} runs each, interleaved; seconds, median (least to most)"
    )
    print(f"{'nodes':>5}  {'contender':<10}  {'up, to the first answered ping':<32}  down")
    for nodes in asked.nodes:
        contenders = {name: line for name, line in commands(nodes).items() if name not in asked.without}
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
        for _ in range(asked.repeat):
            for name, line in contenders.items():
                taken[name].append(seconds(line))
        for name, figures in taken.items():
            up, down = [one for one, _ in figures], [other for _, other in figures]
            spread = f"{statistics.median(up):.2f} ({min(up):.2f} to {max(up):.2f})"
            print(f"{nodes:>5}  {name:<10}  {spread:<32}  {statistics.median(down):.2f}", flush=True)


if __name__ == "__main__":
    main()
