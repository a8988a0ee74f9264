"""The socket filters of the guard, as classic BPF: the kernel hands over few packets, whatever is sent. No
I/O.

A packet begins with its IPv6 header (AF_PACKET, SOCK_DGRAM). Only UDP right behind it is looked at: an IKE
message in an IPv6 fragment or behind extension headers is none that the guard needs.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from nodes.abnormality.message import OCTETS

SNAP = 256
"""Octets of a packet that are handed over."""

_LD_H, _LD_B, _LD_W, _JEQ, _AND, _RET = 0x28, 0x30, 0x20, 0x15, 0x54, 0x06
_PROTOCOL, _PACKET_TYPE = 0xFFFFF000, 0xFFFFF004  # SKF_AD_OFF + SKF_AD_PROTOCOL, SKF_AD_PKTTYPE
_IPV6, _OUTGOING, _UDP = 0x86DD, 4, 17
_NEXT_HEADER, _SOURCE_PORT, _DESTINATION_PORT, _UDP_LENGTH, _PAYLOAD = 6, 40, 42, 44, 48
_NEXT_PAYLOAD, _VERSION, _EXCHANGE = 16, 17, 18
_NON_ESP_MARKER = 4

EXCHANGES = {1: (2, 4, 5, 6, 32, 33), 2: (34, 35, 36, 37, 43)}
"""By the version of IKE, the exchange types that charon knows: RFC 2408 §3.1, RFC 2409 §5, Mode Config; RFC
7296 §3.1, RFC 9242."""


class _Step(NamedTuple):
    """An instruction; where a jump goes is said by a label, or by None to the next one."""

    code: int
    value: int
    true: str | None = None
    false: str | None = None
    label: str | None = None


def outgoing_ike() -> bytes:
    """IKE messages that this node sends."""
    return _assemble(
        [
            _Step(_LD_B, _PACKET_TYPE),
            _Step(_JEQ, _OUTGOING, false="drop"),
            _Step(_LD_H, _PROTOCOL),
            _Step(_JEQ, _IPV6, false="drop"),
            _Step(_LD_B, _NEXT_HEADER),
            _Step(_JEQ, _UDP, false="drop"),
            _Step(_LD_H, _SOURCE_PORT),
            _Step(_JEQ, 500, true="keep"),
            _Step(_JEQ, 4500, false="drop"),
            _Step(_LD_W, _PAYLOAD),
            _Step(_JEQ, 0, true="keep", false="drop"),
            *_ENDS,
        ]
    )


def notable_ike() -> bytes:
    """Of the IKE that comes in: what no daemon can parse the header of, and what may be our message."""
    return _assemble(
        [
            _Step(_LD_B, _NEXT_HEADER),
            _Step(_JEQ, _UDP, false="drop"),
            _Step(_LD_H, _DESTINATION_PORT),
            _Step(_JEQ, 500, true="ike"),
            _Step(_JEQ, 4500, false="drop"),
            _Step(_LD_W, _PAYLOAD),
            _Step(_JEQ, 0, true="nat-t", false="drop"),
            *_notable("ike", _PAYLOAD, 8),
            *_notable("nat-t", _PAYLOAD + _NON_ESP_MARKER, 8 + _NON_ESP_MARKER),
            *_ENDS,
        ]
    )


def nothing() -> bytes:
    """No packet: for a socket that only sends."""
    return _assemble([_Step(_RET, 0)])


_ENDS = (_Step(_RET, SNAP, label="keep"), _Step(_RET, 0, label="drop"))


def _notable(name: str, header: int, overhead: int) -> Sequence[_Step]:
    """``overhead``: octets of the datagram before the IKE header."""
    steps = [
        _Step(_LD_B, header + _VERSION, label=name),
        _Step(_AND, 0xF0),
        _Step(_JEQ, 0x10, true=f"{name} v1"),
        _Step(_JEQ, 0x20, false="keep"),
    ]
    for version, informational, notify in ((2, 37, 41), (1, 5, 11)):
        first = _Step(_LD_B, header + _EXCHANGE, label=f"{name} v{version}")
        steps += [first, _Step(_JEQ, informational, true=f"{name} informational {version}")]
        known = [_Step(_JEQ, exchange, true="drop") for exchange in EXCHANGES[version]]
        steps += [*known, _Step(_RET, SNAP)]
        steps += [
            _Step(_LD_H, _UDP_LENGTH, label=f"{name} informational {version}"),
            _Step(_JEQ, overhead + OCTETS[version], false="drop"),
            _Step(_LD_B, header + _NEXT_PAYLOAD),
            _Step(_JEQ, notify, true="keep", false="drop"),
        ]
    return steps


def _assemble(steps: Sequence[_Step]) -> bytes:
    """The instructions as the kernel takes them (struct sock_filter)."""
    places = {step.label: place for place, step in enumerate(steps) if step.label}
    out = bytearray()
    for place, step in enumerate(steps):
        jumps = [0 if label is None else places[label] - place - 1 for label in (step.true, step.false)]
        out += struct.pack("=HBBI", step.code, *jumps, step.value)
    return bytes(out)
