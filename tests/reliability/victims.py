"""Who is killed in a run, in which story, and how it is found on the machine."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from machine import docker_lines

PHASES = ("images", "network", "nodes", "tunnel", "scenario", "capture stop", "report")
"""Of a run, in their order. ``images``: the image has been looked at, and nothing is made yet."""
NETWORK_ON, NODES_ON = frozenset(PHASES[1:6]), frozenset(PHASES[2:6])
"""From the network, and from the nodes on, until they are taken down before the report is made."""


class Story(NamedTuple):
    """A scenario that is killed, and the event, with its node, that begins each phase of it."""

    words: tuple[str, ...]
    begins: Mapping[str, str]


_EVERYWHERE = {
    "images": "testbed.starting",
    "network": "bridge.up",
    "nodes": "node.ready peer-a",
    "tunnel": "ike-sa.established",
    "scenario": "child-sa.rekeyed",
    "capture stop": "captures.ending",
    "report": "report.started",
}
REKEY = Story(("rekey", "-p", "count=4", "-p", "interval=0.2", "-p", "rate=100"), _EVERYWHERE)
ABNORMALITY = Story(
    ("ike-abnormality", "-p", "handling=on", "-p", "duration=3", "-p", "t1=1", "-p", "t2=1",
     "-p", "repair=false"),
    _EVERYWHERE | {"tunnel": "abnormality.made", "scenario": "abnormality.inactive"},
)  # fmt: skip
HOP = Story(
    ("address-hop", "-p", "hops=6", "-p", "rate=100", "-p", "tcp_rate=20", "-p", "scan=false"),
    _EVERYWHERE | {"nodes": "node.ready terminal-a", "tunnel": "flow.started", "scenario": "hop.closed"},
)
SOAK = Story(("soak", "-p", "minutes=0.08", "-p", "look=1"), _EVERYWHERE | {"scenario": "hop.closed"})


class Victim(NamedTuple):
    """Something of a run that dies.

    ``words`` stand all on its command line, ``node`` says whose it is where every node has one. ``there`` are
    the phases in which there must be one: else the cell is empty, and fails. ``statuses`` are the exit
    statuses that are right.
    """

    name: str
    number: signal.Signals
    runtimes: tuple[str, ...]
    statuses: frozenset[int]
    there: frozenset[str]
    words: tuple[str, ...] = ()
    node: str = ""
    story: Story = REKEY
    row: str = ""

    @property
    def title(self) -> str:
        """What its row is called."""
        return self.row or f"{self.name}, {self.number.name}"


BOTH = ("namespaces", "docker")
EVERY = frozenset(PHASES)
NODE_DIED = frozenset({0, 4})
"""4: a node failed. 0: what was killed was needed no more; the run passed."""
SIDE_DIED = frozenset({0, 1, 4})
"""Likewise, or the run went on without it and its verdict says what that cost."""
ENGINE_DIED = frozenset({0, 3, 4, 5})
"""3: the engine is what this machine lacks. 5: what it holds cannot be cleaned up while it is dead."""

VICTIMS = (
    Victim("orchestrator", signal.SIGINT, BOTH, frozenset({130}), EVERY),
    Victim("orchestrator", signal.SIGTERM, BOTH, frozenset({143}), EVERY),
    Victim("orchestrator", signal.SIGKILL, BOTH, frozenset({-9}), EVERY),
    Victim("orchestrator", signal.SIGKILL, BOTH, frozenset({-9}), EVERY, story=SOAK,
           row="orchestrator, SIGKILL, everything at once"),
    Victim("supervisor", signal.SIGKILL, ("namespaces",), NODE_DIED, NETWORK_ON, ("namespaces.supervisor",)),
    Victim("watcher", signal.SIGKILL, ("docker",), frozenset({0}), NETWORK_ON, ("docker.watcher",)),
    Victim("agent", signal.SIGKILL, BOTH, NODE_DIED, NODES_ON, ("nodes.agent",), "peer-a"),
    Victim("charon", signal.SIGKILL, BOTH, NODE_DIED, NODES_ON, ("charon",), "peer-a"),
    Victim("guard", signal.SIGKILL, BOTH, SIDE_DIED, NODES_ON - {"nodes"}, ("nodes.peer.guard",), "peer-a",
           ABNORMALITY, "abnormality guard, SIGKILL"),
    Victim("hop daemon", signal.SIGKILL, BOTH, SIDE_DIED, frozenset({"scenario", "capture stop"}),
           ("nodes.terminal",), "terminal-a", HOP),
    Victim("dockerd", signal.SIGKILL, ("docker",), ENGINE_DIED, EVERY),
)  # fmt: skip


class Process(NamedTuple):
    """A process at a moment: whose number this is later, ``started`` tells."""

    pid: int
    started: str
    command: str
    environment: str


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def started(pid: int) -> str:
    """When a process began, in ticks; empty for none, and for a zombie."""
    fields = _text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] != "Z" else ""


def of_run(run_id: str, *, docker: bool) -> dict[int, Process]:
    """The processes of a run: those with its id, those in its containers, and what any of these started."""
    containers = docker_lines("ps", "-q", "--no-trunc", "--filter", f"name={run_id}") if docker else set()
    parents: dict[int, int] = {}
    every: dict[int, Process] = {}
    roots = set()
    for folder in Path("/proc").iterdir():
        fields = _text(folder / "stat").rpartition(")")[2].split() if folder.name.isdigit() else []
        if len(fields) < 20 or fields[0] == "Z":
            continue
        pid = int(folder.name)
        parents[pid] = int(fields[1])
        every[pid] = Process(pid, fields[19], _text(folder / "cmdline"), _text(folder / "environ"))
        groups = _text(folder / "cgroup") if containers else ""
        if run_id in every[pid].command + every[pid].environment or any(one in groups for one in containers):
            roots.add(pid)
    return {pid: process for pid, process in every.items() if _descends(pid, roots, parents)}


def _descends(pid: int, roots: set[int], parents: Mapping[int, int]) -> bool:
    while pid in parents:
        if pid in roots:
            return True
        pid = parents[pid]
    return False


def pid_of(victim: Victim, run: Mapping[int, Process], hopbed: int, dockerd: int | None) -> int | None:
    """The victim's process id; None where there is none now."""
    if victim.name == "orchestrator":
        return hopbed if started(hopbed) else None
    if victim.name == "dockerd":
        return dockerd
    found = [
        process.pid
        for process in run.values()
        if all(word in process.command for word in victim.words)
        and (not victim.node or f"HOPBED_NODE={victim.node} " in process.environment + " ")
    ]
    return min(found, default=None)
