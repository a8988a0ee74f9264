"""Where the packets of an SA go."""

from __future__ import annotations

import struct
from ipaddress import IPv6Address

_pktinfo = struct.Struct("@16sI")


class Path:
    """A tunnel's way over the network, as the sockets want it.

    Attributes:
        encapsulated: ESP in UDP (RFC 3948), not plain.
        address: the partner's address and UDP port (0: plain), for ``sendmsg``.
        source: our address, an ``in6_pktinfo`` (RFC 3542).
        segments: whether the kernel takes many packets in one call here; until it has refused.
    """

    def __init__(self, local: IPv6Address, remote: IPv6Address, encap: tuple[int, int] | None) -> None:
        self.encapsulated = encap is not None
        self.address = (str(remote), 0 if encap is None else encap[1])
        self.source = pktinfo(local)
        self.segments = self.encapsulated


def pktinfo(source: IPv6Address) -> bytes:
    """An ``in6_pktinfo`` with this source address, on any interface."""
    return _pktinfo.pack(source.packed, 0)
