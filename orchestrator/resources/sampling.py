"""Samples of what a run occupies, as events, for the length of a context.

Every node samples itself (:mod:`nodes.resources`). The orchestrator samples itself, what its runtime started
beside it, and asks the tunnels' ends for their SAs. Samples of the orchestrator's bear no node's name.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec

from nodes.events import Event
from nodes.resources import SAMPLE, Occupied, program_of
from orchestrator.node import Node
from orchestrator.program import run_program
from orchestrator.resources.series import EVENTS, ORCHESTRATOR
from orchestrator.tasks import background, gather
from orchestrator.testbed import Testbed
from orchestrator.topology.plan import RoleName

_BESIDE_IT = "orchestrator.runtimes."
"""Begins the modules of the supervisor and of the watcher."""


@asynccontextmanager
async def sampled(bed: Testbed, period: float) -> AsyncIterator[None]:
    """Samples of every node and of the orchestrator, ``period`` seconds apart, the first at once.

    Raises:
        NodeError: a node cannot be sampled, or no more.
    """
    async with background() as tasks, AsyncExitStack() as stack:
        for node in bed.plan.nodes:
            argv = [*bed.runtime.python, "-m", "nodes.resources", f"{period:g}"]
            command = bed.runtime.command(node.name, argv)
            publish = _as_of(bed, node.name)
            program = run_program(f"resources of {node.name}", command, on_event=publish)
            tasks.start_soon((await stack.enter_async_context(program)).wait)  # an early end is an error
        tasks.start_soon(_again_and_again, bed, period)
        yield


def _as_of(bed: Testbed, node: str) -> Any:
    def publish(said: Event) -> None:
        bed.events.publish(msgspec.structs.replace(said, node=node))

    return publish


async def _again_and_again(bed: Testbed, period: float) -> None:
    ends = [node for node in bed.nodes.values() if node.plan.role in (RoleName.PEER, RoleName.IKE)]
    begin, number = anyio.current_time(), 0
    while True:
        bed.events.say(SAMPLE, kernel={EVENTS: len(bed.events.past)}, programs=_of_ours())
        await gather(_sas(bed, node) for node in ends)
        number += 1
        await anyio.sleep_until(begin + number * period)


async def _sas(bed: Testbed, node: Node) -> None:
    sas = await node.tunnel_end.list_sas()
    figures = {"IKE SAs": len(sas), "CHILD_SAs": sum(len(sa.children) for sa in sas)}
    bed.events.say(SAMPLE, node=node.name, kernel=figures, programs={})


def _of_ours() -> dict[str, dict[str, int]]:
    """What this process and what its runtime started hold."""
    found = {ORCHESTRATOR: Occupied().and_of(Path("/proc/self"))}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and _is_beside(folder):
            name = program_of((folder / "cmdline").read_text().split("\0"))
            found.setdefault(name.rpartition(".")[2], Occupied()).and_of(folder)
    return {name: msgspec.to_builtins(held) for name, held in found.items() if held.processes}


def _is_beside(folder: Path) -> bool:
    """Whether a process is of this run's runtime: its own module, below this process."""
    try:
        words = (folder / "cmdline").read_text().split("\0")
        return program_of(words).startswith(_BESIDE_IT) and _is_below(folder, os.getpid())
    except (OSError, UnicodeDecodeError, IndexError, ValueError):
        return False


def _is_below(folder: Path, ancestor: int) -> bool:
    pid = int(folder.name)
    while pid > 1:
        pid = int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
        if pid == ancestor:
            return True
    return False
