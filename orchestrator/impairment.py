"""Bad links: impairment of all that a node sends, and a link that is down.

::

    async with impaired(bed.runtime, "peer-a", Impairment(delay=0.02, loss=0.01), bed.events.publish):
        ...
    async with link_down(bed.runtime, "peer-a", bed.events.publish):
        ...
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import msgspec

from nodes import INTERFACE, errors
from nodes.events import event
from nodes.impairment import Impair, Impairment, LinkDown
from orchestrator.program import run_program
from orchestrator.runtimes.base import BRIDGE, Publish, Runtime

__all__ = ["Impairment", "impaired", "link_down"]

STARTED = "impairment.started"
ENDED = "impairment.ended"
LINK_DOWN = "link.down"
LINK_UP = "link.up"


@asynccontextmanager
async def impaired(
    runtime: Runtime, node: str, impairment: Impairment, publish: Publish, *, interface: str = INTERFACE
) -> AsyncIterator[None]:
    """What ``node`` sends is impaired for the length of the context; for both ways, impair both ends.

    Publishes ``impairment.started``, and ``impairment.ended`` with the packets that went out and those that
    were lost.

    Raises:
        ParameterError: the impairment is out of range.
        MachineError: this kernel has no netem, or this user may not; the text says what mends it.
        NodeError: it could not be begun, or ended.
    """
    plain = msgspec.to_builtins(impairment)
    try:
        checked = msgspec.convert(plain, Impairment)  # a Struct's own construction checks no ranges
    except msgspec.ValidationError as error:
        raise errors.ParameterError(f"impairment: {error}") from None
    order = Impair(interface=interface, impairment=checked)
    async with _in_force(runtime, node, order, f"the impairment of {node}") as results:
        publish(event(STARTED, node=node, **plain))
        yield
    publish(event(ENDED, node=node, **results))


@asynccontextmanager
async def link_down(runtime: Runtime, node: str, publish: Publish) -> AsyncIterator[None]:
    """The link of ``node`` is down for the length of the context, as if its cable were out.

    It is its end at the bridge that goes down: the node has no carrier, and keeps its addresses. Publishes
    ``link.down`` and ``link.up``.

    Raises:
        MachineError: this user may not.
        NodeError: it could not be taken down, or up.
    """
    order = LinkDown(index=await _port_of(runtime, node))
    async with _in_force(runtime, BRIDGE, order, f"the link of {node}") as results:
        publish(event(LINK_DOWN, node=node))
        yield
    publish(event(LINK_UP, node=node, **results))


@asynccontextmanager
async def _in_force(
    runtime: Runtime, place: str, order: Impair | LinkDown, name: str
) -> AsyncIterator[dict[str, Any]]:
    """Run the program at ``place``; the context's value has its results after the context."""
    results: dict[str, Any] = {}
    argv = [*runtime.python, "-m", "nodes.impairment", msgspec.json.encode(order).decode()]
    async with run_program(name, runtime.command(place, argv)) as program:
        try:
            yield results
        finally:
            with anyio.CancelScope(shield=True):
                results |= (await program.stop()).data


async def _port_of(runtime: Runtime, node: str) -> int:
    """The index, at the bridge, of the interface that is the other end of a node's own."""
    command = runtime.command(node, ["ip", "-j", "link", "show", "dev", INTERFACE])
    done = await anyio.run_process(command, check=False)
    try:
        index: int = msgspec.json.decode(done.stdout)[0]["link_index"]
    except (msgspec.DecodeError, LookupError):
        said = done.stderr.decode(errors="replace").strip()
        raise errors.NodeError(f"{node}: cannot tell the other end of {INTERFACE}: {said}") from None
    return index
