"""The node's side of the tunnel's inner traffic: its inner address, and the guard that keeps plaintext home.

Until an SA exists nothing may carry the traffic to a partner's inner prefix. Without a route of its own it
would leave the node in clear by the default route, or wait for a neighbour that does not answer, which
blocks the sender's socket for 3 s. So each such prefix is routed to the inner interface, which swallows it
in silence: the packet is sent and lost, as a gateway with a larval SA loses it. (The route types
``blackhole``, ``unreachable`` and ``prohibit`` keep it home too, but fail the sender's call with EINVAL,
EHOSTUNREACH or EACCES, at which an unmodified application gives up.) Charon's own route stands in the same
table (220, strongswan.conf(5) routing_table) with a better metric: it wins as soon as a policy is installed.
In a table of its own the guard would keep connected sockets for ever: a socket looks for its route anew
only when something changes in the table where it found the last one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from nodes import errors
from nodes.peer.iproute import run_ip
from nodes.peer.model import Connection

DUMMY = "inner"
LOOPBACK = "lo"
CHARON_TABLE = "220"
_GUARD_METRIC = "65536"
"""Worse than that of charon's routes, which have the kernel's default, 1024."""

Prefix = ipaddress.IPv4Network | ipaddress.IPv6Network


async def must_ip(*arguments: str) -> None:
    """Run ``ip``.

    Raises:
        NodeError: it refused; the text has its words.
    """
    refusal = await run_ip(*arguments)
    if refusal is not None:
        raise errors.NodeError(f"ip {' '.join(arguments)}: {refusal}")


async def flush_remains() -> None:
    """Remove what a charon that died in this node left in the kernel: states, policies and routes."""
    flushes = (
        "xfrm state flush",
        "xfrm policy flush",
        f"-6 route flush table {CHARON_TABLE}",
        f"-4 route flush table {CHARON_TABLE}",
    )
    # a kernel without XFRM, and an empty table, refuse: then there is nothing to remove
    await run_ip("-force", "-batch", "-", batch="\n".join(flushes))


async def inner_interface() -> tuple[str, str]:
    """The interface for inner traffic, up, and why it is this one.

    A dummy where the kernel has it, else the loopback interface: both swallow what is routed to them.
    """
    await must_ip("link", "set", LOOPBACK, "up")
    refusal = await run_ip("link", "add", DUMMY, "type", "dummy")
    if refusal is None or refusal.endswith("File exists"):
        await must_ip("link", "set", DUMMY, "up")
        return DUMMY, "the kernel has dummy interfaces"
    return LOOPBACK, f"the kernel has no dummy interface: {refusal}"


async def add_inner_address(address: str, interface: str) -> None:
    """Put the inner address on its interface; nobody else can have it, so it is usable at once."""
    family = ("-6", "nodad") if ipaddress.ip_interface(address).version == 6 else ("-4",)
    await must_ip(family[0], "address", "replace", address, "dev", interface, *family[1:])


def guarded_prefixes(connection: Connection) -> frozenset[Prefix]:
    """The prefixes of a connection whose plaintext must stay home: its remote traffic selectors.

    A selector that holds the partner's own address is left out: IKE itself must reach it.
    """
    partner = ipaddress.ip_address(connection.remote.address)
    selectors = (ipaddress.ip_network(one) for child in connection.children for one in child.remote_ts)
    return frozenset(prefix for prefix in selectors if partner not in prefix)


class PlaintextGuard:
    """The routes that keep plaintext home, by the connections that need them."""

    def __init__(self, interface: str) -> None:
        self._interface = interface
        self._holders: dict[Prefix, set[str]] = {}

    async def hold(self, connection: str, prefixes: Iterable[Prefix]) -> None:
        """Guard exactly these prefixes for a connection.

        Raises:
            NodeError: a route could not be set.
        """
        wanted = set(prefixes)
        for prefix in wanted:
            if prefix not in self._holders:
                await self._route("replace", prefix)
            self._holders.setdefault(prefix, set()).add(connection)
        for prefix in [one for one, holders in self._holders.items() if connection in holders]:
            if prefix not in wanted:
                await self._let_go(prefix, connection)

    async def release(self, connection: str) -> None:
        """Guard nothing for a connection any more."""
        await self.hold(connection, ())

    async def _let_go(self, prefix: Prefix, connection: str) -> None:
        self._holders[prefix].discard(connection)
        if not self._holders[prefix]:
            del self._holders[prefix]
            await self._route("delete", prefix)

    async def _route(self, verb: str, prefix: Prefix) -> None:
        where = ("dev", self._interface, "table", CHARON_TABLE, "metric", _GUARD_METRIC)
        await must_ip(f"-{prefix.version}", "route", verb, str(prefix), *where)
