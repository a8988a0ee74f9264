"""The links of a run: a bridge in the supervisor's network namespace, a veth pair for each node."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import secrets
import socket
from pathlib import Path
from typing import Any

from pyroute2.iproute.linux import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import RTMGRP_IPV6_IFADDR
from pyroute2.netlink.rtnl.ifaddrmsg import IFA_F_DADFAILED, IFA_F_NODAD, IFA_F_OPTIMISTIC, IFA_F_TENTATIVE

from nodes import INTERFACE, errors
from orchestrator.runtimes.namespaces.layout import BRIDGE_INTERFACE

_SYSCTL = Path("/proc/sys/net/ipv6/conf")
_BRIDGE_CALLS_FILTER = Path("/proc/sys/net/bridge/bridge-nf-call-ip6tables")


def make_bridge() -> int:
    """Make the bridge in this network namespace, up; return its interface index."""
    with IPRoute() as netlink:
        netlink.link("set", index=1, state="up")
        # Without snooping every neighbour solicitation is flooded: no MLD report has to come first.
        # With an address of its own it does not take a port's, to which frames for the bridge would go too.
        netlink.link(
            "add",
            ifname=BRIDGE_INTERFACE,
            kind="bridge",
            address="02:" + secrets.token_bytes(5).hex(":"),
            br_mcast_snooping=0,
            br_forward_delay=0,
        )
        # Where br_netfilter is loaded, as Docker does, each frame would pass the IPv6 hooks, for nothing.
        with contextlib.suppress(FileNotFoundError):
            _BRIDGE_CALLS_FILTER.write_text("0")
        index: int = netlink.link_lookup(ifname=BRIDGE_INTERFACE)[0]
        netlink.link("set", index=index, state="up")
        return index


def set_dad_policy(dad: str) -> None:
    """Make ``dad`` (nodad, optimistic, full) the policy of every interface that this namespace gets."""
    if dad == "nodad":
        for scope in ("all", "default"):
            Path(_SYSCTL, scope, "accept_dad").write_text("0")
            Path(_SYSCTL, scope, "dad_transmits").write_text("0")
    elif dad == "optimistic":
        for scope in ("all", "default"):  # a kernel without it (CONFIG_IPV6_OPTIMISTIC_DAD) does full DAD
            with contextlib.suppress(FileNotFoundError):
                Path(_SYSCTL, scope, "optimistic_dad").write_text("1")
                Path(_SYSCTL, scope, "use_optimistic").write_text("1")


def join_bridge(node: str, address: str, dad: str, bridge: IPRoute, bridge_index: int) -> None:
    """Give this network namespace its link to the bridge; return when its addresses are usable.

    An optimistic address is one for talking through a router (RFC 4429 §3.3): until its detection is over the
    kernel asks for no neighbour with it, and sends nothing to one that it does not know. Here all are
    neighbours, so detection is waited for; the optimistic addresses that a node adds later have the settled
    ones beside them, by which it can ask.

    Args:
        node: the name of the link's end at the bridge.
        address: the IPv6 interface of this end, such as ``fd00::1/64``.
        dad: the policy; unless it is ``nodad`` this waits for the end of duplicate address detection.
        bridge: a netlink socket in the bridge's network namespace.
        bridge_index: the bridge's interface index there.

    Raises:
        NodeError: the address is a duplicate.
    """
    interface = ipaddress.IPv6Interface(address)
    with IPRoute() as netlink, Path("/proc/self/ns/net").open() as own:
        netlink.bind(groups=RTMGRP_IPV6_IFADDR)
        bridge.link(
            "add",
            ifname=node,
            kind="veth",
            master=bridge_index,
            state="up",
            peer={"ifname": INTERFACE, "net_ns_fd": own.fileno()},
        )
        netlink.link("set", index=1, state="up")
        index: int = netlink.link_lookup(ifname=INTERFACE)[0]
        netlink.link("set", index=index, state="up")
        flags = {"nodad": IFA_F_NODAD, "optimistic": IFA_F_OPTIMISTIC, "full": 0}[dad]
        netlink.addr(
            "add", index=index, address=str(interface.ip), prefixlen=interface.network.prefixlen, flags=flags
        )
        if dad != "nodad":
            _wait_for_detection(netlink, index)


def _wait_for_detection(netlink: IPRoute, index: int) -> None:
    """Wait until no address of the interface is tentative; the socket must be told of address changes."""
    while any(_is_tentative(message) for message in netlink.get_addr(family=socket.AF_INET6, index=index)):
        _ = list(netlink.get())  # something changed


def _is_tentative(message: Any) -> bool:
    flags = message.get_attr("IFA_FLAGS") or message["flags"]
    if flags & IFA_F_DADFAILED:
        address = message.get_attr("IFA_ADDRESS")
        raise errors.NodeError(f"{address} is in use on the bridge already (duplicate address detection)")
    return bool(flags & IFA_F_TENTATIVE)


def explain(error: NetlinkError) -> str:
    """A netlink error in words."""
    return f"netlink: {errno.errorcode.get(error.code, str(error.code))} {error}"
