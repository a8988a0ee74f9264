"""The probe packet: what every packet of a UDP flow, and every record of a TCP flow, carries.

In network byte order: the flow's id (64 bits), the sequence number (64 bits) and the send time (64 bits,
CLOCK_MONOTONIC ns); then the flow's id over and over up to the flow's packet size. The id is random, so that
no other packet is ever counted for the flow, and the filling lets the receiver see every changed octet.
"""

from __future__ import annotations

import struct

_HEADER = struct.Struct("!QQq")

MIN_SIZE = _HEADER.size
"""Octets of the smallest probe: the header alone."""
MAX_SIZE = 65_000
"""Octets of the largest probe; with its UDP and IPv6 headers it is within one IPv6 payload."""


class ProbeFormat:
    """The probes of one flow.

    Args:
        flow_id: 64 bits.
        size: octets of a probe, :data:`MIN_SIZE` to :data:`MAX_SIZE`.
    """

    def __init__(self, flow_id: int, size: int) -> None:
        self.flow_id = flow_id
        self.size = size
        self._id = flow_id.to_bytes(8, "big")
        self._filling = (self._id * (size // 8))[: size - MIN_SIZE]

    def encode(self, sequence: int, sent_ns: int) -> bytes:
        """The probe with this number and send time."""
        return _HEADER.pack(self.flow_id, sequence, sent_ns) + self._filling

    def decode(self, octets: bytes) -> tuple[int, int] | None:
        """The sequence number and send time of a probe; ``None`` for octets that are none of this flow."""
        if len(octets) != self.size or octets[MIN_SIZE:] != self._filling:
            return None
        flow_id, sequence, sent_ns = _HEADER.unpack_from(octets)
        return (sequence, sent_ns) if flow_id == self.flow_id else None
