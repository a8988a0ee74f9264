"""The register of runs in the namespaces runtime is the process table: it cannot be out of date.

A supervisor shows its run's id on its command line; everything else about the run stands in the run's own
tmpfs, which is reached through ``/proc/<supervisor>/root``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from nodes import errors
from orchestrator.runtimes.namespaces import layout

_PROC = Path("/proc")


def marked(run_id: str | None = None) -> Iterator[tuple[str, int]]:
    """The run id and the process id of this user's processes that bear the mark of a run.

    These are the supervisor, what started it (in our own PID namespace), and the processes 1 of nodes (one
    PID namespace further in).
    """
    for folder in _PROC.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            mine = folder.stat().st_uid == os.geteuid()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it ended while we looked, or is not ours to see
        for word in words if mine else []:
            if word.startswith(layout.MARK.encode()):
                found = word.decode().removeprefix(layout.MARK)
                if run_id in (None, found):
                    yield found, int(folder.name)


def supervisors() -> Iterator[tuple[str, int]]:
    """The run id and the process id of every supervisor of this user; it may still be building its run."""
    return ((run_id, pid) for run_id, pid in marked() if len(_ns_pids(pid)) == 2)


def inside(supervisor: int, path: Path) -> Path:
    """``path`` of the supervisor's mount namespace, as this process can open it."""
    return _PROC / str(supervisor) / "root" / path.relative_to("/")


def node_pid(supervisor: int, node: str) -> int:
    """The process id, as seen from here, of the node's process 1.

    Raises:
        NodeError: the node, or the whole run, ended.
    """
    try:
        inner = msgspec.json.decode(inside(supervisor, layout.NODES).read_bytes(), type=dict[str, int])[node]
        children = (_PROC / str(supervisor) / "task" / str(supervisor) / "children").read_text().split()
    except (FileNotFoundError, ProcessLookupError, KeyError) as error:
        raise errors.NodeError(f"{node}: its run ended") from error
    for child in map(int, children):
        if _ns_pids(child)[1:2] == [inner]:
            return child
    raise errors.NodeError(f"{node}: it ended")


def _ns_pids(pid: int) -> list[int]:
    """The process ids that ``pid`` has in each PID namespace, from ours inwards; empty once it ended."""
    try:
        status = (_PROC / str(pid) / "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    line = next(line for line in status.splitlines() if line.startswith("NSpid:"))
    return [int(word) for word in line.split()[1:]]
