"""TCP segments in a row become one large one, which the kernel takes in one piece (as its own GRO does).

A segment that arrives costs the kernel the whole way through its TCP; forty of them joined cost it once, and
bring one acknowledgement. Joined is only what the kernel would split into the same segments again: the same
flow, octets in sequence, headers alike, all but the last of one size.

The checksum of the large segment is made of those of its parts, not of its octets, so that it says what they
said: a segment that was spoilt before it was sealed is not made good, and the kernel finds out.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

VNET: Final = 10
"""Octets of the header that a TUN device with IFF_VNET_HDR wants before a packet (``virtio_net_hdr``)."""
_GSO_TCPV6: Final = 4
_IPV6: Final = 40
_TCP: Final = 6
_ACK, _PSH = 0x10, 0x08
_MOST: Final = 65535
_MODULUS: Final = 0xFFFF

_vnet = struct.Struct("=BBHHHH")
_PLAIN: Final = bytes(VNET)
_word = struct.Struct(">I")
_half = struct.Struct(">H")


class Coalescer:
    """Joins the TCP segments of one batch of inner packets, in place, in one buffer.

    Before each packet there are :data:`VNET` octets that may be overwritten. A packet that is joined moves
    to the end of the one before it; between the two there is nothing that is still wanted.

    Args:
        buffer: where the packets are.
        deliver: takes what is ready, with the header for TUN: from where to where.
    """

    def __init__(self, buffer: memoryview, deliver: Callable[[int, int], None]) -> None:
        self._buffer = buffer
        self._deliver = deliver
        self._segments = 0
        self._start = self._end = self._limit = 0
        self._joinable = False
        self._first = b""  # the headers of the first segment
        self._size = 0  # of a segment's payload
        self._sequence = 0  # the number that continues
        self._base = 0  # the sum over what the headers of all segments have alike
        self._total = 0  # the sum over everything but the checksum

    def add(self, start: int, octets: int, limit: int) -> None:
        """Add the packet of these octets at ``start``, which may grow up to ``limit``."""
        buffer = self._buffer
        headers = b""
        if octets >= _IPV6 + 20 and buffer[start + 6] == _TCP and not buffer[start + 53] & ~(_ACK | _PSH):
            headers = bytes(buffer[start : start + _IPV6 + (buffer[start + 52] >> 4) * 4])
        payload = octets - len(headers)
        if self._joinable and self._continues(headers, payload):
            self._join(start + len(headers), headers, payload)
            return
        if self._segments:
            self.flush()
        self._start, self._end, self._limit, self._segments = start, start + octets, limit, 1
        self._joinable = (
            len(headers) >= _IPV6 + 20 and payload > 0 and not payload & 1 and headers[53] == _ACK
        )
        if self._joinable:
            self._first, self._size = headers, payload
            self._sequence = _word.unpack_from(headers, 44)[0] + payload & 0xFFFF_FFFF

    def flush(self) -> None:
        """Deliver what waits to be continued."""
        if not self._segments:
            return
        buffer, start, end = self._buffer, self._start, self._end
        if self._segments == 1:
            buffer[start - VNET : start] = _PLAIN
        else:
            _vnet.pack_into(buffer, start - VNET, 0, _GSO_TCPV6, len(self._first), self._size, 0, 0)
            _half.pack_into(buffer, start + 4, end - start - _IPV6)
            _half.pack_into(buffer, start + 56, -self._total % _MODULUS)
        self._segments = 0
        self._joinable = False
        self._deliver(start - VNET, end)

    def _continues(self, headers: bytes, payload: int) -> bool:
        first = self._first
        return (
            len(headers) == len(first)
            and 0 < payload <= self._size
            and self._end + payload <= self._limit
            and self._end + payload - self._start <= _MOST
            and _word.unpack_from(headers, 44)[0] == self._sequence
            and headers[6:44] == first[6:44]  # next header, hop limit, addresses, ports
            and headers[48:53] == first[48:53]  # acknowledgement, length of the options
            and headers[54:56] == first[54:56]  # window
            and headers[58:] == first[58:]  # urgent pointer, options
            and headers[:4] == first[:4]  # traffic class, flow label
        )

    def _join(self, payload_at: int, headers: bytes, payload: int) -> None:
        buffer, first, end = self._buffer, self._first, self._end
        if self._segments == 1:
            alike = (first[8:44], first[48:56], first[58:])
            self._base = sum(int.from_bytes(part, "big") for part in alike) + _TCP
            self._total = -_half.unpack_from(first, 56)[0]
        pushed = headers[53] & _PSH
        # the sum over a whole segment is 0 (RFC 1071): its payload makes up what the rest lacks
        rest = self._base + len(headers) - _IPV6 + payload + self._sequence + pushed
        rest += _half.unpack_from(headers, 56)[0]
        self._total += payload + pushed - rest
        buffer[end : end + payload] = buffer[payload_at : payload_at + payload]
        self._end = end + payload
        self._segments += 1
        self._sequence = self._sequence + payload & 0xFFFF_FFFF
        if pushed:
            buffer[self._start + 53] |= _PSH
        self._joinable = payload == self._size and not pushed
