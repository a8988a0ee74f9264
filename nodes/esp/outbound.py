"""The outbound half of a pair of SAs: inner packets become ESP packets (RFC 4303, section 3.3)."""

from __future__ import annotations

from nodes.esp.lifetime import Lifetime
from nodes.esp.path import Path
from nodes.esp.sa import EspSa
from nodes.esp.transform import ICV, ROOM, Transform, transform

IPV6 = 41
NO_NEXT_HEADER = 59
"""The next header of a dummy packet (RFC 4303, section 2.6)."""


def _trailers(next_header: int) -> list[bytes]:
    """The ESP trailer by its number of padding octets, which are 1, 2, 3 … (RFC 4303, section 2.4)."""
    return [bytes((*range(1, pad + 1), pad, next_header)) for pad in range(16)]


_TRAILERS = {next_header: _trailers(next_header) for next_header in (IPV6, NO_NEXT_HEADER)}
_IPV6_TRAILERS = _TRAILERS[IPV6]


class ExpiredError(Exception):
    """The SA has reached its hard limit, or has no sequence number left: it carries nothing any more."""


class OutboundSa:
    """Seals packets under an SA.

    Attributes:
        header: octets of room that a packet needs before the inner packet.
        lifetime: what it has carried.
        path: where its packets go.
    """

    def __init__(self, sa: EspSa) -> None:
        self.sa = sa
        self.path = Path(sa.local, sa.remote, sa.encap)
        last = (1 << 64) - 1 if sa.esn else (1 << 32) - 1
        self.lifetime = Lifetime(sa, "out", last)
        self._transform: Transform = transform(sa)
        self.header = self._transform.header
        self._align = self._transform.alignment - 1
        self._sequence = 0
        self._last = last

    @property
    def overhead(self) -> int:
        """The most octets that sealing adds to an inner packet, and room after it that it may overwrite."""
        return self.header + self._align + 2 + ICV + ROOM

    def seal(self, buffer: memoryview, start: int, inner: int, next_header: int = IPV6) -> int:
        """Seal the ``inner`` octets at ``start + header`` in place; returns the end of the ESP packet.

        Raises:
            ExpiredError: the SA carries nothing any more.
        """
        sequence = self._sequence + 1
        if sequence > self._last or self.lifetime.expired:
            raise ExpiredError
        self._sequence = sequence
        first = start + self.header + inner
        pad = -(inner + 2) & self._align
        end = first + pad + 2
        trailers = _IPV6_TRAILERS if next_header == IPV6 else _TRAILERS[next_header]
        buffer[first:end] = trailers[pad]
        return self._transform.seal(buffer, start, end, sequence)
