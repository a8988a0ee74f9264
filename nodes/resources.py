"""``python -m nodes.resources SECONDS``: what this node's programs and its kernel occupy, again and again.

A program under the contract of :mod:`nodes.program`. Each sample is an event ``resources.sample``. Programs
of one name are one: what any of them leaks shows. What is short-lived, such as a command of somebody's, is
there in one sample and not in the next.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Self

import msgspec

from nodes import errors
from nodes.events import event
from nodes.program import DONE, READY, run, say

SAMPLE = "resources.sample"
LONGEST = 3600.0
_PROC = Path("/proc")
_HANDLE = re.compile(r"# handle \d+$", re.MULTILINE)
_ELEMENTS = re.compile(r"elements = \{([^}]*)\}")
_KIB_A_PAGE = os.sysconf("SC_PAGE_SIZE") // 1024


class Occupied(msgspec.Struct, kw_only=True):
    """What the processes of one program hold together: their number, descriptors, threads, memory in KiB."""

    processes: int = 0
    descriptors: int = 0
    threads: int = 0
    memory_kib: int = 0

    def and_of(self, process: Path) -> Self:
        """The same with one process more, by its folder in /proc; one that has ended adds nothing."""
        with contextlib.suppress(OSError, IndexError, ValueError):
            descriptors = sum(1 for _ in (process / "fd").iterdir())
            threads = sum(1 for _ in (process / "task").iterdir())
            pages = int((process / "statm").read_text().split()[1])
            if pages:  # it is no zombie
                self.processes += 1
                self.descriptors += descriptors
                self.threads += threads
                self.memory_kib += pages * _KIB_A_PAGE
        return self


def program_of(arguments: Iterable[str]) -> str:
    """What a process is called: the module that a Python runs, or else its program's file name."""
    words = list(arguments)
    if not words:
        return ""
    name = Path(words[0]).name
    if name.startswith("python") and "-m" in words[:-1]:
        return words[words.index("-m") + 1]
    return name


def programs(but: Iterable[int] = ()) -> dict[str, Occupied]:
    """What each program that this process can see holds, but for the processes in ``but``."""
    found: dict[str, Occupied] = {}
    left_out = {str(pid) for pid in but}
    for folder in _PROC.iterdir():
        if not folder.name.isdigit() or folder.name in left_out:
            continue
        with contextlib.suppress(OSError):
            arguments = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if name := program_of(filter(None, arguments)):
                found.setdefault(name, Occupied()).and_of(folder)
    return {name: held for name, held in found.items() if held.processes}


def kernel() -> dict[str, int]:
    """What this network namespace holds, by name."""
    return {
        "interfaces": len(_lines("net/dev")) - 2,
        "addresses": len(_lines("net/if_inet6")),
        "routes": len(_lines("net/ipv6_route")),
        "neighbours": len(_said("ip", "-6", "-oneline", "neighbour").splitlines()),
        **nft_figures(_said("nft", "--handle", "list", "ruleset")),
    }


def nft_figures(ruleset: str) -> dict[str, int]:
    """The elements of nft's sets and maps; and its tables, chains, sets and rules: what has a handle.

    Args:
        ruleset: of ``nft --handle list ruleset``. nft 1.0.6 writes no valid JSON of a table
            that has an owner.
    """
    return {
        "nft objects": len(_HANDLE.findall(ruleset)),
        "nft elements": sum(one.count(",") + 1 for one in _ELEMENTS.findall(ruleset)),
    }


def _lines(name: str) -> list[str]:
    return (_PROC / name).read_text().splitlines()


def _said(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise errors.NodeError(f"{argv[0]} ended with status {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def _until(seconds: float) -> bool:
    """Wait; whether standard input has ended meanwhile."""
    readable, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(readable) and not os.read(sys.stdin.fileno(), 4096)


def main() -> None:
    """Sample until standard input ends."""
    try:
        (seconds,) = map(float, sys.argv[1:])
    except ValueError:
        raise errors.ParameterError(f"resources: not a number of seconds: {sys.argv[1:]}") from None
    if not 0 < seconds <= LONGEST:
        raise errors.ParameterError(f"resources: {seconds:g} s is not between 0 and {LONGEST:g}")
    say(event(READY))
    number = 0
    while True:
        held = {name: msgspec.to_builtins(one) for name, one in programs(but=[os.getpid()]).items()}
        say(event(SAMPLE, kernel=kernel(), programs=held))
        number += 1
        if _until(seconds):
            break
    say(event(DONE, samples=number))


if __name__ == "__main__":
    run(main)
