"""The orchestrator's side of the namespaces runtime: starts a supervisor, and reaches into what it built."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

import anyio
import anyio.abc
import msgspec

from nodes import errors
from nodes.agent import LOG_DIR
from nodes.events import event
from orchestrator.doctor import probes
from orchestrator.doctor.finding import Need
from orchestrator.program import Program
from orchestrator.runtimes.base import BRIDGE, Publish, RunRecord
from orchestrator.runtimes.namespaces import layout, register
from orchestrator.runtimes.namespaces.blueprint import Blueprint, NodeBlueprint
from orchestrator.runtimes.plan_json import plan_from_json, plan_to_json
from orchestrator.tasks import gather
from orchestrator.topology.plan import NodePlan, RoleName, RunPlan

_SUPERVISOR = "orchestrator.runtimes.namespaces.supervisor"


class NamespacesRuntime:
    """One run in namespaces of this machine's kernel (see :class:`orchestrator.runtimes.base.Runtime`).

    Args:
        detached: the run may outlive this process once :meth:`detach` was called; else the kernel ends it
            with this process, whatever ends that.
    """

    name: ClassVar[str] = "namespaces"
    python: Sequence[str] = (sys.executable,)

    def __init__(self, *, detached: bool = False) -> None:
        self._detachable = detached
        self._program: Program | None = None
        self._following: anyio.abc.TaskGroup | None = None
        self._missing = anyio.CancelScope()
        self._supervisor = 0
        self.plan: RunPlan
        self._process: anyio.abc.Process | None = None

    async def check(self, plan: RunPlan) -> None:
        """Try what the plan needs (see :meth:`orchestrator.runtimes.base.Runtime.check`)."""
        needed = [probe() for probe in (*probes.tools, probes.namespaces)]
        if any(node.role is RoleName.PEER for node in plan.nodes):
            needed.append(probes.peers(plan.dataplane.value))
        for finding in await gather(needed):
            if finding.need is not Need.OPTIONAL:
                finding.require()

    async def bring_up(self, plan: RunPlan, publish: Publish) -> None:
        """Make the bridge and the nodes (see :meth:`orchestrator.runtimes.base.Runtime.bring_up`)."""
        self.plan = plan
        process = await anyio.open_process(
            self._command_line(plan),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdin is not None
        self._process = process
        self._program = Program("supervisor", process, publish)
        self._following = await anyio.create_task_group().__aenter__()
        self._following.start_soon(self._program.follow)
        with contextlib.suppress(anyio.BrokenResourceError):  # it ended at once: its last words say why
            await process.stdin.send(msgspec.json.encode(_blueprint(plan)) + b"\n")
        await self._program.wait_ready()
        supervisor = _supervisor_of(plan.run_id)
        if supervisor is None:
            await self._program.wait()  # raises how it died meanwhile
            raise errors.NodeError("supervisor: it is gone")
        self._supervisor = supervisor
        self._following.start_soon(self._miss, self._program, publish)

    async def _miss(self, program: Program, publish: Publish) -> None:
        """Say so if the supervisor dies, and the nodes with it."""
        with self._missing:
            try:
                await program.wait()
            except errors.HopbedError as error:
                publish(event("runtime.died", text=str(error)))

    def _command_line(self, plan: RunPlan) -> list[str]:
        tie = ["setsid", "--fork"] if self._detachable else ["setpriv", "--pdeathsig", "KILL"]
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        spaces = [
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
            "--fork",
            "--kill-child=KILL",
            "--mount-proc",
        ]
        return [
            *tie,
            "unshare",
            *user,
            *spaces,
            *self.python,
            "-m",
            _SUPERVISOR,
            f"{layout.MARK}{plan.run_id}",
        ]

    async def take_down(self) -> None:
        """End the run, and with it everything that it built."""
        self._missing.cancel()
        with anyio.CancelScope(shield=True):
            if self._program is not None:
                with contextlib.suppress(errors.HopbedError):
                    await self._program.stop(layout.GRACE + 2)
            await _end(self.plan.run_id)
        await self._end_following()

    async def _end_following(self) -> None:
        if self._following is not None:
            self._following.cancel_scope.cancel()
            await self._following.__aexit__(None, None, None)
            self._following = None

    async def detach(self) -> None:
        """Let the run outlive this process."""
        assert self._process is not None
        assert self._program is not None
        assert self._process.stdin is not None
        self._missing.cancel()
        await self._process.stdin.send(layout.DETACH)
        self._program.release()
        await self._process.aclose()
        await self._end_following()

    def command(self, place: str, argv: Sequence[str], *, tty: bool = False) -> list[str]:  # noqa: ARG002
        """The command line that runs ``argv`` there; the terminal is passed on by itself."""
        pid = self._supervisor if place == BRIDGE else register.node_pid(self._supervisor, place)
        user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        enter = ["nsenter", "--target", str(pid), *user, "--mount", "--uts", "--ipc", "--net", "--pid"]
        return [*enter, "--", "setpriv", "--pdeathsig", "KILL", "--", *argv]

    def run_dir(self, node: str) -> Path:
        """The node's run directory, through the supervisor's root."""
        return register.inside(self._supervisor, layout.RUN_ROOT / node)

    def log_dir(self, node: str) -> Path:
        """The node's log folder: the evidence's, or one in the run's own tmpfs."""
        if self.plan.log_dir is not None:
            return self.plan.log_dir / node
        inner = LOG_DIR if node == BRIDGE else layout.RUN_ROOT / node / LOG_DIR.name
        return register.inside(self._supervisor, inner)

    def bridge_interface(self) -> str:
        """The bridge's interface name at its place."""
        return layout.BRIDGE_INTERFACE

    @classmethod
    async def attach(cls, run_id: str) -> Self:
        """The runtime of a run that is up.

        Raises:
            UsageError: no such run of this user is up.
        """
        runtime = cls(detached=True)
        supervisor = _supervisor_of(run_id)
        if supervisor is None:
            raise errors.UsageError(
                f"no run {run_id} is up in the namespaces runtime; `hopbed ps` lists the runs"
            )
        runtime._supervisor = supervisor
        runtime.plan = plan_from_json(register.inside(runtime._supervisor, layout.PLAN).read_text())
        return runtime

    @classmethod
    async def runs(cls) -> list[RunRecord]:
        """The runs of this user that are up."""
        found = []
        for run_id, pid in register.supervisors():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                plan = plan_from_json(register.inside(pid, layout.PLAN).read_text())
                detached = register.inside(pid, layout.DETACHED).exists()
                found.append(RunRecord(run_id=run_id, runtime=cls.name, plan=plan, detached=detached))
        return found


def _supervisor_of(run_id: str) -> int | None:
    return next((pid for found, pid in register.supervisors() if found == run_id), None)


async def _end(run_id: str) -> None:
    """End every process of a run, and wait until the last is gone."""
    supervisors = [pid for found, pid in register.supervisors() if found == run_id]
    others = [pid for _, pid in register.marked(run_id)]
    for pid in supervisors + others:
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            signal.pidfd_send_signal(fd, signal.SIGTERM)
            with anyio.move_on_after(layout.GRACE + 2):
                await anyio.wait_readable(fd)
                continue
            signal.pidfd_send_signal(fd, signal.SIGKILL)
            await anyio.wait_readable(fd)
        except ProcessLookupError:
            continue
        finally:
            os.close(fd)


def _blueprint(plan: RunPlan) -> Blueprint:
    return Blueprint(
        run_id=plan.run_id,
        nodes=[_node_blueprint(node, plan) for node in plan.nodes],
        dad=plan.dad.value,
        bridge_log_dir=_log_dir(plan, BRIDGE),
        plan=plan_to_json(plan),
    )


def _node_blueprint(node: NodePlan, plan: RunPlan) -> NodeBlueprint:
    argv = [sys.executable, "-m", "nodes.agent", node.role.value] if node.role.has_agent else []
    environment = {
        "HOPBED_NODE": node.name,
        "HOPBED_OWNER": "0",  # whoever owns the run is root inside its user namespace, or is root
        "HOPBED_OPTIONS": msgspec.json.encode(node.options(plan)).decode(),
    }
    return NodeBlueprint(
        name=node.name,
        address=str(node.address),
        argv=argv,
        environment=environment,
        log_dir=_log_dir(plan, node.name),
    )


def _log_dir(plan: RunPlan, place: str) -> str | None:
    if plan.log_dir is None:
        return None
    folder = plan.log_dir / place
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)
