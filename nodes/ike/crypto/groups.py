"""The Diffie-Hellman groups: ECP256 (RFC 5903) and MODP2048 (RFC 3526)."""

from __future__ import annotations

import enum
import secrets
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import ec

from nodes.ike.messages.malformed import MalformedError, NotifyType


class Group(enum.IntEnum):
    """The groups by their numbers in IKE."""

    MODP2048 = 14
    ECP256 = 19


class KeyExchange(Protocol):
    """One side of an exchange, with a private key of its own that is used once."""

    public: bytes
    """What the key exchange payload carries."""

    def secret(self, partner: bytes) -> bytes:
        """The shared secret with the partner's public value.

        Raises:
            MalformedError: the value is of the wrong size, or no element of the group.
        """


def _refused(text: str) -> MalformedError:
    return MalformedError(text, NotifyType.INVALID_KEY_INFORMATION)


class Ecp256:
    """ECP256. The public value is x and y, the secret x alone (RFC 5903, sections 7 and 9)."""

    _SIZE = 64

    def __init__(self) -> None:
        self._private = ec.generate_private_key(ec.SECP256R1())
        numbers = self._private.public_key().public_numbers()
        self.public = numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")

    def secret(self, partner: bytes) -> bytes:
        """See :class:`KeyExchange`; a point off the curve is refused."""
        if len(partner) != self._SIZE:
            raise _refused(f"a public value of {len(partner)} octets for ECP256")
        try:
            point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + partner)
        except ValueError:
            raise _refused("a public value that is no point of ECP256") from None
        return self._private.exchange(ec.ECDH(), point)


_MODP2048 = int(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD"
    "EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED"
    "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F"
    "83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B"
    "E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA0510"
    "15728E5A8AACAA68FFFFFFFFFFFFFFFF",
    16,
)
"""RFC 3526, section 3. ``cryptography`` gives up Diffie-Hellman over finite fields, so Python does it."""
_EXPONENT_BITS = 384
"""More than the 320 that the group's strength can use (RFC 3526, section 8)."""


class Modp2048:
    """MODP2048, generator 2. Public value and secret have the prime's size (RFC 2409, section 5)."""

    _SIZE = 256

    def __init__(self) -> None:
        self._private = 1 + secrets.randbits(_EXPONENT_BITS)
        self.public = pow(2, self._private, _MODP2048).to_bytes(self._SIZE, "big")

    def secret(self, partner: bytes) -> bytes:
        """See :class:`KeyExchange`; 0, 1 and p - 1, which give the secret away, are refused."""
        value = int.from_bytes(partner, "big")
        if len(partner) != self._SIZE or not 1 < value < _MODP2048 - 1:
            raise _refused(f"a public value of {len(partner)} octets that is none of MODP2048")
        return pow(value, self._private, _MODP2048).to_bytes(self._SIZE, "big")


def key_exchange(group: Group) -> KeyExchange:
    """A new private key in this group."""
    return Ecp256() if group is Group.ECP256 else Modp2048()
