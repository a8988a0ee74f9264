"""The messages of rtnetlink that a hop needs, as octets: addresses, routes, neighbours. No I/O.

The kernel's include/uapi/linux/rtnetlink.h, if_addr.h and neighbour.h. A hop makes seven such changes; a
library that builds each of them from its description takes more time for it than the kernel for the hop.
"""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv6Address, IPv6Network

from nodes import netlink
from nodes.netlink import ACK, CREATE, REPLACE, REQUEST, attribute

_NEW_ADDRESS, _DELETE_ADDRESS = 20, 21
_NEW_ROUTE, _DELETE_ROUTE = 24, 25
_DELETE_NEIGHBOUR = 29
PREFIX = 64
"""The length of an address's prefix."""
LOCAL_TABLE, MAIN_TABLE = 255, 254
UNICAST, LOCAL = 1, 2
STATIC = 4
LOOPBACK = 1
BEHIND = 2048
"""A metric behind those of the kernel's own routes, which come and go with an address."""


def set_address(
    address: IPv6Address, index: int, *, flags: int, preferred: int, valid: int, sequence: int
) -> bytes:
    """Add an address to an interface, or give one that is there these lifetimes.

    Args:
        index: of the interface.
        flags: ``IFA_F_*``.
        preferred, valid: seconds, 0xFFFFFFFF for ever.
    """
    body = _address(address, index) + attribute(8, struct.pack("=I", flags))
    body += attribute(6, struct.pack("=IIII", preferred, valid, 0, 0))
    return _message(_NEW_ADDRESS, REPLACE | CREATE, sequence, body)


def delete_address(address: IPv6Address, index: int, *, sequence: int) -> bytes:
    """Take an address off an interface."""
    return _message(_DELETE_ADDRESS, 0, sequence, _address(address, index))


def hold_address(address: IPv6Address, *, sequence: int) -> bytes:
    """Make packets to an address the node's own, whether an interface has it or not."""
    return _message(_NEW_ROUTE, REPLACE | CREATE, sequence, _held(address))


def release_address(address: IPv6Address, *, sequence: int) -> bytes:
    """The contrary of :func:`hold_address`."""
    return _message(_DELETE_ROUTE, 0, sequence, _held(address))


def stand_prefix(prefix: IPv6Network, index: int, *, sequence: int) -> bytes:
    """Let a prefix be on an interface's link, whether an address of it is there or not."""
    body = _route(prefix, index, table=MAIN_TABLE, kind=UNICAST)
    return _message(_NEW_ROUTE, REPLACE | CREATE, sequence, body)


def delete_neighbour(address: IPv6Address, index: int, *, sequence: int) -> bytes:
    """Forget a neighbour's link-layer address."""
    body = struct.pack("=BxxxiHBB", socket.AF_INET6, index, 0, 0, 0) + attribute(1, address.packed)
    return _message(_DELETE_NEIGHBOUR, 0, sequence, body)


def _address(address: IPv6Address, index: int) -> bytes:
    head = struct.pack("=BBBBI", socket.AF_INET6, PREFIX, 0, 0, index)
    return head + attribute(1, address.packed) + attribute(2, address.packed)


def _held(address: IPv6Address) -> bytes:
    return _route(IPv6Network(address), LOOPBACK, table=LOCAL_TABLE, kind=LOCAL)


def _route(prefix: IPv6Network, index: int, *, table: int, kind: int) -> bytes:
    head = struct.pack("=BBBBBBBBI", socket.AF_INET6, prefix.prefixlen, 0, 0, table, STATIC, 0, kind, 0)
    numbers = ((4, index), (6, BEHIND), (15, table))
    body = attribute(1, prefix.network_address.packed)
    return head + body + b"".join(attribute(name, struct.pack("=I", value)) for name, value in numbers)


def _message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    return netlink.message(kind, REQUEST | ACK | flags, sequence, body)
