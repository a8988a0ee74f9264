"""The messages of sock_diag, as octets: which sockets there are, and the end of one. No I/O.

The kernel's include/uapi/linux/inet_diag.h and sock_diag.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import IPv6Address
from typing import NamedTuple

from nodes import netlink
from nodes.netlink import ACK, DUMP, REQUEST
from nodes.terminal.actions import Endpoint

FAMILY = 4
"""``NETLINK_SOCK_DIAG``."""

_BY_FAMILY, _DESTROY = 20, 21
_AF_INET6 = 10
LISTEN = 10
_ALL_STATES = 0xFFFFFFFF
_TIME_WAIT_AND_LISTEN = 1 << 6 | 1 << LISTEN

_SOCKET_ID = struct.Struct("!HH16s16s")
_REQUEST_V2 = struct.Struct("=BBBBI")
_ANSWER = struct.Struct("=BBBB")
_REST = struct.Struct("=IIIII")


class OpenSocket(NamedTuple):
    """A socket as the kernel lists it; its remote port is 0 where it is not connected.

    ``cookie`` tells it from every other socket, also from a later one of the same addresses.
    """

    protocol: int
    state: int
    local: Endpoint
    remote: Endpoint
    interface: int
    cookie: bytes
    uid: int
    inode: int


class Answer(NamedTuple):
    """The kernel's answer to a request: an errno, or 0."""

    error: int


def dump(protocol: int, *, sequence: int) -> bytes:
    """The request for all sockets of a protocol, those aside that only listen or wait for their time."""
    states = _ALL_STATES & ~_TIME_WAIT_AND_LISTEN
    body = _REQUEST_V2.pack(_AF_INET6, protocol, 0, 0, states) + bytes(48)
    return netlink.message(_BY_FAMILY, REQUEST | DUMP, sequence, body)


def destroy(found: OpenSocket, *, sequence: int) -> bytes:
    """The request to end a socket; its owner reads ECONNABORTED."""
    body = _REQUEST_V2.pack(_AF_INET6, found.protocol, 0, 0, _ALL_STATES)
    body += _SOCKET_ID.pack(
        found.local.port, found.remote.port, found.local.address.packed, found.remote.address.packed
    )
    body += struct.pack("=I", found.interface) + found.cookie
    return netlink.message(_DESTROY, REQUEST | ACK, sequence, body)


def read(data: bytes, protocol: int) -> Iterator[OpenSocket | Answer]:
    """What the kernel says in one datagram: sockets, and at last an answer.

    Raises:
        ProtocolError: it is nothing that sock_diag says.
    """
    for message in netlink.messages(data):
        body = message.body
        if message.kind in (netlink.ERROR, netlink.DONE):
            yield Answer(message.error)
        elif message.kind == _BY_FAMILY and len(body) >= 72 and body[0] == _AF_INET6:
            yield _socket(body, protocol)


def _socket(body: bytes, protocol: int) -> OpenSocket:
    _, state, _, _ = _ANSWER.unpack_from(body)
    local_port, remote_port, local, remote = _SOCKET_ID.unpack_from(body, 4)
    (interface,) = struct.unpack_from("=I", body, 40)
    _, _, _, uid, inode = _REST.unpack_from(body, 52)
    return OpenSocket(
        protocol,
        state,
        Endpoint(IPv6Address(local), local_port),
        Endpoint(IPv6Address(remote), remote_port),
        interface,
        body[44:52],
        uid,
        inode,
    )
