"""From the TUN device to the network: packets are sealed where they were read, and sent many at a time."""

from __future__ import annotations

import os
import time
from typing import Final

from nodes.esp.coalesce import VNET
from nodes.esp.inbound import IPV6_HEADER
from nodes.esp.outbound import ExpiredError, OutboundSa
from nodes.esp.plane import Plane, Route
from nodes.esp.wire import Wire

BURST: Final = 64
"""Packets that are read before the other direction has its turn."""
_RUN: Final = 64
"""Packets in one call: the most that the kernel segments (UDP_MAX_SEGMENTS)."""
_RUN_OCTETS: Final = 62_000
_MEMORY: Final = 262_144
_MARGIN: Final = 96
"""Octets that a packet needs in the buffer beside the inner packet, with room to spare."""


class Sender:
    """Carries packets out of the TUN device under the SAs of a plane."""

    def __init__(self, plane: Plane, tun: int, wire: Wire, mtu: int) -> None:
        self._plane = plane
        self._tun = tun
        self._wire = wire
        self._mtu = mtu
        self._buffer = memoryview(bytearray(_MEMORY))
        self._header = 16  # of the SA that the next packet is likely to need
        # the run of packets that go in one call: [begin, end), each of a size but the last
        self._begin = self._end = self._size = self._count = 0
        self._sa: OutboundSa | None = None

    def pump(self) -> None:
        """Carry what waits in the device, up to :data:`BURST` packets."""
        buffer, tun, most, now_ns = self._buffer, self._tun, self._mtu + VNET, time.monotonic_ns()
        for _ in range(BURST):
            if self._end + most + _MARGIN > _MEMORY:
                self._flush()
                self._end = 0
            place = self._end + self._header - VNET
            try:
                octets = os.readv(tun, (buffer[place : place + most],)) - VNET
            except BlockingIOError:
                break
            self._take(place + VNET, octets, now_ns)
        self._flush()
        self._end = 0

    def release(self, reqid: int) -> None:
        """Carry the packets that were held for a policy, which has an SA now."""
        now_ns = time.monotonic_ns()
        for packet in self._plane.release(reqid):
            at = self._end + self._header
            self._buffer[at : at + len(packet)] = packet
            self._take(at, len(packet), now_ns)
            self._flush()
            self._end = 0

    def _take(self, at: int, octets: int, now_ns: int) -> None:
        """Seal the inner packet at ``at``, and add it to the run."""
        buffer = self._buffer
        if octets < IPV6_HEADER or buffer[at] >> 4 != 6:
            return
        route = self._plane.route(bytes(buffer[at + 8 : at + IPV6_HEADER]))
        if route is None:
            return
        sa = route.outbound
        if sa is None:
            self._plane.unsent(route, buffer[at : at + octets], now_ns)
            return
        if sa.header != self._header:
            self._header = sa.header
            moved = self._end + sa.header
            buffer[moved : moved + octets] = buffer[at : at + octets]
        self._seal(route, sa, octets, now_ns)

    def _seal(self, route: Route, sa: OutboundSa, octets: int, now_ns: int) -> None:
        start = self._end
        try:
            end = sa.seal(self._buffer, start, octets)
        except ExpiredError:
            route.lost += 1
            return
        if sa.lifetime.count(octets, now_ns):
            self._plane.events.extend(sa.lifetime.reached(now_ns))
        size = end - start
        if self._count and (
            sa is not self._sa
            or size > self._size
            or self._count == _RUN
            or end - self._begin > _RUN_OCTETS
            or (self._end - self._begin) % self._size
        ):
            self._flush()
        if not self._count:
            self._sa, self._begin, self._size = sa, start, size
        self._count += 1
        self._end = end

    def _flush(self) -> None:
        if self._count and self._sa is not None:
            self._wire.send(self._sa.path, self._buffer[self._begin : self._end], self._size)
            self._count = 0
