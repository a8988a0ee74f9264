"""From the network to the TUN device: packets are opened where they were received, and written from there."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable
from typing import Final

from nodes.esp.batch import SLOT, Batch
from nodes.esp.coalesce import VNET, Coalescer
from nodes.esp.plane import Plane

LARGEST_IKE: Final = 65_000
"""Octets of the largest IKE message that is passed on."""
_word = struct.Struct(">I")

IkeReceived = Callable[[bytes, bytes, int, memoryview], None]
"""Takes our address, the partner's, the partner's port, and the message without its marker."""


class Receiver:
    """Carries packets from the sockets to the TUN device under the SAs of a plane.

    Attributes:
        undelivered: inner packets that the device refused.
    """

    def __init__(self, plane: Plane, tun: int, ike: IkeReceived, *, coalesce: bool) -> None:
        self.undelivered = 0
        self._plane = plane
        self._tun = tun
        self._ike = ike
        self._coalesce = coalesce
        self._batch = Batch()
        self._buffer = self._batch.buffer
        self._coalescer = Coalescer(self._buffer, self._write)

    def pump_udp(self, udp: socket.socket) -> None:
        """Carry what waits at the UDP socket: ESP to the device, IKE on to its own."""
        self._pump(udp, encapsulated=True)

    def pump_esp(self, esp: socket.socket) -> None:
        """Carry what waits at the socket for plain ESP."""
        self._pump(esp, encapsulated=False)

    def _pump(self, source: socket.socket, *, encapsulated: bool) -> None:
        batch, buffer = self._batch, self._buffer
        try:
            received = batch.receive(source.fileno())
        except OSError:
            return  # an ICMP error that was queued at the socket; it is taken off by this
        now_ns = time.monotonic_ns()
        for n in range(received):
            base = n * SLOT
            finish = base + batch.length(n)
            each = (batch.segment(n) if encapsulated else 0) or SLOT
            for start in range(base, finish, each):
                end = min(start + each, finish)
                if end - start < 8:
                    continue  # a NAT-keepalive, or nothing at all
                spi = _word.unpack_from(buffer, start)[0]
                if spi == 0 and encapsulated:
                    self._pass_on(n, buffer[start + 4 : end])
                    continue
                first, octets = self._plane.open(spi, buffer, start, end, now_ns)
                if octets:
                    self._deliver(first, octets, base + SLOT)
        self._coalescer.flush()

    def _deliver(self, first: int, octets: int, limit: int) -> None:
        if self._coalesce:
            self._coalescer.add(first, octets, limit)
        else:
            self._buffer[first - VNET : first] = bytes(VNET)
            self._write(first - VNET, first + octets)

    def _pass_on(self, n: int, message: memoryview) -> None:
        destination = self._batch.destination(n)
        if destination is not None and len(message) <= LARGEST_IKE:
            self._ike(destination, *self._batch.source(n), message)

    def _write(self, start: int, end: int) -> None:
        try:
            os.write(self._tun, self._buffer[start:end])
        except OSError:
            self.undelivered += 1
