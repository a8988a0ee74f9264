"""IPv6 sockets and their addresses."""

from __future__ import annotations

import socket

from nodes import errors

Address = tuple[str, int, int, int]
"""Host, port, flow label and scope, as an AF_INET6 socket takes it."""


def socket_address(host: str, port: int) -> Address:
    """The socket address of a numeric IPv6 address; its scope is looked up.

    Raises:
        FlowError: the scope is no interface of this node.
    """
    try:
        found = socket.getaddrinfo(
            host,
            port,
            socket.AF_INET6,
            socket.SOCK_STREAM,
            flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        )
    except socket.gaierror as error:
        raise errors.FlowError(f"{host}: {error.strerror}") from None
    address: Address = found[0][4]  # type: ignore[assignment]
    return address


def ipv6_socket(kind: socket.SocketKind, protocol: int = 0) -> socket.socket:
    """A socket of this kind that speaks IPv6 alone and never waits."""
    made = socket.socket(socket.AF_INET6, kind | socket.SOCK_NONBLOCK, protocol)
    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return made
