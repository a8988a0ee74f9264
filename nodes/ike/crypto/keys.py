"""The keys of an ISAKMP SA and of IPsec SAs (RFC 2409, sections 5, 5.5 and appendix B), with HMAC-SHA256."""

from __future__ import annotations

import dataclasses
import hmac
from hashlib import sha256

HASH_SIZE = 32
AES_BLOCK = 16


def prf(key: bytes, *parts: bytes) -> bytes:
    """The negotiated pseudo-random function: HMAC-SHA256."""
    return hmac.digest(key, b"".join(parts), "sha256")


def equal(one: bytes, other: bytes) -> bool:
    """Whether two hashes are equal, told in a time that does not depend on where they differ."""
    return hmac.compare_digest(one, other)


@dataclasses.dataclass(frozen=True, repr=False)
class IsakmpKeys:
    """The keys of an ISAKMP SA; no text that this value is turned into shows one.

    Attributes:
        skeyid: authenticates main mode.
        skeyid_d: IPsec keys are derived from it.
        skeyid_a: authenticates what follows main mode.
        cipher: the key of AES-CBC.
        first_iv: the initialisation vector of main mode's first encrypted message.
    """

    skeyid: bytes
    skeyid_d: bytes
    skeyid_a: bytes
    cipher: bytes
    first_iv: bytes


def psk_keys(
    secret: bytes,
    *,
    nonces: tuple[bytes, bytes],
    public: tuple[bytes, bytes],
    shared: bytes,
    cookies: tuple[bytes, bytes],
    key_octets: int,
) -> IsakmpKeys:
    """The keys of main mode with a pre-shared key (RFC 2409, sections 5 and 5.4, and appendix B).

    Args:
        secret: the pre-shared key.
        nonces: the initiator's and the responder's, as payload bodies.
        public: the public values, the initiator's first.
        shared: the secret of the Diffie-Hellman exchange.
        cookies: the initiator's, then the responder's.
        key_octets: what AES-CBC needs.
    """
    skeyid = prf(secret, *nonces)
    skeyid_d = prf(skeyid, shared, *cookies, b"\0")
    skeyid_a = prf(skeyid, skeyid_d, shared, *cookies, b"\1")
    skeyid_e = prf(skeyid, skeyid_a, shared, *cookies, b"\2")
    return IsakmpKeys(
        skeyid=skeyid,
        skeyid_d=skeyid_d,
        skeyid_a=skeyid_a,
        cipher=_cipher_key(skeyid_e, key_octets),
        first_iv=sha256(b"".join(public)).digest()[:AES_BLOCK],
    )


def _cipher_key(skeyid_e: bytes, octets: int) -> bytes:
    """RFC 2409, appendix B: stretched only where SKEYID_e is too short."""
    if octets <= len(skeyid_e):
        return skeyid_e[:octets]
    material = block = prf(skeyid_e, b"\0")
    while len(material) < octets:
        block = prf(skeyid_e, block)
        material += block
    return material[:octets]


def authentication_hash(
    keys: IsakmpKeys,
    *,
    public: tuple[bytes, bytes],
    cookies: tuple[bytes, bytes],
    sa_body: bytes,
    id_body: bytes,
) -> bytes:
    """HASH_I, with the initiator's values first, or HASH_R, with the responder's first (RFC 2409, section 5).

    ``sa_body`` is the initiator's SA payload with every proposal; ``id_body`` that of the hash's sender.
    """
    return prf(keys.skeyid, *public, *cookies, sa_body, id_body)


def _message_id(number: int) -> bytes:
    return number.to_bytes(4, "big")


def quick_hash_1(keys: IsakmpKeys, message_id: int, rest: bytes) -> bytes:
    """HASH(1) of Quick Mode, and the hash of an informational exchange: over all after the hash payload."""
    return prf(keys.skeyid_a, _message_id(message_id), rest)


def quick_hash_2(keys: IsakmpKeys, message_id: int, nonce_i: bytes, rest: bytes) -> bytes:
    """HASH(2) of Quick Mode."""
    return prf(keys.skeyid_a, _message_id(message_id), nonce_i, rest)


def quick_hash_3(keys: IsakmpKeys, message_id: int, nonce_i: bytes, nonce_r: bytes) -> bytes:
    """HASH(3) of Quick Mode."""
    return prf(keys.skeyid_a, b"\0", _message_id(message_id), nonce_i, nonce_r)


def keymat(
    keys: IsakmpKeys, *, protocol: int, spi: bytes, nonces: tuple[bytes, bytes], shared: bytes, octets: int
) -> bytes:
    """The key material of one IPsec SA (RFC 2409, section 5.5).

    Args:
        keys: of the ISAKMP SA.
        protocol: of the SA.
        spi: chosen by the SA's receiver.
        nonces: of the Quick Mode, the initiator's first.
        shared: the secret of the Quick Mode's own exchange; empty without PFS.
        octets: how much is needed.
    """
    seed = b"".join((shared, bytes([protocol]), spi, *nonces))
    material = block = prf(keys.skeyid_d, seed)
    while len(material) < octets:
        block = prf(keys.skeyid_d, block, seed)
        material += block
    return material[:octets]
