"""UDP over IPv6, as octets: where the payload is, and a packet with a changed payload. No I/O."""

from __future__ import annotations

import ipaddress
import struct
from typing import NamedTuple

_IPV6_HEADER = 40
_UDP_HEADER = 8
_UDP = 17
_SKIPPED = (0, 43, 60)
"""Hop-by-hop options, routing, destination options (RFC 8200 §4): they tell their length alike."""
_MOST_EXTENSIONS = 8


class Datagram(NamedTuple):
    """A UDP datagram in an IPv6 packet; ``begin`` and ``end`` are the payload's octets in the packet."""

    source: ipaddress.IPv6Address
    destination: ipaddress.IPv6Address
    source_port: int
    destination_port: int
    begin: int
    end: int


def read(packet: bytes) -> Datagram | None:
    """The datagram in ``packet``, which begins with the IPv6 header; None where there is none."""
    if len(packet) < _IPV6_HEADER or packet[0] >> 4 != 6:
        return None
    begin = _udp_header(packet)
    if begin is None or len(packet) < begin + _UDP_HEADER:
        return None
    source_port, destination_port, length = struct.unpack_from("!HHH", packet, begin)
    return Datagram(
        source=ipaddress.IPv6Address(packet[8:24]),
        destination=ipaddress.IPv6Address(packet[24:40]),
        source_port=source_port,
        destination_port=destination_port,
        begin=begin + _UDP_HEADER,
        end=min(begin + max(length, _UDP_HEADER), len(packet)),
    )


def altered(packet: bytes, datagram: Datagram, at: int, octets: bytes) -> bytes:
    """``packet`` with ``octets`` from the payload's octet ``at`` on, and the UDP checksum for it."""
    begin = datagram.begin + at
    if at < 0 or begin + len(octets) > datagram.end:
        raise ValueError(f"octets {at} to {at + len(octets)} are not all in the payload")
    changed = bytearray(packet)
    changed[begin : begin + len(octets)] = octets
    header = datagram.begin - _UDP_HEADER
    struct.pack_into("!H", changed, header + 6, 0)
    struct.pack_into("!H", changed, header + 6, _checksum(changed, header, datagram.end))
    return bytes(changed)


def checksum_is_right(packet: bytes, datagram: Datagram) -> bool:
    """Whether the UDP checksum is the one of the datagram's octets."""
    header = datagram.begin - _UDP_HEADER
    bare = bytearray(packet)
    struct.pack_into("!H", bare, header + 6, 0)
    found: int = struct.unpack_from("!H", packet, header + 6)[0]
    return found == _checksum(bare, header, datagram.end)


def _udp_header(packet: bytes) -> int | None:
    following, at = packet[6], _IPV6_HEADER
    for _ in range(_MOST_EXTENSIONS):
        if following == _UDP:
            return at
        if following not in _SKIPPED or len(packet) < at + 8:
            return None
        following, at = packet[at], at + 8 + 8 * packet[at + 1]
    return None


def _checksum(packet: bytearray, header: int, end: int) -> int:
    """RFC 8200 §8.1: over the pseudo-header and the datagram, whose checksum field is 0."""
    covered = bytes(packet[8:40]) + struct.pack("!IxxxB", end - header, _UDP) + bytes(packet[header:end])
    covered += b"\0" * (len(covered) % 2)
    total = sum(struct.unpack(f"!{len(covered) // 2}H", covered))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF or 0xFFFF
