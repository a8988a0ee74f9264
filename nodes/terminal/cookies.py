"""Proofs that a terminal receives at an address, without state for who asks (RFC 6275 §5.2.5). No I/O."""

from __future__ import annotations

import hmac
from ipaddress import IPv6Address

from nodes.terminal.keys import Leg, RandomOctets
from nodes.terminal.message import COOKIE_OCTETS

SLOT = 4_000_000_000
"""ns: a cookie is good for the slot that it was made in and for the next."""
LIFETIME = 2 * SLOT


class Cookies:
    """Makes and checks the cookies of one terminal; the key is its own and lasts as long as the process."""

    def __init__(self, octets: RandomOctets) -> None:
        self._key = octets(32)

    def make(self, leg: Leg, context: int, theirs: IPv6Address, now: int) -> bytes:
        """The cookie that is sent to ``theirs`` and must come back in this context."""
        return self._cookie(leg, context, theirs, now // SLOT)

    def right(self, cookie: bytes, leg: Leg, context: int, theirs: IPv6Address, now: int) -> bool:
        """Whether it is one that was sent there, not too long ago."""
        slot = now // SLOT
        return any(
            hmac.compare_digest(cookie, self._cookie(leg, context, theirs, one)) for one in (slot, slot - 1)
        )

    def _cookie(self, leg: Leg, context: int, theirs: IPv6Address, slot: int) -> bytes:
        said = (
            bytes([leg]) + context.to_bytes(8, "big") + theirs.packed + slot.to_bytes(8, "big", signed=True)
        )
        return hmac.digest(self._key, said, "sha256")[:COOKIE_OCTETS]
