"""The flows of this node: from the kernel's lists of sockets, and from what the data plane learned. No I/O.

A connected socket says both its ends itself. One without a connection (UDP) and an ICMPv6 echo, which on the
side that answers has no socket at all, are known by their packets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv6Address
from typing import NamedTuple

from nodes.terminal.actions import ICMPV6, UDP, Endpoint, Flow, Service
from nodes.terminal.header import UDP_PORT
from nodes.terminal.sock_diag import OpenSocket

UNSPECIFIED = IPv6Address("::")


class Changes(NamedTuple):
    """What began and what ended since the last look."""

    began: list[Service]
    ended: list[Flow]


class _Loose(NamedTuple):
    """What stays of a flow whatever address the kernel chooses for its packets."""

    protocol: int
    port: int
    remote: Endpoint


class Inventory:
    """The flows that there are.

    Args:
        process_of: the name of the process that has the socket of this inode; None where it is not known.
    """

    def __init__(self, process_of: Callable[[int], str | None]) -> None:
        self._process_of = process_of
        self._flows: set[Flow] = set()
        self._loose: dict[_Loose, Flow] = {}

    @property
    def flows(self) -> frozenset[Flow]:
        """All flows as of the last look."""
        return frozenset(self._flows)

    @property
    def loose(self) -> frozenset[Flow]:
        """Those whose local address the kernel may choose anew for each packet."""
        return frozenset(self._loose.values())

    def take_up(self, flows: Iterable[Flow]) -> None:
        """Flows that are known already, from before a restart: whoever has them is told only of their end."""
        self._flows |= set(flows)

    def look(self, sockets: Iterable[OpenSocket], learned: Iterable[Flow]) -> Changes:
        """Take what there is now, and return what changed."""
        owners: dict[Flow, OpenSocket | None] = {}
        bound: dict[int, list[OpenSocket]] = {}
        for one in sockets:
            if one.remote.port:
                if _is_between_nodes(one.local.address, one.remote.address):
                    owners[Flow(one.protocol, one.local, one.remote)] = one
            elif one.protocol == UDP:
                bound.setdefault(one.local.port, []).append(one)
        loose: dict[_Loose, Flow] = {}
        for flow in learned:
            if flow in owners or not _is_between_nodes(flow.local.address, flow.remote.address):
                continue
            if flow.protocol == UDP and flow.local.port == flow.remote.port == UDP_PORT:
                continue  # messages of the terminals themselves
            owner = None if flow.protocol == ICMPV6 else _owner(flow, bound)
            if owner is None and flow.protocol != ICMPV6:
                continue
            if owner is not None and owner.local.address != UNSPECIFIED:
                owners[flow] = owner
                continue
            key = _Loose(flow.protocol, flow.local.port, flow.remote)
            if key not in loose:
                known = self._loose.get(key) or self._same(flow)
                loose[key] = known or flow
                owners[loose[key]] = owner
        began = [flow for flow in owners if flow not in self._flows]
        ended = [flow for flow in self._flows if flow not in owners]
        self._flows, self._loose = set(owners), loose
        return Changes([self._service(flow, owners[flow]) for flow in began], ended)

    def _same(self, flow: Flow) -> Flow | None:
        """A flow from before a restart that differs in nothing but the address that the kernel chose."""
        if flow in self._flows:
            return flow
        return next(
            (
                known
                for known in self._flows
                if (known.protocol, known.local.port, known.remote)
                == (flow.protocol, flow.local.port, flow.remote)
            ),
            None,
        )

    def _service(self, flow: Flow, owner: OpenSocket | None) -> Service:
        if owner is None:
            return Service(flow=flow)
        return Service(
            flow=flow, uid=owner.uid, process=self._process_of(owner.inode) if owner.inode else None
        )


def _owner(flow: Flow, bound: Mapping[int, list[OpenSocket]]) -> OpenSocket | None:
    """The socket without a connection that a datagram of this flow comes to."""
    candidates = bound.get(flow.local.port, [])
    for address in (flow.local.address, UNSPECIFIED):
        for one in candidates:
            if one.local.address == address:
                return one
    return None


def _is_between_nodes(local: IPv6Address, remote: IPv6Address) -> bool:
    return local != remote and not any(
        address.is_link_local
        or address.is_loopback
        or address.is_multicast
        or address.is_unspecified
        or address.ipv4_mapped is not None
        for address in (local, remote)
    )
