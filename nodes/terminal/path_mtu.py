"""Path MTUs of flows that are rewritten: what a Packet Too Big says must hold for the wire's addresses too.

The rewriting takes an error to the socket, and the kernel remembers the path MTU for the addresses that the
socket knows. TCP makes its segments by that. Datagrams are cut into fragments by the route of the wire's
addresses, which change with each hop; so the kernel is told the same about these, by a Packet Too Big of our
own over the loopback interface that quotes an echo request from the one address to the other.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv6Address
from types import TracebackType
from typing import NamedTuple, Self

from nodes.terminal.actions import ICMPV6, TCP, UDP, Endpoint, Flow, Path
from nodes.terminal.carriage import AT_ONCE, ICMP6_FILTER, only

PACKET_TOO_BIG = 2
_LEAST = 1280
_ECHO_REQUEST = 128
_FRAGMENT = 44
_HEADER, _IPV6_HEADER, _FRAGMENT_HEADER = 8, 40, 8
_LONGEST = 65_535


class TooBig(NamedTuple):
    """A packet of this flow was too big for its path."""

    flow: Flow
    mtu: int


def read(message: bytes) -> TooBig | None:
    """What a Packet Too Big quotes (RFC 4443 §3.2), if it is a packet of TCP, UDP, or an echo."""
    if len(message) < _HEADER + _IPV6_HEADER + _FRAGMENT_HEADER or message[0] != PACKET_TOO_BIG:
        return None
    (mtu,) = struct.unpack_from("!I", message, 4)
    quoted = message[_HEADER:]
    protocol, transport = quoted[6], quoted[_IPV6_HEADER:]
    if protocol == _FRAGMENT:
        protocol, transport = transport[0], transport[_FRAGMENT_HEADER:]
    if len(transport) < _HEADER or protocol not in (TCP, UDP, ICMPV6):
        return None
    ports = struct.unpack_from("!HH", transport, 4 if protocol == ICMPV6 else 0)
    if protocol == ICMPV6:
        ports = (ports[0], ports[0])
    source, destination = IPv6Address(quoted[8:24]), IPv6Address(quoted[24:40])
    flow = Flow(protocol, Endpoint(source, ports[0]), Endpoint(destination, ports[1]))
    return TooBig(flow, max(mtu, _LEAST))


def packet_too_big(path: Path, mtu: int) -> bytes:
    """A Packet Too Big about an echo request on this path; the kernel fills in its checksum."""
    quoted = struct.pack("!IHBB", 6 << 28, mtu, ICMPV6, 64)
    quoted += path.local.address.packed + path.remote.address.packed
    return struct.pack("!BBHI", PACKET_TOO_BIG, 0, 0, mtu) + quoted + struct.pack("!B7x", _ECHO_REQUEST)


class PathMtus:
    """Hears what was too big, and tells the kernel."""

    def __init__(self) -> None:
        self.readable = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)

    def __enter__(self) -> Self:
        self.readable.setsockopt(socket.IPPROTO_ICMPV6, ICMP6_FILTER, only(PACKET_TOO_BIG))
        self.readable.setblocking(False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.readable.close()

    def heard(self) -> Iterator[TooBig]:
        """What was too big, not more than :data:`~nodes.terminal.carriage.AT_ONCE`."""
        for _ in range(AT_ONCE):
            try:
                message = self.readable.recv(_LONGEST)
            except (BlockingIOError, InterruptedError):
                return
            found = read(message)
            if found is not None:
                yield found

    def tell(self, path: Path, mtu: int) -> None:
        """Let the kernel know the MTU of this path.

        Raises:
            OSError: the local address is none of this node's.
        """
        address = str(path.local.address)
        source = path.local.address.packed + struct.pack("=I", 0)
        ancillary = [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, source)]
        self.readable.sendmsg([packet_too_big(path, mtu)], ancillary, 0, (address, 0))
