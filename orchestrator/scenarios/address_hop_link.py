"""The link of the scenario ``address-hop``: prefixes to hop to, and addresses that stay.

Beside the addresses that hop each terminal has one in a prefix of its own that nobody touches: the same
traffic between these, at the same time, through the same kernels, is the undisturbed run beside the hops.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable

from nodes import INTERFACE
from nodes.events import Event
from orchestrator.node import Node
from orchestrator.tasks import gather
from orchestrator.testbed import Testbed
from orchestrator.topology.plan import RunPlan

_SITE = 48
_HOP_SUBNET = 0x100
_STEADY_SUBNET = 0xF00
_PLAIN_SUBNET = 0xF01
_ADVERTISED_SUBNET = 0x800
_ADVERTISED_BITS = 54
HOP_PREFIXES = 8
LINK_ADDRESS = "node.link-address"


def subnet(plan: RunPlan, number: int) -> ipaddress.IPv6Network:
    """A prefix of 64 bits of the run's own /48."""
    site = plan.network.supernet(new_prefix=_SITE) if plan.network.prefixlen > _SITE else plan.network
    return ipaddress.IPv6Network((int(site.network_address) | number << 64, 64))


def hop_prefixes(plan: RunPlan) -> tuple[ipaddress.IPv6Network, ...]:
    """The prefixes that addresses hop to."""
    return tuple(subnet(plan, _HOP_SUBNET + number) for number in range(HOP_PREFIXES))


def advertised_prefix(plan: RunPlan, number: int) -> ipaddress.IPv6Network:
    """The prefix that the router advertises for the hop of this number."""
    return subnet(plan, _ADVERTISED_SUBNET + number % (1 << 64 - _ADVERTISED_BITS))


def advertised_prefixes(plan: RunPlan) -> ipaddress.IPv6Network:
    """All that the router may advertise."""
    return subnet(plan, _ADVERTISED_SUBNET).supernet(new_prefix=_ADVERTISED_BITS)


def steady_address(plan: RunPlan, node: str) -> ipaddress.IPv6Address:
    """The address of a node that stays."""
    return _in_subnet(plan, node, _STEADY_SUBNET)


def plain_address(plan: RunPlan, node: str) -> ipaddress.IPv6Address:
    """The address of a node that goes, and nothing comes after it."""
    return _in_subnet(plan, node, _PLAIN_SUBNET)


def _in_subnet(plan: RunPlan, node: str, number: int) -> ipaddress.IPv6Address:
    below = int(plan.node(node).address.ip) & (1 << 64) - 1
    return subnet(plan, number)[below]


async def prepare(bed: Testbed, nodes: list[Node]) -> None:
    """Give every node its address that stays, and the routes by which the link's prefixes are on-link.

    Publishes each node's link address, ``node.link-address``.
    """

    async def one(node: Node) -> None:
        addresses = (steady_address(bed.plan, node.name), plain_address(bed.plan, node.name))
        words = [f"address add {address}/64 dev {INTERFACE} nodad" for address in addresses]
        # The network's own route would go with the node's last address in it, for every mechanism alike.
        on_link = (bed.plan.network, *hop_prefixes(bed.plan), advertised_prefixes(bed.plan))
        words += [f"route replace {prefix} dev {INTERFACE}" for prefix in on_link]
        await node.exec(["ip", "-6", "-batch", "-"], stdin="\n".join(words).encode() + b"\n")
        shown = await node.exec(["ip", "-json", "link", "show", "dev", INTERFACE])
        bed.events.say(LINK_ADDRESS, node=node.name, mac=json.loads(shown.stdout)[0]["address"])

    await gather([one(node) for node in nodes])


async def take_plain_address(node: Node, plan: RunPlan) -> None:
    """Remove the address that goes."""
    address = f"{plain_address(plan, node.name)}/64"
    await node.exec(["ip", "-6", "address", "delete", address, "dev", INTERFACE])


def link_address(events: Iterable[Event], node: str) -> bytes:
    """A node's address on the link, from the events."""
    found = next(event for event in events if (event.kind, event.node) == (LINK_ADDRESS, node))
    return bytes.fromhex(found.data["mac"].replace(":", ""))
