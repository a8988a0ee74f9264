"""``python -m nodes.router_advertisements ORDER``: a router that advertises prefixes (RFC 4861, 4.2 and 6.2).

What it advertises, it is told on its standard input, a JSON document a line (:class:`Advertise`): it is sent
at once and at each interval from then on. It is no default router: it advertises prefixes alone. At the end
of its standard input it ends; the prefixes live on in the hosts until their lifetimes end.
"""

from __future__ import annotations

import ipaddress
import os
import select
import socket
import struct
import sys
import time
from typing import Annotated

import msgspec

from nodes import errors
from nodes.events import event
from nodes.program import DONE, READY, run, say

INFINITE = 0xFFFFFFFF
"""A lifetime that does not end (RFC 4861, 4.6.2)."""

_ROUTER_ADVERTISEMENT = 134
_HEADER = struct.Struct("!BBHBBHII")
_PREFIX_INFORMATION = struct.Struct("!BBBBIII16s")
_ON_LINK_AUTONOMOUS = 0xC0
_HOP_LIMIT = 255
_ALL_NODES = "ff02::1"

Lifetime = Annotated[int, msgspec.Meta(ge=0, le=INFINITE)]


class Prefix(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A prefix, on-link and for autoconfiguration, with its lifetimes in seconds."""

    prefix: str
    preferred: Lifetime
    valid: Lifetime

    def __post_init__(self) -> None:
        """Refuse what no host would take (RFC 4862, 5.5.3)."""
        ipaddress.IPv6Network(self.prefix)
        if self.preferred > self.valid:
            raise ValueError("a preferred lifetime may not be longer than the valid one")


class Router(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to advertise: from which interface, and how often, s."""

    interface: str
    interval: Annotated[float, msgspec.Meta(gt=0, le=1800)] = 1.0


class Advertise(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to advertise from now on."""

    prefixes: tuple[Prefix, ...]


def advertisement(prefixes: tuple[Prefix, ...]) -> bytes:
    """The ICMPv6 message; the kernel fills in the checksum."""
    message = _HEADER.pack(_ROUTER_ADVERTISEMENT, 0, 0, 0, 0, 0, 0, 0)
    for one in prefixes:
        network = ipaddress.IPv6Network(one.prefix)
        message += _PREFIX_INFORMATION.pack(
            3,
            _PREFIX_INFORMATION.size // 8,
            network.prefixlen,
            _ON_LINK_AUTONOMOUS,
            one.valid,
            one.preferred,
            0,
            network.network_address.packed,
        )
    return message


def _raw_socket(interface: str) -> socket.socket:
    raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex(interface))
    raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _HOP_LIMIT)
    raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
    return raw


def _serve(router: Router) -> int:
    """Advertise until the end of the standard input; how many advertisements were sent."""
    told = b""
    message: bytes | None = None
    due = sent = 0
    with _raw_socket(router.interface) as raw:
        say(event(READY))
        while True:
            wait = None if message is None else max(due - time.monotonic_ns(), 0) / 1e9
            if select.select([0], [], [], wait)[0]:
                octets = os.read(0, 65_536)
                if not octets:
                    return sent
                *lines, told = (told + octets).split(b"\n")
                for line in lines:
                    order = msgspec.json.decode(line, type=Advertise)
                    message, due = advertisement(order.prefixes), 0
            if message is not None and due <= time.monotonic_ns():
                raw.sendto(message, (_ALL_NODES, 0))
                sent += 1
                due = time.monotonic_ns() + round(router.interval * 1e9)


def main() -> None:
    """Advertise as told."""
    try:
        (text,) = sys.argv[1:]
        router = msgspec.json.decode(text, type=Router)
        sent = _serve(router)
    except (ValueError, msgspec.DecodeError) as error:
        raise errors.ParameterError(f"router advertisements: not an order: {error}") from None
    say(event(DONE, sent=sent))


if __name__ == "__main__":
    run(main)
