"""A node of a running testbed, as a script sees it."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence

import anyio

from nodes import errors
from orchestrator.abnormality import Abnormality
from orchestrator.control import ControlClient
from orchestrator.endpoint import Endpoint
from orchestrator.peer import Peer, TunnelEnd
from orchestrator.runtimes.base import Runtime
from orchestrator.terminal import Terminal
from orchestrator.topology.plan import NodePlan, RoleName

_KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)
"""The statuses of a command that SIGKILL ended, as a process's parent and as Docker tell it."""


class Node:
    """One node: run commands in it, and call the methods of its role.

    Attributes:
        plan: its name, role and addresses.
        control: its control channel; None for a plain host.
    """

    def __init__(self, plan: NodePlan, runtime: Runtime, control: ControlClient | None) -> None:
        self.plan = plan
        self.control = control
        self._runtime = runtime

    @property
    def name(self) -> str:
        """The node's name."""
        return self.plan.name

    @property
    def address(self) -> str:
        """The node's IPv6 address on the bridge."""
        return str(self.plan.address.ip)

    @property
    def inner_address(self) -> str:
        """The node's own address behind its tunnel.

        Raises:
            UsageError: the node is no tunnel's end.
        """
        if self.plan.inner_address is None:
            raise errors.UsageError(f"{self.name} is a {self.plan.role}; it has no inner address")
        return str(self.plan.inner_address.ip)

    @property
    def peer(self) -> Peer:
        """The strongSwan peer in this node.

        Raises:
            UsageError: the node has another role.
        """
        if self.plan.role is not RoleName.PEER or self.control is None:
            raise errors.UsageError(f"{self.name} is a {self.plan.role}, not a peer")
        return Peer(self.control)

    @property
    def terminal(self) -> Terminal:
        """The terminal in this node, whose address hops.

        Raises:
            UsageError: the node has another role.
        """
        if self.plan.role is not RoleName.TERMINAL or self.control is None:
            raise errors.UsageError(f"{self.name} is a {self.plan.role}, not a terminal")
        return Terminal(self.control)

    @property
    def abnormality(self) -> Abnormality:
        """The handling of abnormal negotiations in this node.

        Raises:
            UsageError: the node negotiates nothing.
        """
        if self.plan.role not in (RoleName.PEER, RoleName.IKE) or self.control is None:
            raise errors.UsageError(f"{self.name} is a {self.plan.role}, not a peer: it negotiates nothing")
        return Abnormality(self.control)

    @property
    def endpoint(self) -> Endpoint:
        """The IKEv1 endpoint of ours in this node.

        Raises:
            UsageError: the node has another role.
        """
        if self.plan.role is not RoleName.IKE or self.control is None:
            raise errors.UsageError(f"{self.name} is a {self.plan.role}, not an endpoint")
        return Endpoint(self.control)

    @property
    def tunnel_end(self) -> TunnelEnd:
        """Whatever negotiates in this node: the strongSwan peer, or the endpoint.

        Raises:
            UsageError: nothing does.
        """
        return self.endpoint if self.plan.role is RoleName.IKE else self.peer

    async def exec(
        self, argv: Sequence[str], *, check: bool = True, stdin: bytes | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command in the node to its end, and return what it wrote.

        Raises:
            NodeError: it ended with a status other than 0, and ``check`` is set. Where the node's death
                killed it, the error says so.
        """
        done = await anyio.run_process(self._runtime.command(self.name, argv), input=stdin, check=False)
        if check and done.returncode:
            if done.returncode in _KILLED and not await self._can_be_entered():
                raise errors.NodeError(f"{self.name} died while {' '.join(argv)} ran in it")
            said = (
                done.stderr.decode(errors="replace").strip() or done.stdout.decode(errors="replace").strip()
            )
            raise errors.NodeError(
                f"{self.name}: {' '.join(argv)} ended with status {done.returncode}: {said}"
            )
        return done

    async def _can_be_entered(self) -> bool:
        try:
            command = self._runtime.command(self.name, ["true"])
        except errors.NodeError:  # its run ended
            return False
        return not (await anyio.run_process(command, check=False)).returncode
