"""A run's own addresses: a random ULA /48 (RFC 4193) in place of the compose file's static one."""

from __future__ import annotations

import dataclasses
import ipaddress
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nodes import errors
from nodes.ike.settings import ike_options
from nodes.peer.options import peer_options
from orchestrator.topology.load import Topology
from orchestrator.topology.plan import Dad, Dataplane, NodePlan, RoleName, RunPlan

_SITE_BITS = 80
"""The bits of an address below its /48."""
_CHECKS: Mapping[RoleName, Callable[[Mapping[str, Any]], object]] = {
    RoleName.PEER: peer_options,
    RoleName.IKE: ike_options,
}
"""What the node's agent will check its settings with."""


def random_site() -> ipaddress.IPv6Network:
    """A ULA /48 with 40 random bits (RFC 4193 §3.2.2)."""
    return ipaddress.IPv6Network((((0xFD << 40) | secrets.randbits(40)) << _SITE_BITS, 48))


def moved(address: ipaddress.IPv6Address, site: ipaddress.IPv6Network) -> ipaddress.IPv6Address:
    """``address`` with its first 48 bits replaced by those of ``site``."""
    below = int(address) & ((1 << _SITE_BITS) - 1)
    return ipaddress.IPv6Address(int(site.network_address) | below)


def _moved_network(network: ipaddress.IPv6Network, site: ipaddress.IPv6Network) -> ipaddress.IPv6Network:
    return ipaddress.IPv6Network((moved(network.network_address, site), network.prefixlen))


def _moved_node(node: NodePlan, site: ipaddress.IPv6Network) -> NodePlan:
    return dataclasses.replace(
        node,
        address=ipaddress.IPv6Interface((moved(node.address.ip, site), node.address.network.prefixlen)),
        inner=None if node.inner is None else _moved_network(node.inner, site),
    )


def plan_run(
    topology: Topology,
    *,
    owner: int,
    log_dir: Path | None = None,
    dad: Dad = Dad.NODAD,
    dataplane: Dataplane = Dataplane.AUTO,
    nodes: tuple[str, ...] | None = None,
    keys: bool = False,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> RunPlan:
    """A new run of ``topology`` with an id and a prefix of its own; of ``nodes`` alone if they are named.

    Args:
        settings: more settings of nodes' roles, by the node's name.

    Raises:
        UsageError: a node that is named is not in the topology, or its role has no such setting.
    """
    settings = settings or {}
    unknown = ({*(nodes or ()), *settings}) - {node.name for node in topology.nodes}
    if unknown:
        raise errors.UsageError(f"no node {', '.join(sorted(unknown))} in {topology.file}")
    site = random_site()
    plan = RunPlan(
        run_id=secrets.token_hex(4),
        network=_moved_network(topology.network, site),
        nodes=tuple(
            dataclasses.replace(_moved_node(node, site), settings=settings.get(node.name, {}))
            for node in topology.nodes
            if nodes is None or node.name in nodes
        ),
        owner=owner,
        log_dir=log_dir,
        compose_file=topology.file.resolve(),
        dad=dad,
        dataplane=dataplane,
        keys=keys,
    )
    for node in plan.nodes:
        check = _CHECKS.get(node.role)
        if check is not None and node.settings:
            check(node.options(plan))
    return plan
