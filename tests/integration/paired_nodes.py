"""Two nodes joined by a veth pair, for tests that need real packets but no testbed.

Each node is a net and a mount namespace held by a process of its own, which ends when its standard input
does: whatever ends the test takes the namespaces, the interfaces and their programs away.
"""

from __future__ import annotations

import ipaddress
import json
import os
import select
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]

ADDRESSES = {
    "a": ipaddress.IPv6Address("fd68:6f70:6264:1::a"),
    "b": ipaddress.IPv6Address("fd68:6f70:6264:1::b"),
}

MACS = {"a": "02:00:00:00:00:0a", "b": "02:00:00:00:00:0b"}

_NODE = """
set -e
mount -t tmpfs none /run
mkdir -p /run/hopbed/log
mount --bind {log} /run/hopbed/log
ip link set lo up
echo here
exec cat
"""


class PairedNodes:
    """The nodes ``a`` and ``b``, as a runtime offers them to the flows."""

    name = "paired"
    python = (sys.executable,)

    def __init__(self, logs: Path, holders: dict[str, int]) -> None:
        self._logs = logs
        self._holders = holders

    def command(self, place: str, argv: Sequence[str], *, tty: bool = False) -> list[str]:
        target = str(self._holders[place])
        return ["nsenter", "--target", target, "--net", "--mount", "--wd=" + str(ROOT), *argv]

    def log_dir(self, node: str) -> Path:
        return self._logs / node

    def run(self, node: str, command: str, *, stdin: str = "") -> str:
        """The output of a command in a node."""
        argv = self.command(node, shlex.split(command))
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def wait_for_link(self, node: str) -> None:
        """Return once the kernel passes packets out of the node's interface, which it says in an event."""
        with subprocess.Popen(
            self.command(node, ["ip", "-json", "monitor", "link"]), stdout=subprocess.PIPE
        ) as monitor:
            try:
                while json.loads(self.run(node, "ip -json link show wire"))[0]["operstate"] != "UP":
                    assert monitor.stdout is not None
                    if select.select([monitor.stdout], [], [], 0.2)[0]:  # it may have begun too late to hear
                        os.read(monitor.stdout.fileno(), 4096)
            finally:
                monitor.terminate()

    def pid(self, program: str, log: str) -> int:
        """The process that runs ``program`` with this log."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    argv = (entry / "cmdline").read_bytes().decode().split("\0")
                except OSError:
                    continue
                if program in argv and f"--log=/run/hopbed/log/{log}" in argv:
                    return int(entry.name)
        raise LookupError(f"no {program} with the log {log}")


@contextmanager
def paired_nodes(logs: Path) -> Iterator[PairedNodes]:
    """Bring both nodes up, joined, with :data:`ADDRESSES`; take them away at the end."""
    holders: dict[str, subprocess.Popen[str]] = {}
    try:
        for node in ADDRESSES:
            (logs / node).mkdir()
            script = _NODE.format(log=shlex.quote(str(logs / node)))
            holder = holders[node] = subprocess.Popen(
                ["unshare", "--net", "--mount", "--", "sh", "-c", script],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            assert holder.stdout is not None
            assert holder.stdout.readline() == "here\n"
        nodes = PairedNodes(logs, {node: holder.pid for node, holder in holders.items()})
        nodes.run("a", f"ip link add wire type veth peer name wire netns {holders['b'].pid}")
        for node, address in ADDRESSES.items():
            nodes.run(node, "sysctl -qw net.ipv6.conf.wire.keep_addr_on_down=1")
            nodes.run(node, f"ip address add {address}/64 dev wire nodad")
            nodes.run(node, f"ip link set wire address {MACS[node]} up")
        for node, other in (("a", "b"), ("b", "a")):
            nodes.run(node, f"ip neighbor add {ADDRESSES[other]} lladdr {MACS[other]} dev wire")
            nodes.wait_for_link(node)
        yield nodes
    finally:
        for holder in holders.values():
            assert holder.stdin is not None
            holder.stdin.close()
            holder.wait()
            assert holder.stdout is not None
            holder.stdout.close()


def still_there(nodes: PairedNodes) -> list[str]:
    """The command lines of processes that are in one of the nodes, its holder aside."""
    spaces = {os.readlink(f"/proc/{pid}/ns/net") for pid in nodes._holders.values()}
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) not in nodes._holders.values():
            try:
                if os.readlink(entry / "ns/net") in spaces:
                    found.append((entry / "cmdline").read_bytes().decode())
            except OSError:
                continue
    return found
