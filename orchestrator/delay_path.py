"""A path with a round-trip time: netem where the kernel has it, else a forwarder of our own.

::

    async with delayed_path(bed.runtime, "terminal-b", 0.04, bed.events.publish) as by:
        ...
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Literal

import anyio
import msgspec

from nodes import INTERFACE, errors
from nodes.delay_path import DelayPath
from nodes.events import event
from nodes.impairment import Impair, Impairment
from orchestrator.doctor import probes
from orchestrator.program import run_program
from orchestrator.runtimes.base import BRIDGE, Publish, Runtime

By = Literal["netem", "forwarder"]


class _Link(msgspec.Struct, frozen=True):
    link_index: int
    address: str


@asynccontextmanager
async def delayed_path(
    runtime: Runtime, node: str, round_trip: float, publish: Publish, *, by: By | None = None
) -> AsyncIterator[By]:
    """What passes between ``node`` and the bridge takes ``round_trip`` s more, there and back together.

    The context's value says by what; None takes netem where this kernel has it. Publishes ``path.delayed``,
    and ``path.restored`` with the frames that were carried and dropped.

    Raises:
        ParameterError: the time is out of range.
        NodeError: it could not be begun, or ended.
    """
    if not 0 < round_trip <= 10:
        raise errors.ParameterError(f"a round-trip time of {round_trip:g} s is not within 10 s")
    if by is None:
        by = "netem" if (await probes.netem()).present else "forwarder"
    name = f"the delay of {node}"
    async with AsyncExitStack() as stack:
        programs = [
            await stack.enter_async_context(run_program(name, runtime.command(place, argv)))
            for place, argv in await _programs(runtime, node, round_trip, by)
        ]
        publish(event("path.delayed", node=node, round_trip_ms=round_trip * 1e3, by=by))
        try:
            yield by
        finally:
            results: dict[str, int] = {}
            with anyio.CancelScope(shield=True):
                for program in programs:
                    for figure, count in (await program.stop()).data.items():
                        results[figure] = results.get(figure, 0) + count
            publish(event("path.restored", node=node, **results))


async def _programs(runtime: Runtime, node: str, round_trip: float, by: By) -> list[tuple[str, list[str]]]:
    """Where to run what: one forwarder, or netem at both ends of the link."""
    link = await _link(runtime, node)
    if by == "forwarder":
        order = DelayPath(port=link.link_index, mac=link.address, delay=round_trip / 2)
        return [(BRIDGE, _argv(runtime, "nodes.delay_path", order))]
    port = await _name_at_bridge(runtime, link.link_index)
    impairment = Impairment(delay=round_trip / 2)
    return [
        (place, _argv(runtime, "nodes.impairment", Impair(interface=interface, impairment=impairment)))
        for place, interface in ((node, INTERFACE), (BRIDGE, port))
    ]


def _argv(runtime: Runtime, module: str, order: msgspec.Struct) -> list[str]:
    return [*runtime.python, "-m", module, msgspec.json.encode(order).decode()]


async def _link(runtime: Runtime, node: str) -> _Link:
    command = runtime.command(node, ["ip", "-json", "link", "show", "dev", INTERFACE])
    done = await anyio.run_process(command, check=False)
    try:
        return msgspec.json.decode(done.stdout, type=list[_Link])[0]
    except (msgspec.DecodeError, IndexError):
        said = done.stderr.decode(errors="replace").strip()
        raise errors.NodeError(f"{node}: cannot tell the other end of {INTERFACE}: {said}") from None


async def _name_at_bridge(runtime: Runtime, index: int) -> str:
    done = await anyio.run_process(runtime.command(BRIDGE, ["ip", "-json", "link", "show"]), check=False)
    try:
        links = msgspec.json.decode(done.stdout)
        return str(next(link["ifname"] for link in links if link.get("ifindex") == index))
    except (msgspec.DecodeError, StopIteration):
        raise errors.NodeError(f"the bridge has no port of index {index}") from None
