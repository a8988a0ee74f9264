"""Who is killed in a run, and how it is found on the machine."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from machine import containers_processes, processes

DOCKERD_PID = Path("/var/run/docker.pid")
NODE = "peer-a"


class Victim(NamedTuple):
    """Something of a run that dies, and what the run's exit status may then be.

    ``find`` takes the run's id and the process id of ``hopbed``; None where there is no such process now.
    """

    name: str
    number: signal.Signals
    runtimes: tuple[str, ...]
    statuses: frozenset[int]
    find: Callable[[str, int], int | None]


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def _descendants(pid: int) -> set[int]:
    found = {pid}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            status = _text(folder / "stat").rpartition(")")[2].split()
            if len(status) > 1 and int(status[1]) == pid:
                found |= _descendants(int(folder.name))
    return found


def of_run(run_id: str) -> set[int]:
    """The processes of a run: those that bear its mark, those in its containers, and what these started."""
    roots = processes(run_id) | {pid for pid in containers_processes(run_id) if pid}
    return {pid for root in roots for pid in _descendants(root)}


def _named(*words: str, node: str = "") -> Callable[[str, int], int | None]:
    """Finds a process of the run, or of one node, that has all ``words`` on its command line."""

    def find(run_id: str, _hopbed: int) -> int | None:
        candidates = of_run(run_id)
        if node:
            candidates = {
                pid
                for pid in candidates
                if f"HOPBED_NODE={node} " in _text(Path(f"/proc/{pid}/environ")) + " "
            }
        found = [
            pid for pid in candidates if all(word in _text(Path(f"/proc/{pid}/cmdline")) for word in words)
        ]
        return min(found, default=None)

    return find


def _dockerd(_run_id: str, _hopbed: int) -> int | None:
    pid = int(DOCKERD_PID.read_text())
    return pid if Path(f"/proc/{pid}").exists() else None


def _hopbed(_run_id: str, hopbed: int) -> int | None:
    state = _text(Path(f"/proc/{hopbed}/stat")).rpartition(")")[2].split()
    return hopbed if state and state[0] != "Z" else None


BOTH = ("namespaces", "docker")
LOST = frozenset({0, 3, 4, 5})
"""The run passes if it needed what was killed no more; else its error says what it lost."""

VICTIMS = (
    Victim("orchestrator", signal.SIGINT, BOTH, frozenset({130}), _hopbed),
    Victim("orchestrator", signal.SIGTERM, BOTH, frozenset({143, -15}), _hopbed),
    Victim("orchestrator", signal.SIGKILL, BOTH, frozenset({-9}), _hopbed),
    Victim("supervisor", signal.SIGKILL, ("namespaces",), frozenset({0, 4}), _named("namespaces.supervisor")),
    Victim("watcher", signal.SIGKILL, ("docker",), frozenset({0}), _named("docker.watcher")),
    Victim("agent", signal.SIGKILL, BOTH, frozenset({0, 4}), _named("nodes.agent", node=NODE)),
    Victim("charon", signal.SIGKILL, BOTH, frozenset({0, 4}), _named("charon", node=NODE)),
    Victim("dockerd", signal.SIGKILL, ("docker",), LOST, _dockerd),
)
