"""Which flow a packet is of, as the maps' keys have it, in registers. No I/O."""

from __future__ import annotations

from nodes.terminal import nf_expressions as nf
from nodes.terminal.actions import ICMPV6, TCP
from nodes.terminal.nf_expressions import Base, Compare, Meta

_NEXT_HEADER = 6
"""Its offset in the IPv6 header."""
ADDRESSES, PORTS, PROTOCOL, LABEL, SPARE = 0, 8, 9, 9, 10
"""Registers."""


def of_protocol(protocol: int, register: int) -> list[bytes]:
    """Only packets of this transport protocol, which the register then has."""
    return [
        nf.meta(Meta.TRANSPORT_PROTOCOL, register),
        nf.compare(register, Compare.EQUAL, bytes([protocol])),
    ]


def flow_key(protocol: int) -> list[bytes]:
    """The key of a packet of TCP or UDP."""
    return [
        *of_protocol(protocol, PROTOCOL),
        nf.load(Base.NETWORK, 8, 32, ADDRESSES),
        nf.load(Base.TRANSPORT, 0, 4, PORTS),
    ]


SEGMENT_KEYS = (
    [
        nf.load(Base.NETWORK, _NEXT_HEADER, 1, PROTOCOL),
        nf.compare(PROTOCOL, Compare.EQUAL, bytes([TCP])),
        nf.load(Base.NETWORK, 8, 32 + 4, ADDRESSES),
    ],
    [
        nf.load(Base.NETWORK, _NEXT_HEADER, 1, PROTOCOL),
        nf.compare(PROTOCOL, Compare.UNEQUAL, bytes([TCP])),
        *flow_key(TCP),
    ],
)
"""The key of a packet of TCP: with its ports right behind its addresses, or behind extension headers."""


def echo_key() -> list[bytes]:
    """The key of an ICMPv6 echo."""
    return [
        *of_protocol(ICMPV6, PROTOCOL),
        *is_echo(0),
        nf.load(Base.NETWORK, 8, 32, ADDRESSES),
        nf.load(Base.TRANSPORT, 4, 2, PORTS),
    ]


def is_echo(offset: int) -> list[bytes]:
    """Echo request or reply: types 128 and 129."""
    return [
        nf.load(Base.TRANSPORT, offset, 1, SPARE),
        nf.mask(SPARE, SPARE, b"\xfe"),
        nf.compare(SPARE, Compare.EQUAL, b"\x80"),
    ]
