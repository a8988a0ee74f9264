"""Keys of a pair of terminals: from one secret, a key for each context, leg and direction (RFC 5869). No I/O.

A hop's messages travel on two *legs*: those between the first address and the partner, and those between the
second address and the partner. Each leg has a context number and keys of its own, and without the secret
the two numbers have nothing in common: who sees both legs cannot tell by the messages that they belong
together.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from enum import IntEnum
from ipaddress import IPv6Address

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from nodes import errors
from nodes.terminal.header import FormatError
from nodes.terminal.message import MAC_OCTETS, SEALED_OCTETS

LEAST_SECRET = 16
RandomOctets = Callable[[int], bytes]
"""``octets(n)``: n octets that nobody can foretell (:func:`os.urandom`)."""

_SALT = b"hopbed address hopping 1"
_NONCE = 12
_LEAST_PORT = 1024
_PORTS = 1 << 16
_RANDOM_PART = 6


class Leg(IntEnum):
    """Between which addresses a message travels."""

    FIRST = 1
    """From or to the first address: the request and its response."""
    SECOND = 2
    """From or to the second address: everything after."""


class Direction(IntEnum):
    """From which terminal to which."""

    FORWARD = 1
    """From the first terminal to the second."""
    BACK = 2


class PairKeys:
    """What two terminals derive from the secret that they share.

    Raises:
        ParameterError: the secret is too short.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) < LEAST_SECRET:
            raise errors.ParameterError(
                f"the secret of a pair has at least {LEAST_SECRET} octets, not {len(secret)}; "
                "`openssl rand -hex 32` makes one"
            )
        self._root = hmac.digest(_SALT, secret, "sha256")
        self._mark_key = self._expand(b"context mark")

    def new_context(self, octets: RandomOctets) -> int:
        """A context's number: 48 random bits, and 16 that tell the partner that it is one of this pair."""
        random = octets(_RANDOM_PART)
        return int.from_bytes(random + self._mark(random), "big")

    def knows(self, context: int) -> bool:
        """Whether a context may be one of this pair: a cheap look before the MAC, in place of none."""
        octets = context.to_bytes(8, "big")
        return self._mark(octets[:_RANDOM_PART]) == octets[_RANDOM_PART:]

    def same(self, other: PairKeys) -> bool:
        """Whether both come from the same secret."""
        return hmac.compare_digest(self._root, other._root)

    def context(self, number: int) -> ContextKeys:
        """The keys of this context."""
        return ContextKeys(self._root, number)

    def _mark(self, random: bytes) -> bytes:
        return hashlib.blake2s(random, digest_size=2, key=self._mark_key).digest()

    def _expand(self, info: bytes) -> bytes:
        return _expand(self._root, info)


class ContextKeys:
    """The keys of one context.

    Attributes:
        number: the context on the first leg.
        second_number: the context on the second leg.
    """

    def __init__(self, root: bytes, number: int) -> None:
        self._root = root
        self.number = number
        self._octets = number.to_bytes(8, "big")
        self.second_number = int.from_bytes(_expand(root, b"second leg" + self._octets)[:8], "big")
        self._macs: dict[tuple[Leg, Direction], bytes] = {}

    def on(self, leg: Leg) -> int:
        """The context's number on this leg."""
        return self.number if leg is Leg.FIRST else self.second_number

    def mac(
        self, leg: Leg, direction: Direction, source: IPv6Address, destination: IPv6Address, octets: bytes
    ) -> bytes:
        """HMAC-SHA256-128 over the packet's addresses and the message (truncated as in RFC 4868 §2.1.1)."""
        key = self._macs.get((leg, direction))
        if key is None:
            info = b"mac" + bytes([leg, direction]) + self._octets
            key = self._macs[leg, direction] = _expand(self._root, info)
        return hmac.digest(key, source.packed + destination.packed + octets, "sha256")[:MAC_OCTETS]

    def verifies(
        self, leg: Leg, direction: Direction, source: IPv6Address, destination: IPv6Address, message: bytes
    ) -> bool:
        """Whether a whole message ends with the MAC that it should have."""
        expected = self.mac(leg, direction, source, destination, message[:-MAC_OCTETS])
        return hmac.compare_digest(expected, message[-MAC_OCTETS:])

    def seal(self, address: IPv6Address, octets: RandomOctets) -> bytes:
        """The second address, so that only the partner can read it (RFC 8439).

        The key serves this context alone and the nonce is random: neither comes a second time.
        """
        nonce = octets(_NONCE)
        return nonce + self._cipher().encrypt(nonce, address.packed, self._octets)

    def open(self, sealed: bytes) -> IPv6Address:
        """The address that was sealed.

        Raises:
            FormatError: it was not sealed by the partner, or for another context.
        """
        if len(sealed) != SEALED_OCTETS:
            raise FormatError(f"a sealed address has {SEALED_OCTETS} octets, not {len(sealed)}")
        try:
            opened = self._cipher().decrypt(sealed[:_NONCE], sealed[_NONCE:], self._octets)
        except InvalidTag:
            raise FormatError("the sealed address was not sealed for this context") from None
        return IPv6Address(opened)

    def moved_port(self, service: int) -> int:
        """The port that a service bears at the second address, from 1024 on; no two have the same.

        Args:
            service: its id in the context.
        """
        at = _LEAST_PORT + (service - 1) % (_PORTS - _LEAST_PORT)
        while True:  # a permutation of all ports, walked until it is back among those that one may take
            at = self._permuted(at)
            if at >= _LEAST_PORT:
                return at

    def _permuted(self, value: int) -> int:
        left, right = value >> 8, value & 0xFF
        for turn in range(4):  # four Feistel rounds
            left, right = right, left ^ self._round(turn, right)
        return left << 8 | right

    def _round(self, turn: int, half: int) -> int:
        return _expand(self._root, b"port" + bytes([turn, half]) + self._octets)[0]

    def _cipher(self) -> ChaCha20Poly1305:
        return ChaCha20Poly1305(_expand(self._root, b"seal" + self._octets))


def _expand(root: bytes, info: bytes) -> bytes:
    """HKDF-Expand to one block of 32 octets (RFC 5869 §2.3)."""
    return hmac.digest(root, info + b"\x01", "sha256")
