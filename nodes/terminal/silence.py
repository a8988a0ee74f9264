"""How messages pass by the kernel, as octets: a socket filter, and a rule's expressions. No I/O.

A raw socket has a packet with Destination Options before the kernel looks at the options (RFC 8200 §4.2), but
behind netfilter. There the rule makes the message's option one that is skipped over if it is not known: the
kernel answers nothing, and what it may say to the sender in a second (``icmp.ratelimit``) stays for others.
"""

from __future__ import annotations

import struct

from nodes.terminal import nf_expressions as nf
from nodes.terminal.header import (
    DESTINATION_OPTIONS,
    NO_NEXT_HEADER,
    OPTION_NUMBER,
    OPTION_NUMBER_BITS,
    SKIPPED,
)
from nodes.terminal.nf_expressions import Base, Compare

_NEXT_HEADER, _LAST_HEADER, _OPTION_TYPE = 6, 40, 42
"""Offsets in the packet: what follows the IPv6 header, what follows the options, and the first option."""
_TYPE_IN_HEADER = 2

_LOAD_OCTET, _AND, _JUMP_IF_EQUAL, _RETURN = 0x30, 0x54, 0x15, 0x06
_WHOLE = 0xFFFF


def socket_filter() -> bytes:
    """A classic BPF program for a raw socket of Destination Options: headers with such an option first."""
    lines = [
        (_LOAD_OCTET, 0, 0, _TYPE_IN_HEADER),
        (_AND, 0, 0, OPTION_NUMBER_BITS),
        (_JUMP_IF_EQUAL, 0, 1, OPTION_NUMBER),
        (_RETURN, 0, 0, _WHOLE),
        (_RETURN, 0, 0, 0),
    ]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


def skipped() -> list[bytes]:
    """Expressions that let the kernel skip over a message's option, and end the rule for anything else.

    A message has nothing behind it: with the option before it a packet of a service is not let through here.
    """
    return [
        nf.load(Base.NETWORK, _NEXT_HEADER, 1, 0),
        nf.compare(0, Compare.EQUAL, bytes([DESTINATION_OPTIONS])),
        nf.load(Base.NETWORK, _LAST_HEADER, 1, 0),
        nf.compare(0, Compare.EQUAL, bytes([NO_NEXT_HEADER])),
        nf.load(Base.NETWORK, _OPTION_TYPE, 1, 1),
        nf.mask(1, 1, bytes([OPTION_NUMBER_BITS])),
        nf.compare(1, Compare.EQUAL, bytes([OPTION_NUMBER])),
        nf.immediate(1, bytes([SKIPPED])),
        nf.store(Base.NETWORK, _OPTION_TYPE, 1, 1, checksum=False),
    ]
