"""What a run brings up, as plain values: the topology with the run's own names and addresses."""

from __future__ import annotations

import dataclasses
import enum
import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nodes import errors

DEFAULT_IMAGE = "hopbed-node:bookworm"
"""The node image of the default testbed."""


class RoleName(enum.StrEnum):
    """The roles that a service may have."""

    TERMINAL = "terminal"
    PEER = "peer"
    IKE = "ike"
    HOST = "host"

    @property
    def has_agent(self) -> bool:
        """Whether an agent runs in such a node; a host is plain."""
        return self is not RoleName.HOST


TUNNEL_ROLES = (RoleName.PEER, RoleName.IKE)
"""The roles that are a tunnel's end: a strongSwan peer, or the IKEv1 endpoint."""


class Dad(enum.StrEnum):
    """The policy for duplicate address detection, said in every verdict (RFC 4862, RFC 4429)."""

    NODAD = "nodad"
    OPTIMISTIC = "optimistic"
    FULL = "full"


class Dataplane(enum.StrEnum):
    """What carries ESP: the kernel, user space over TUN, or whichever works, the kernel first."""

    AUTO = "auto"
    KERNEL = "kernel"
    USERSPACE = "userspace"


@dataclasses.dataclass(frozen=True, kw_only=True)
class NodePlan:
    """One node: its role, its address on the bridge, and, for a tunnel's end, its inner prefix.

    ``inner_address`` is the first address of ``inner``; a tunnel's traffic runs between such addresses.
    ``image``, ``cap_add``, ``devices`` and ``sysctls`` are Compose's, and concern the docker runtime alone.
    ``settings`` are more of the role's own settings, as a scenario wants them for this run.
    """

    name: str
    role: RoleName
    address: ipaddress.IPv6Interface
    inner: ipaddress.IPv6Network | None = None
    image: str = DEFAULT_IMAGE
    cap_add: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    sysctls: Mapping[str, str] = dataclasses.field(default_factory=dict)
    init: bool = True
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def inner_address(self) -> ipaddress.IPv6Interface | None:
        """The node's own address in its inner prefix."""
        if self.inner is None:
            return None
        return ipaddress.IPv6Interface((self.inner.network_address + 1, self.inner.prefixlen))

    def options(self, plan: RunPlan) -> dict[str, Any]:
        """The settings that the node's agent gets as HOPBED_OPTIONS."""
        options: dict[str, Any] = {"address": str(self.address.ip), "dataplane": plan.dataplane.value}
        if self.inner_address is not None:
            options["inner_address"] = str(self.inner_address)
        if plan.keys and self.role in TUNNEL_ROLES:
            options["keys"] = True
        return options | dict(self.settings)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunPlan:
    """A run: its own id, prefix and names, so that runs side by side never meet.

    Attributes:
        run_id: 8 hexadecimal digits; part of every name and label.
        network: the bridge's prefix.
        nodes: in the order of the compose file.
        owner: the uid of whoever started the run.
        log_dir: where the nodes' logs, captures and flow records go, a folder a node; an absolute path
            that exists. It is the evidence folder's ``nodes/``, or a folder that goes with the run.
        compose_file: what the run was read from.
        keys: whether tunnels' ends write the keys that they derive into their log folders.
    """

    run_id: str
    network: ipaddress.IPv6Network
    nodes: tuple[NodePlan, ...]
    owner: int
    log_dir: Path | None
    compose_file: Path
    dad: Dad = Dad.NODAD
    dataplane: Dataplane = Dataplane.AUTO
    keys: bool = False

    @property
    def project(self) -> str:
        """The run's name as a Compose project."""
        return f"hopbed-{self.run_id}"

    def node(self, name: str) -> NodePlan:
        """The node of this name; ``KeyError`` where there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    def require(self, name: str) -> NodePlan:
        """The node of this name, which a user gave.

        Raises:
            UsageError: there is none.
        """
        try:
            return self.node(name)
        except KeyError:
            there = ", ".join(node.name for node in self.nodes)
            raise errors.UsageError(f"no node {name!r} in run {self.run_id}; there are {there}") from None
