"""The interface's addresses, routes and neighbours, through rtnetlink, and what the kernel says of them."""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pyroute2.iproute.linux import AsyncIPRoute
from pyroute2.netlink.rtnl import RTMGRP_IPV6_IFADDR

from nodes import INTERFACE, errors
from nodes.terminal import rt_messages
from nodes.terminal.actions import RefusedAddress
from nodes.terminal.link_addresses import AddressChange, LinkAddresses, Said, whole_seconds
from nodes.terminal.plan import Dad
from nodes.terminal.rt_messages import MAIN_TABLE, UNICAST
from nodes.terminal.rt_socket import RouteRefusedError, RouteSocket

_NODAD, _OPTIMISTIC, _NO_PREFIX_ROUTE = 0x02, 0x04, 0x200
_GONE = (errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL)
_SYSCTL = Path("/proc/sys/net/ipv6/conf")


class AddressRefusedError(errors.NodeError):
    """An address cannot be added, for this reason."""

    def __init__(self, reason: RefusedAddress, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def interface_dad(interface: str = INTERFACE) -> Dad:
    """The interface's own policy."""
    if _setting(interface, "accept_dad") == 0:
        return Dad.NODAD
    return Dad.OPTIMISTIC if _setting(interface, "optimistic_dad") == 1 else Dad.FULL


def _setting(interface: str, name: str) -> int:
    values = []
    for scope in ("all", interface):
        with contextlib.suppress(OSError, ValueError):
            values.append(int((_SYSCTL / scope / name).read_text()))
    return max(values, default=0)


class Addresses:
    """What the interface has, and what is to be changed about it.

    Args:
        interface: its name.
        dad: how added addresses are checked; the interface's own policy by default.

    Attributes:
        known: the interface's addresses as of the last event.
        dad: the policy that holds.
    """

    def __init__(self, interface: str = INTERFACE, *, dad: Dad | None = None) -> None:
        self.known = LinkAddresses()
        self._interface = interface
        self.dad = dad or interface_dad(interface)
        self._index = 0
        self._netlink: AsyncIPRoute
        self._events: AsyncIPRoute
        self._changes: RouteSocket
        self._stack = AsyncExitStack()
        self._on_link: list[IPv6Network] = []

    async def __aenter__(self) -> Self:
        """Open.

        Raises:
            NodeError: there is no such interface.
        """
        async with AsyncExitStack() as stack:
            self._netlink = await stack.enter_async_context(AsyncIPRoute())
            self._events = await stack.enter_async_context(AsyncIPRoute())
            found = await self._netlink.link_lookup(ifname=self._interface)
            if not found:
                raise errors.NodeError(f"this node has no interface {self._interface}")
            self._index = found[0]
            self._changes = stack.enter_context(RouteSocket())
            await self._events.bind(groups=RTMGRP_IPV6_IFADDR)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def present(self) -> list[AddressChange]:
        """What the interface has now, as changes against what was known."""
        changes: list[AddressChange] = []
        now = time.monotonic_ns()
        async for message in await self._netlink.get_addr(family=socket.AF_INET6, index=self._index):
            changes += self.known.take(_said(message), now)
        return changes

    async def changes(self) -> AsyncIterator[AddressChange]:
        """What happens to the addresses, until cancelled."""
        while True:
            async for message in self._events.get():
                if message["event"] not in ("RTM_NEWADDR", "RTM_DELADDR") or message["index"] != self._index:
                    continue
                for change in self.known.take(_said(message), time.monotonic_ns()):
                    yield change

    async def add(self, address: IPv6Address, *, preferred: int | None, valid: int | None) -> None:
        """Add an address, or give one that is there these lifetimes (ns; None: for ever).

        Raises:
            AddressRefusedError: its prefix is not on the link, or the kernel refused.
        """
        if address not in self.known and not await self._is_on_link(address):
            raise AddressRefusedError(
                RefusedAddress.NOT_ON_LINK,
                f"{address}: its prefix is not on the link; terminal.link says which prefixes are",
            )
        flags = {Dad.NODAD: _NODAD, Dad.OPTIMISTIC: _OPTIMISTIC, Dad.FULL: 0}[self.dad]
        try:
            self._set(address, flags, whole_seconds(preferred), whole_seconds(valid))
        except RouteRefusedError as error:
            raise AddressRefusedError(RefusedAddress.ERROR, f"{address}: {error}") from None

    def deprecate(self, address: IPv6Address) -> None:
        """Let nothing new begin from an address; one that is not there, or about to go, is no error."""
        for one in self.known.addresses:
            if one.address == address and not self.known.is_leaving(address):  # it would be added again
                left = None if one.valid is None else max(one.valid - (time.monotonic_ns() - one.since), 1)
                with contextlib.suppress(RouteRefusedError):
                    self._set(address, 0, 0, whole_seconds(left))

    def keep(self, address: IPv6Address, *, valid: int) -> None:
        """Keep an address valid for this time (ns), deprecated; it is added again where it is gone."""
        self._set(address, _NODAD, 0, whole_seconds(max(valid, 1)))

    def remove(self, address: IPv6Address) -> None:
        """Take an address off the interface; idempotent."""
        self.known.removing(address)
        self._changes.change(
            lambda number: rt_messages.delete_address(address, self._index, sequence=number), but=_GONE
        )

    def hold(self, address: IPv6Address) -> None:
        """Make packets to an address the node's own, whether the interface has it or not; idempotent."""
        self._changes.change(lambda number: rt_messages.hold_address(address, sequence=number))

    def release(self, address: IPv6Address) -> None:
        """Hold an address no longer; idempotent."""
        self._changes.change(lambda number: rt_messages.release_address(address, sequence=number), but=_GONE)

    def forget_neighbour(self, address: IPv6Address) -> None:
        """Remove a neighbour's entry; idempotent."""
        self._changes.change(
            lambda number: rt_messages.delete_neighbour(address, self._index, sequence=number), but=_GONE
        )

    def stand(self, prefix: IPv6Network) -> None:
        """Let a prefix be on the link, whether an address of it is there or not; idempotent.

        Without this route the kernel has no way to a partner once the last address of the prefix is gone.
        """
        self._changes.change(lambda number: rt_messages.stand_prefix(prefix, self._index, sequence=number))

    async def prefixes_on_link(self) -> list[IPv6Network]:
        """The prefixes that the interface reaches without a router."""
        found = []
        routes = await self._netlink.get_routes(family=socket.AF_INET6, table=MAIN_TABLE, oif=self._index)
        async for route in routes:
            destination = route.get_attr("RTA_DST")
            if destination is None or route.get_attr("RTA_GATEWAY") is not None or route["type"] != UNICAST:
                continue
            network = IPv6Network((destination, route["dst_len"]))
            if not network.is_link_local and network.prefixlen < 128:
                found.append(network)
        return found

    async def _is_on_link(self, address: IPv6Address) -> bool:
        """Looked up anew only where it was not: routes seldom change, and a list of them is long."""
        if not any(address in prefix for prefix in self._on_link):
            self._on_link = await self.prefixes_on_link()
        return any(address in prefix for prefix in self._on_link)

    def _set(self, address: IPv6Address, flags: int, preferred: int, valid: int) -> None:
        self._changes.change(
            lambda number: rt_messages.set_address(
                address,
                self._index,
                flags=flags | _NO_PREFIX_ROUTE,
                preferred=min(preferred, valid),
                valid=valid,
                sequence=number,
            )
        )


def _said(message: Any) -> Said:
    times = message.get_attr("IFA_CACHEINFO") or {"ifa_preferred": 0xFFFFFFFF, "ifa_valid": 0xFFFFFFFF}
    protocol = message.get_attr("IFA_PROTO")
    return Said(
        there=message["event"] != "RTM_DELADDR",
        address=IPv6Address(message.get_attr("IFA_ADDRESS")),
        flags=message.get_attr("IFA_FLAGS") or message["flags"],
        preferred=times["ifa_preferred"],
        valid=times["ifa_valid"],
        protocol=int(protocol[0] if isinstance(protocol, (bytes, list)) else protocol or 0),
    )
