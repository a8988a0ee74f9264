"""A running testbed: the nodes of a plan in a runtime, with their control channels and one event stream."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from nodes import errors
from nodes.agent import CONTROL_SOCKET, KEPT
from orchestrator.control import ControlClient, connect
from orchestrator.events import EventStream
from orchestrator.node import Node
from orchestrator.runtimes.base import Runtime
from orchestrator.runtimes.choose import AUTO, choose
from orchestrator.tasks import background
from orchestrator.topology.addressing import plan_run
from orchestrator.topology.load import load
from orchestrator.topology.plan import Dad, Dataplane, RunPlan


class Testbed:
    """The nodes of one run. Made by :meth:`from_compose`, :func:`bring_up` or :func:`attach`.

    Attributes:
        plan: what was brought up.
        runtime: where.
        nodes: by name, in the order of the compose file.
        events: everything that happens.
    """

    __test__ = False  # for pytest: a class of ours, not a test

    def __init__(self, plan: RunPlan, runtime: Runtime, events: EventStream) -> None:
        self.plan = plan
        self.runtime = runtime
        self.events = events
        self.nodes: Mapping[str, Node] = {}

    def node(self, name: str) -> Node:
        """The node of this name.

        Raises:
            UsageError: there is none.
        """
        try:
            return self.nodes[name]
        except KeyError:
            raise errors.UsageError(f"no node {name!r}; there are {', '.join(self.nodes)}") from None

    @staticmethod
    @asynccontextmanager
    async def from_compose(
        file: str | Path = "compose.yaml",
        *,
        runtime: str = AUTO,
        nodes: tuple[str, ...] | None = None,
        dad: Dad = Dad.NODAD,
        dataplane: Dataplane = Dataplane.AUTO,
        log_dir: Path | None = None,
        events: EventStream | None = None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> AsyncIterator[Testbed]:
        """The testbed of a compose file, up for the length of the context.

        Args:
            nodes: the nodes to bring up; all by default.
            log_dir: an existing folder for the nodes' logs, captures and flow records, which stay there.
            settings: more settings of nodes' roles, by the node's name.

        Raises:
            HopbedError: see :func:`bring_up`, and :func:`orchestrator.topology.load.load`.
        """
        topology = load(Path(file))
        plan = plan_run(
            topology,
            owner=os.getuid(),
            log_dir=log_dir,
            dad=dad,
            dataplane=dataplane,
            nodes=nodes,
            settings=settings,
        )
        async with bring_up(plan, await choose(runtime), events=events) as bed:
            yield bed


@asynccontextmanager
async def bring_up(
    plan: RunPlan,
    runtime_type: type[Runtime],
    *,
    events: EventStream | None = None,
    checked: bool = False,
) -> AsyncIterator[Testbed]:
    """Bring a plan up; the context's value is ready for use, and nothing is left after it.

    Args:
        events: the stream to publish on; a new one by default.
        checked: the caller has asked the runtime already whether this machine can run the plan.

    Raises:
        MachineError: this machine cannot run it; nothing was started.
        NodeError: a node did not come up, or died while the testbed was up.
        CleanupError: something was left behind.
    """
    runtime = runtime_type(detached=False)
    bed = Testbed(plan, runtime, events or EventStream())
    if not checked:
        await runtime.check(plan)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(_take_down, bed)
        bed.events.say("testbed.starting", run=plan.run_id, runtime=runtime.name)
        await runtime.bring_up(plan, bed.events.publish)
        for node in plan.nodes:
            inner = None if node.inner_address is None else str(node.inner_address)
            bed.events.say("node.addressed", node=node.name, address=str(node.address), inner=inner)
        await stack.enter_async_context(_controlled(bed))
        tasks = await stack.enter_async_context(background())
        tasks.start_soon(_watch, bed)
        tasks.start_soon(_watch_runtime, bed)
        bed.events.say("testbed.up", run=plan.run_id)
        yield bed


async def _watch(bed: Testbed) -> None:
    """End the testbed with an error when a node of it dies."""
    died = await bed.events.wait_for("node.died")
    failures = [event for event in bed.events.past if (event.kind, event.node) == ("node.failed", died.node)]
    reason = (
        failures[-1].data["text"] if failures else f"its process 1 ended with status {died.data['status']}"
    )
    raise errors.NodeError(f"{died.node} died: {reason}")


async def _watch_runtime(bed: Testbed) -> None:
    """End the testbed with an error when what holds all of its nodes dies."""
    died = await bed.events.wait_for("runtime.died")
    raise errors.NodeError(died.data["text"])


async def _take_down(bed: Testbed) -> None:
    bed.events.say("testbed.ending", run=bed.plan.run_id)
    await bed.runtime.take_down()
    bed.events.say("testbed.down", run=bed.plan.run_id)


async def leave_up(plan: RunPlan, runtime_type: type[Runtime], events: EventStream) -> None:
    """Bring a plan up and leave it running when this process ends; on any failure nothing is left.

    Raises:
        HopbedError: as :func:`bring_up`.
    """
    runtime = runtime_type(detached=True)
    await runtime.check(plan)
    try:
        await runtime.bring_up(plan, events.publish)
    except BaseException:
        await runtime.take_down()
        raise
    await runtime.detach()


@asynccontextmanager
async def attach(run_id: str, runtime_type: type[Runtime]) -> AsyncIterator[Testbed]:
    """Take up a run that is up; it stays up after the context.

    Raises:
        UsageError: no such run is up.
    """
    runtime = await runtime_type.attach(run_id)
    bed = Testbed(runtime.plan, runtime, EventStream())
    async with _controlled(bed):
        yield bed


@asynccontextmanager
async def _controlled(bed: Testbed) -> AsyncIterator[None]:
    """Connect to every agent, side by side."""
    clients: dict[str, ControlClient] = {}
    async with AsyncExitStack() as stack:
        for node in bed.plan.nodes:
            if node.role.has_agent:
                path = bed.runtime.run_dir(node.name) / CONTROL_SOCKET
                clients[node.name] = await stack.enter_async_context(
                    connect(node.name, path, bed.events.publish, again=node.role.value in KEPT)
                )
        bed.nodes = {n.name: Node(n, bed.runtime, clients.get(n.name)) for n in bed.plan.nodes}
        yield
