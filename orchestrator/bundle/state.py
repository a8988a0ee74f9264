"""What the nodes were like when a run failed: read while they are still up, a file for each."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec

from nodes.errors import HopbedError
from orchestrator.node import Node
from orchestrator.runtimes.base import Runtime
from orchestrator.tasks import gather
from orchestrator.testbed import Testbed
from orchestrator.topology.plan import RoleName

STATE = "state.txt"
TIME_LIMIT = 5.0
"""Seconds for all nodes together: a node that hangs must not keep the run from being taken down."""

COMMANDS: tuple[tuple[str, ...], ...] = (
    ("ip", "-details", "-statistics", "address"),
    ("ip", "-6", "rule"),
    ("ip", "-6", "route", "show", "table", "all"),
    ("ip", "-6", "neighbour"),
    ("ip", "-statistics", "xfrm", "state", "list", "nokeys"),
    ("ip", "xfrm", "policy"),
    ("nft", "list", "ruleset"),
    ("ss", "--all", "--tcp", "--udp", "--raw", "--packet", "--numeric", "--processes", "--info"),
    ("cat", "/proc/net/snmp6"),
    ("ps", "-e", "-o", "pid,ppid,stat,rss,time,args"),
)
"""Each only reads; none shows a key."""


@asynccontextmanager
async def state_of_failure(bed: Testbed, folder: Path, has_failed: Callable[[], bool]) -> AsyncIterator[None]:
    """Write the state (:func:`write_state`) if the context ends by an error, or if it then ``has_failed``."""
    try:
        yield
    except BaseException:
        await write_state(bed, folder)
        raise
    if has_failed():
        await write_state(bed, folder)


async def write_state(bed: Testbed, folder: Path) -> None:
    """Write ``folder/NODE/state.txt`` for every node; never raises, never takes long.

    The bridge's place has none: in Docker it would tell of the user's machine, not of the run.

    Args:
        bed: the testbed, still up.
        folder: the nodes' logs in the evidence.
    """
    with anyio.move_on_after(TIME_LIMIT, shield=True):
        await gather(_node(bed, bed.node(plan.name), folder) for plan in bed.plan.nodes)


async def _node(bed: Testbed, node: Node, folder: Path) -> None:
    await _place(bed.runtime, node.name, folder)
    if node.plan.role in (RoleName.PEER, RoleName.IKE):
        try:
            found = await node.tunnel_end.list_sas()
            sas = msgspec.json.format(msgspec.json.encode(found), indent=2).decode()
        except (HopbedError, OSError) as error:
            sas = f"{type(error).__name__}: {error}"
        _append(folder / node.name, f"$ list-sas\n{sas}\n")


async def _place(runtime: Runtime, place: str, folder: Path) -> None:
    """All commands in one process of the node: in Docker each would cost a call to the engine."""
    script = "\n".join(
        f"echo {shlex.quote(f'$ {shlex.join(argv)}')}; {shlex.join(argv)} 2>&1; echo" for argv in COMMANDS
    )
    try:
        argv = runtime.command(place, ["sh", "-c", script])
        done = await anyio.run_process(argv, check=False, stderr=subprocess.STDOUT)
        said = done.stdout.decode(errors="replace")
    except OSError as error:
        said = f"{error}\n"
    _append(folder / place, said)


def _append(folder: Path, said: str) -> None:
    folder.mkdir(exist_ok=True)
    with (folder / STATE).open("a") as file:
        file.write(said)
