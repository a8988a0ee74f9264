"""What keeps the kernel from messages that are ours, as octets: a socket filter and a table. No I/O."""

from __future__ import annotations

import struct
from collections.abc import Collection

from nodes.terminal import nf_expressions as nf
from nodes.terminal.header import DESTINATION_OPTIONS
from nodes.terminal.nf_expressions import Base, Compare, Verdict
from nodes.terminal.nf_tables import TABLE_OWNER, Message, new_base_chain, new_rule, new_table

SILENCE_TABLE = "hopbed_silence"
PRIORITY = -400
_PREROUTING = 0
_NEXT_HEADER, _OPTION_TYPE = 6, 42
"""Offsets in the packet, of an option that is the first of its header."""

_LOAD_WORD, _LOAD_OCTET, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x30, 0x15, 0x06
_PACKET_TYPE = 0xFFFFF000 + 4
"""``SKF_AD_OFF + SKF_AD_PKTTYPE``: what the packet is to this host."""
_TO_US = 0
_LINK_PROTOCOL = 0xFFFFF000
"""``SKF_AD_OFF + SKF_AD_PROTOCOL``."""
_ETH_P_IPV6 = 0x86DD
_WHOLE = 0xFFFF


def packet_filter(option_types: Collection[int]) -> bytes:
    """A classic BPF program for IPv6 packets that are for this host and have such an option first."""
    tests = len(option_types)
    lines = [
        (_LOAD_WORD, 0, 0, _LINK_PROTOCOL),
        (_JUMP_IF_EQUAL, 0, tests + 5, _ETH_P_IPV6),
        (_LOAD_WORD, 0, 0, _PACKET_TYPE),
        (_JUMP_IF_EQUAL, 0, tests + 3, _TO_US),
        (_LOAD_OCTET, 0, 0, _NEXT_HEADER),
        (_JUMP_IF_EQUAL, 0, tests + 1, DESTINATION_OPTIONS),
        (_LOAD_OCTET, 0, 0, _OPTION_TYPE),
    ]
    for index, option_type in enumerate(option_types):
        lines.append((_JUMP_IF_EQUAL, tests - index, 0, option_type))
    lines += [(_RETURN, 0, 0, 0), (_RETURN, 0, 0, _WHOLE)]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


def silence_table(option_types: Collection[int]) -> list[Message]:
    """A table of its socket's that drops messages behind the packet socket: the kernel answers none."""
    others = [
        nf.load(Base.NETWORK, _NEXT_HEADER, 1, 0),
        nf.compare(0, Compare.UNEQUAL, bytes([DESTINATION_OPTIONS])),
        nf.verdict(Verdict.ACCEPT),
    ]
    rules = (
        [
            nf.load(Base.NETWORK, _OPTION_TYPE, 1, 1),
            nf.compare(1, Compare.EQUAL, bytes([option_type])),
            nf.verdict(Verdict.DROP),
        ]
        for option_type in option_types
    )
    return [
        new_table(SILENCE_TABLE, flags=TABLE_OWNER),
        new_base_chain(SILENCE_TABLE, "incoming", type_="filter", hook=_PREROUTING, priority=PRIORITY),
        *(new_rule(SILENCE_TABLE, "incoming", rule) for rule in (others, *rules)),
    ]
