"""The inbound half of a pair of SAs: ESP packets become inner packets (RFC 4303, section 3.4)."""

from __future__ import annotations

import struct
from ipaddress import IPv6Network
from typing import Literal

from nodes.esp.lifetime import Lifetime
from nodes.esp.outbound import IPV6, NO_NEXT_HEADER
from nodes.esp.replay import ReplayedError, ReplayWindow
from nodes.esp.sa import EspSa
from nodes.esp.transform import Transform, WrongTagError, transform

IPV6_HEADER = 40
KNOWN_FLOWS = 256
"""Pairs of inner addresses that an SA remembers to be within its selectors."""

Reason = Literal["replay", "tag", "padding", "next header", "inner packet", "selector", "expired"]

_word = struct.Struct(">I")


class RefusedError(Exception):
    """A packet is not taken; ``reason`` says why."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class InboundSa:
    """Opens packets under an SA.

    Attributes:
        header: octets before the inner packet.
        lifetime: what it has carried.
        authenticated: whether an authenticated packet has come.
        told: whether that was told of.
    """

    def __init__(self, sa: EspSa) -> None:
        self.sa = sa
        self.lifetime = Lifetime(sa, "in", 1 << 64)
        self.authenticated = False
        self.told = False
        self._transform: Transform = transform(sa)
        self.header = self._transform.header
        self._window = ReplayWindow(sa.replay_window, esn=sa.esn)
        self._source, self._destination = _selector(sa.remote_ts), _selector(sa.local_ts)
        self._known: set[bytes] = set()

    def open(self, buffer: memoryview, start: int, end: int) -> int:
        """Open the packet ``[start, end)``, which has this SA's SPI, in place.

        Returns the octets of the inner packet, which stands at ``start + header``; 0 for a dummy packet.

        Raises:
            RefusedError: it is dropped, and counted.
        """
        lifetime = self.lifetime
        if lifetime.expired:
            raise RefusedError("expired")
        if end - start < self.header:
            lifetime.auth_failures += 1
            raise RefusedError("tag")
        try:
            sequence = self._window.candidate(_word.unpack_from(buffer, start + 4)[0])
            finish = self._transform.open(buffer, start, end, sequence)
        except ReplayedError:
            lifetime.replays += 1
            raise RefusedError("replay") from None
        except WrongTagError:
            lifetime.auth_failures += 1
            raise RefusedError("tag") from None
        self._window.accept(sequence)
        self.authenticated = True
        return self._inner(buffer, start + self.header, finish)

    def _inner(self, buffer: memoryview, first: int, finish: int) -> int:
        """The octets of the inner packet in the plaintext ``[first, finish)``."""
        if finish - first < 2:
            self._refuse("padding")
        pad, next_header = buffer[finish - 2], buffer[finish - 1]
        end = finish - 2 - pad
        if end < first or (pad and buffer[end : finish - 2] != _PADDING[pad]):
            self._refuse("padding")
        if next_header != IPV6:
            if next_header == NO_NEXT_HEADER:
                return 0
            self._refuse("next header")
        if end - first < IPV6_HEADER or buffer[first] >> 4 != 6:
            self._refuse("inner packet")
        # what follows the inner packet is padding for traffic flow confidentiality (RFC 4303, section 2.7)
        octets = IPV6_HEADER + (buffer[first + 4] << 8 | buffer[first + 5])
        if octets > end - first:
            self._refuse("inner packet")
        addresses = bytes(buffer[first + 8 : first + IPV6_HEADER])
        if addresses not in self._known:
            self._check_selectors(addresses)
        return octets

    def _check_selectors(self, addresses: bytes) -> None:
        for (network, mask), address in (
            (self._source, addresses[:16]),
            (self._destination, addresses[16:]),
        ):
            if int.from_bytes(address, "big") & mask != network:
                self._refuse("selector")
        if len(self._known) >= KNOWN_FLOWS:
            self._known.clear()
        self._known.add(addresses)

    def _refuse(self, reason: Reason) -> None:
        self.lifetime.refused += 1
        raise RefusedError(reason)


_PADDING = [bytes(range(1, pad + 1)) for pad in range(256)]
"""Padding by its length (RFC 4303, section 2.4)."""


def _selector(network: IPv6Network) -> tuple[int, int]:
    return int(network.network_address), int(network.netmask)
