"""The expressions that nf_tables rules are made of, as octets. No I/O.

A rule works on 16 registers of four octets; what is written to one stays there until the rule's end. Rules of
text (``nft``) can neither look one key up for several rewritings nor read inside of an ICMPv6 error; these
can.
"""

from __future__ import annotations

import enum
import struct

from nodes.netlink import attribute, nested
from nodes.terminal.nf_tables import NFPROTO_IPV6, number, text

_FIRST_REGISTER = 8  # NFT_REG32_00
_VERDICT_REGISTER = 0
_PSEUDO_HEADER = 1
_GO_TO = -4  # NFT_GOTO


class Base(enum.IntEnum):
    """What an offset in a packet counts from."""

    NETWORK = 1
    TRANSPORT = 2


class Meta(enum.IntEnum):
    """What is known of a packet besides its octets."""

    MARK = 3
    INPUT_INTERFACE = 4
    OUTPUT_INTERFACE = 5
    TRANSPORT_PROTOCOL = 16


class Compare(enum.IntEnum):
    """How a register is compared."""

    EQUAL = 0
    UNEQUAL = 1
    LESS = 2


class Verdict(enum.IntEnum):
    """What becomes of a packet."""

    DROP = 0
    ACCEPT = 1


def _register(index: int) -> int:
    return _FIRST_REGISTER + index


def _expression(name: str, *attributes: bytes) -> bytes:
    return text(1, name) + nested(2, *attributes)


def load(base: Base, offset: int, length: int, register: int) -> bytes:
    """Copy octets of the packet to registers; the rest of the last one is zero."""
    return _expression(
        "payload", number(1, _register(register)), number(2, base), number(3, offset), number(4, length)
    )


def store(base: Base, offset: int, length: int, register: int, *, checksum: bool = True) -> bytes:
    """Write octets from registers to the packet, and correct its TCP, UDP or ICMPv6 checksum."""
    expression = [number(5, _register(register)), number(2, base), number(3, offset), number(4, length)]
    if checksum:
        expression += [number(6, 0), number(7, 0), number(8, _PSEUDO_HEADER)]
    return _expression("payload", *expression)


def meta(key: Meta, register: int) -> bytes:
    """Copy what is known of the packet to a register."""
    return _expression("meta", number(1, _register(register)), number(2, key))


def compare(register: int, how: Compare, value: bytes) -> bytes:
    """Go on with the rule only if the register's first octets compare so with ``value``."""
    return _expression("cmp", number(1, _register(register)), number(2, how), nested(3, attribute(1, value)))


def mask(source: int, target: int, value: bytes) -> bytes:
    """Copy a register, with only the bits that are set in ``value``."""
    return _expression(
        "bitwise",
        number(1, _register(source)),
        number(2, _register(target)),
        number(3, len(value)),
        nested(4, attribute(1, value)),
        nested(5, attribute(1, bytes(len(value)))),
    )


def contained(name: str, register: int) -> bytes:
    """Go on with the rule only if the set has this key."""
    return _expression("lookup", text(1, name), number(2, _register(register)))


def mapped(name: str, register: int, target: int) -> bytes:
    """Copy this key's data to registers, which may be the key's own; without such a key the rule ends."""
    return _expression("lookup", text(1, name), number(2, _register(register)), number(3, _register(target)))


def learned(name: str, register: int, *, timeout_ms: int = 0) -> bytes:
    """Put the key in the set, or prolong its time there; without a time of its own, by the set's."""
    timeout = [attribute(6, struct.pack("!Q", timeout_ms))] if timeout_ms else []
    return _expression("dynset", text(1, name), number(3, 1), number(4, _register(register)), *timeout)


def proxied(port_register: int) -> bytes:
    """Hand the packet to a local proxy. While there is such a rule the kernel reassembles fragments first."""
    return _expression("tproxy", number(1, NFPROTO_IPV6), number(3, _register(port_register)))


def immediate(register: int, value: bytes) -> bytes:
    """Set a register."""
    data = nested(2, attribute(1, value))
    return _expression("immediate", number(1, _register(register)), data)


def verdict(verdict: Verdict) -> bytes:
    """Decide, and end the chain."""
    code = nested(2, nested(2, number(1, verdict)))
    return _expression("immediate", number(1, _VERDICT_REGISTER), code)


def go_to(chain: str) -> bytes:
    """Go on in this chain, and do not come back."""
    code = nested(2, nested(2, number(1, _GO_TO), text(2, chain)))
    return _expression("immediate", number(1, _VERDICT_REGISTER), code)


def number_in_host_order(value: int) -> bytes:
    """A number as ``meta`` gives it: an interface's index, a mark."""
    return struct.pack("=I", value)
