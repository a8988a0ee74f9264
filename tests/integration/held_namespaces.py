"""Places for tests that need real packets but no testbed: each a net and a mount namespace.

A process of its own holds each and ends when its standard input does: whatever ends the test takes the
namespaces, the interfaces and their programs away.
"""

from __future__ import annotations

import json
import os
import select
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]

_HOLDER = """
set -e
mount -t tmpfs none /run
mkdir -p /run/hopbed/log
mount --bind {log} /run/hopbed/log
ip link set lo up
echo here
exec cat
"""


class HeldNamespaces:
    """The places, as a runtime offers its nodes.

    Args:
        logs: has a folder of logs for each place.
        holders: the process that holds each place.
    """

    python = (sys.executable,)

    def __init__(self, logs: Path, holders: Mapping[str, int]) -> None:
        self.logs = logs
        self.holders = holders

    def command(self, place: str, argv: Sequence[str], *, tty: bool = False) -> list[str]:
        return ["nsenter", f"--target={self.holders[place]}", "--net", "--mount", f"--wd={ROOT}", *argv]

    def run_dir(self, place: str) -> Path:
        return Path(f"/proc/{self.holders[place]}/root/run/hopbed")

    def log_dir(self, place: str) -> Path:
        return self.logs / place

    def run(self, place: str, command: str, *, stdin: str = "") -> str:
        """The output of a command at a place."""
        argv = self.command(place, shlex.split(command))
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def wait_for_carrier(self, place: str, interface: str) -> None:
        """Return once the kernel passes packets out of the interface; it says so in an event."""
        with subprocess.Popen(
            self.command(place, ["ip", "monitor", "link"]), stdout=subprocess.PIPE
        ) as monitor:
            try:
                while json.loads(self.run(place, f"ip -json link show {interface}"))[0]["operstate"] != "UP":
                    assert monitor.stdout is not None
                    if select.select([monitor.stdout], [], [], 0.2)[0]:  # it may have begun too late to hear
                        os.read(monitor.stdout.fileno(), 4096)
            finally:
                monitor.terminate()

    def still_there(self) -> list[str]:
        """The command lines of processes that are at one of the places, its holder aside."""
        spaces = {os.readlink(f"/proc/{pid}/ns/net") for pid in self.holders.values()}
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and int(entry.name) not in self.holders.values():
                try:
                    if os.readlink(entry / "ns/net") in spaces:
                        found.append((entry / "cmdline").read_bytes().decode())
                except OSError:
                    continue
        return found


@contextmanager
def held_namespaces(logs: Path, places: Sequence[str]) -> Iterator[dict[str, int]]:
    """The process that holds each of the places; they are taken away at the end."""
    with ExitStack() as stack:
        yield {place: stack.enter_context(_held(logs / place)) for place in places}


@contextmanager
def _held(log: Path) -> Iterator[int]:
    log.mkdir(parents=True)
    with subprocess.Popen(
        ["unshare", "--net", "--mount", "--", "sh", "-c", _HOLDER.format(log=shlex.quote(str(log)))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "here\n"
        yield holder.pid
