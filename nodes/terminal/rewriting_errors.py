"""Rules for ICMPv6 errors: what they quote is rewritten as the packet was that it quotes. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from nodes.terminal import nf_expressions as nf
from nodes.terminal.actions import ICMPV6
from nodes.terminal.nf_expressions import Base, Compare
from nodes.terminal.rewriting_keys import ADDRESSES, PORTS, PROTOCOL, SPARE, is_echo, of_protocol


class _Quoted(NamedTuple):
    """Where an ICMPv6 error has what it quotes (RFC 4443 §3), from the ICMPv6 header on.

    Attributes:
        protocol: the offset of the quoted packet's transport protocol.
        ports: the offset of its ports, or of its echo's identifier.
        length: their length.
        conditions: what must hold besides.
    """

    protocol: int
    ports: int
    length: int
    conditions: Sequence[bytes]


_QUOTED_PROTOCOL = 14
_QUOTED_ADDRESSES = 16
_QUOTED_TRANSPORT = 48
_FRAGMENT = 44


def _quoted_protocol(how: Compare, value: int) -> list[bytes]:
    return [nf.load(Base.TRANSPORT, _QUOTED_PROTOCOL, 1, SPARE), nf.compare(SPARE, how, bytes([value]))]


_QUOTED = (
    _Quoted(_QUOTED_PROTOCOL, _QUOTED_TRANSPORT, 4, _quoted_protocol(Compare.LESS, _FRAGMENT)),
    _Quoted(
        _QUOTED_PROTOCOL,
        _QUOTED_TRANSPORT + 4,
        2,
        [*_quoted_protocol(Compare.EQUAL, ICMPV6), *is_echo(_QUOTED_TRANSPORT)],
    ),
    _Quoted(  # a first fragment: its ports stand behind the fragment header
        _QUOTED_TRANSPORT,
        _QUOTED_TRANSPORT + 8,
        4,
        [
            *_quoted_protocol(Compare.EQUAL, _FRAGMENT),
            nf.load(Base.TRANSPORT, _QUOTED_TRANSPORT + 2, 2, SPARE),
            nf.mask(SPARE, SPARE, b"\xff\xf8"),
            nf.compare(SPARE, Compare.EQUAL, b"\0\0"),
        ],
    ),
)


def rewritten_errors(name: str) -> Iterator[list[bytes]]:
    """Rewrite what an error quotes, and correct the error's checksum; the quoted packet's is history."""
    for quoted in _QUOTED:
        yield [
            *of_protocol(ICMPV6, SPARE),
            nf.load(Base.TRANSPORT, 0, 1, SPARE),
            nf.compare(SPARE, Compare.LESS, b"\x80"),
            *quoted.conditions,
            nf.load(Base.TRANSPORT, _QUOTED_ADDRESSES, 32, ADDRESSES),
            nf.load(Base.TRANSPORT, quoted.ports, quoted.length, PORTS),
            nf.load(Base.TRANSPORT, quoted.protocol, 1, PROTOCOL),
            nf.mapped(name, ADDRESSES, ADDRESSES),
            nf.store(Base.TRANSPORT, _QUOTED_ADDRESSES, 32, ADDRESSES),
            nf.store(Base.TRANSPORT, quoted.ports, quoted.length, PORTS),
        ]
