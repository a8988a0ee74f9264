"""The docker runtime: one run as containers on a bridge network."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

import anyio
import anyio.to_thread

from nodes import errors
from nodes.events import event
from orchestrator.runtimes.base import BRIDGE, Publish, RunRecord
from orchestrator.runtimes.docker import container, labels, leash, probe, spec
from orchestrator.runtimes.docker.discovery import labelled_runs, sweep
from orchestrator.runtimes.docker.engine import Engine
from orchestrator.runtimes.docker.output import LOG_FILE, NODE_DIED, Output
from orchestrator.runtimes.docker.owner import Owner
from orchestrator.runtimes.docker.removal import Traces, remove
from orchestrator.runtimes.docker.run_folder import RunFolder
from orchestrator.runtimes.docker.watcher import Watcher
from orchestrator.tasks import single_error
from orchestrator.topology.plan import NodePlan, RunPlan

_LAST_WORDS_TIMEOUT = 5.0
"""Seconds for the last of the nodes' output to arrive once their containers are gone."""


class DockerRuntime:
    """One run in Docker (see :class:`orchestrator.runtimes.base.Runtime`).

    Args:
        detached: whether :meth:`detach` may be called.
    """

    name: ClassVar[str] = "docker"
    python: Sequence[str] = spec.PYTHON

    def __init__(self, *, detached: bool = False) -> None:
        self._may_detach = detached
        self._engine = Engine()
        self._traces: Traces | None = None
        self._watcher: Watcher | None = None
        self._following: list[asyncio.Task[None]] = []
        self._is_up = False
        self._is_ending = False
        self._network_id = ""
        self._folder: RunFolder
        self.plan: RunPlan

    async def check(self, plan: RunPlan) -> None:
        """Find out whether this machine can run ``plan`` (see the base), and sweep up after dead runs."""
        if BRIDGE in (node.name for node in plan.nodes):
            raise errors.UsageError(
                f"no node can be called {BRIDGE!r}: that is the place of the bridge itself"
            )
        probe.require_command()
        await self._engine.run(lambda client: client.ping())
        for device in sorted({device for node in plan.nodes for device in node.devices}):
            probe.require_device(device.partition(":")[0])
        await _with_images(plan)
        with contextlib.suppress(errors.HopbedError):  # what others left is no reason not to start
            await self.sweep()

    @classmethod
    async def sweep(cls) -> list[str]:
        """Remove the runs of this user whose owner died together with its watcher; returns their ids.

        Raises:
            CleanupError: something of one could not be removed.
        """
        engine = Engine()
        try:
            return await anyio.to_thread.run_sync(sweep, engine)
        finally:
            engine.close()

    async def bring_up(self, plan: RunPlan, publish: Publish) -> None:
        """Make the bridge and the nodes (see :meth:`orchestrator.runtimes.base.Runtime.bring_up`)."""
        owner = Owner.this_process()
        plan = await _with_images(plan)
        self.plan = plan
        self._folder = RunFolder.of(plan)
        self._traces = Traces(plan.run_id, owner, self._folder.path, plan.log_dir, spec.image(plan))
        self._watcher = Watcher(self._traces)
        await anyio.to_thread.run_sync(self._watcher.wait_ready)
        self._folder.make(plan, owner, self._engine.host)
        platform = await self._engine.run(container.platform)
        self._network_id = await self._engine.run(
            lambda client: container.create_network(client, plan, owner, self._folder)
        )
        publish(event("bridge.up"))

        bridge = partial(self._bring_up_bridge, owner)
        nodes = [partial(self._bring_up_node, node, owner, platform, publish) for node in plan.nodes]
        await _side_by_side([bridge, *nodes])
        self._is_up = True

    async def _bring_up_bridge(self, owner: Owner) -> None:
        name = spec.container_name(self.plan, BRIDGE)
        config = spec.bridge_config(self.plan, owner, self._folder)
        id_ = await self._engine.run(lambda client: container.create(client, config, name))
        await self._engine.run(lambda client: container.start(client, id_, BRIDGE))

    async def _bring_up_node(
        self, node: NodePlan, owner: Owner, platform: spec.Platform, publish: Publish
    ) -> None:
        name = spec.container_name(self.plan, node.name)
        config = spec.node_config(self.plan, node, owner, self._folder, platform)
        log = self.log_dir(node.name) / LOG_FILE
        output = Output(node.name, has_agent=node.role.has_agent, log=log, publish=publish)
        id_, fd = await self._engine.run(lambda client: container.create_attached(client, config, name))
        following = asyncio.create_task(self._follow(id_, fd, output, publish))
        following.add_done_callback(lambda _: os.close(fd))
        self._following.append(following)
        await self._engine.run(lambda client: container.start(client, id_, node.name))
        await output.wait_ready()

    async def _follow(self, id_: str, fd: int, output: Output, publish: Publish) -> None:
        """Follow a node to its end; what that means depends on when it comes."""
        status = None
        try:
            with contextlib.suppress(errors.HopbedError, OSError):
                await output.follow(fd)
                status = await self._engine.run(lambda client: container.exit_status(client, id_))
        finally:
            output.end(status)
        if output.is_ready and status is not None and not self._is_ending:
            publish(event(NODE_DIED, node=output.node, status=status))

    async def take_down(self) -> None:
        """Remove everything of the run (see :meth:`orchestrator.runtimes.base.Runtime.take_down`)."""
        if self._traces is None:
            return
        self._is_ending = True
        with anyio.CancelScope(shield=True):
            try:
                await self._engine.settle()
                if self._is_up:
                    await self._end_nodes()
                await anyio.to_thread.run_sync(remove, self._engine, self._traces)
            except errors.MachineError as error:  # the watcher, and later commands, will try again
                raise errors.CleanupError(f"run {self.plan.run_id} is still there: {error}") from error
            finally:
                await self._end_following(_LAST_WORDS_TIMEOUT)
            await self._dismiss_watcher()
            self._engine.close()

    async def _end_nodes(self) -> None:
        """End the nodes in an orderly manner: they may have something to write down, or to say."""
        selected = {"label": [f"{labels.RUN}={self.plan.run_id}", labels.NODE]}
        found = await self._engine.run(lambda client: client.containers(filters=selected))

        async def end(id_: str, node: str) -> None:
            # what was not followed from the beginning to the end is fetched now
            log = None if self._following or node == BRIDGE else self.log_dir(node) / LOG_FILE
            await self._engine.run(lambda client: container.end(client, id_, log))

        await _side_by_side([partial(end, one["Id"], one["Labels"][labels.NODE]) for one in found])

    async def _end_following(self, timeout: float) -> None:
        if self._following:
            await asyncio.wait(self._following, timeout=timeout)
        for task in self._following:
            task.cancel()
        await asyncio.gather(*self._following, return_exceptions=True)
        self._following = []

    async def _dismiss_watcher(self) -> None:
        if self._watcher is not None:
            await anyio.to_thread.run_sync(self._watcher.dismiss)
            self._watcher = None

    async def detach(self) -> None:
        """Let the run outlive this process."""
        if not self._may_detach:
            raise errors.UsageError("this run was not made to be detached")
        self._folder.mark_detached()  # from here on neither the watcher nor a sweep takes it
        await self._end_following(0)
        await self._dismiss_watcher()
        self._engine.close()

    def command(self, place: str, argv: Sequence[str], *, tty: bool = False) -> list[str]:
        """The command line that runs ``argv`` there (see :mod:`nodes.tether`)."""
        client = ["docker", "--host", self._engine.host, "exec", "--interactive", *(["--tty"] if tty else [])]
        name = spec.container_name(self.plan, place)
        if _ends_by_itself(argv):
            return [*client, name, *argv]
        held = [sys.executable, "-I", "-S", leash.__file__, str(self.run_dir(place))]
        return [*held, *client, "--env", leash.LEASH, name, *self.python, "-m", "nodes.tether", *argv]

    def run_dir(self, node: str) -> Path:
        """The node's run directory on the host."""
        return self._folder.place(node)

    def log_dir(self, node: str) -> Path:
        """The node's log folder on the host."""
        return self._folder.log(self.plan, node)

    def bridge_interface(self) -> str:
        """The bridge's interface name, as Docker makes it from the network's id."""
        return f"br-{self._network_id[:12]}"

    @classmethod
    async def attach(cls, run_id: str) -> DockerRuntime:
        """The runtime of a run that is up.

        Raises:
            UsageError: no such run of this user is up.
        """
        runtime = cls(detached=True)
        for run in await anyio.to_thread.run_sync(labelled_runs, runtime._engine):
            if run.run_id == run_id and run.plan is not None and run.network_id is not None:
                runtime.plan = run.plan
                runtime._folder = run.folder
                runtime._traces = run.traces
                runtime._network_id = run.network_id
                runtime._is_up = True
                return runtime
        raise errors.UsageError(f"no run {run_id} is up in the docker runtime; `hopbed ps` lists the runs")

    @classmethod
    async def runs(cls) -> list[RunRecord]:
        """The runs of this user that are up, without those that nobody answers for: they go now."""
        with contextlib.suppress(errors.CleanupError):
            await cls.sweep()
        engine = Engine()
        found = await anyio.to_thread.run_sync(labelled_runs, engine)
        engine.close()
        return [
            RunRecord(run_id=run.run_id, runtime=cls.name, plan=run.plan, detached=run.folder.is_detached)
            for run in found
            if run.plan is not None and run.network_id is not None
        ]


def _ends_by_itself(argv: Sequence[str]) -> bool:
    """Whether it is a program under the contract of :mod:`nodes.program`: it ends with its standard input."""
    return tuple(argv[:2]) == (*spec.PYTHON, "-m") and argv[2].startswith("nodes.")


async def _side_by_side(jobs: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Run all; the first error ends the others, and is raised."""
    failures: list[errors.HopbedError] = []
    with single_error():
        async with anyio.create_task_group() as tasks:

            async def run(job: Callable[[], Awaitable[None]]) -> None:
                try:
                    await job()
                except errors.HopbedError as error:
                    failures.append(error)
                    tasks.cancel_scope.cancel()

            for job in jobs:
                tasks.start_soon(run, job)
    if failures:
        raise failures[0]


async def _with_images(plan: RunPlan) -> RunPlan:
    """The plan with each image by the name of its content, whoever builds others meanwhile.

    Raises:
        MachineError: the engine has none, or it was built from other sources.
    """
    names = {
        image: await anyio.to_thread.run_sync(probe.require_image, image)
        for image in sorted({node.image for node in plan.nodes})
    }
    nodes = [dataclasses.replace(node, image=names[node.image]) for node in plan.nodes]
    return dataclasses.replace(plan, nodes=tuple(nodes))
