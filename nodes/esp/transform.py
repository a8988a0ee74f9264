"""The transforms of ESP: AES-GCM with a 16-octet tag (RFC 4106), AES-CBC with HMAC-SHA-256-128 (RFC 4868).

Each works in place on a packet in a buffer::

    start        start + header                 end
    SPI sequence IV  inner packet and trailer   ICV
    |--- 8 ----|     |------- plaintext ------| |16|

The buffer goes on for at least :data:`ROOM` octets after the packet's end.
"""

from __future__ import annotations

import hmac
import os
import struct
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hmac import HMAC

from nodes.esp.sa import EspSa

ICV = 16
ROOM = 16
"""Octets after a packet that a transform may overwrite."""
_BLOCK = 16
_GCM_HEADER = 16
_CBC_HEADER = 24
_LOW = 0xFFFF_FFFF

_gcm_header = struct.Struct(">IIQ")
_words = struct.Struct(">II")
_extended_aad = struct.Struct(">IQ")
_iv = struct.Struct(">Q")
_high = struct.Struct(">I")


class WrongTagError(Exception):
    """The packet is not what the partner sent, or was sealed with other keys."""


class Transform(Protocol):
    """A transform with its keys, for one SA.

    Attributes:
        header: octets before the inner packet.
        alignment: the plaintext with its trailer is a multiple of this.
    """

    header: int
    alignment: int

    def seal(self, buffer: memoryview, start: int, end: int, sequence: int) -> int:
        """Seal the plaintext ``[start + header, end)`` under a sequence number never used before.

        Returns the end of the packet.
        """

    def open(self, buffer: memoryview, start: int, end: int, sequence: int) -> int:
        """Open the packet ``[start, end)`` whose whole sequence number is this; returns the plaintext's end.

        Raises:
            WrongTagError: it is not authentic, or no packet of this transform at all.
        """


class AesGcm:
    """AES-GCM (RFC 4106). The IV is the sequence number, so that no nonce comes twice under a key."""

    header = _GCM_HEADER
    alignment = 4

    def __init__(self, sa: EspSa) -> None:
        self._spi = sa.spi
        self._aead = AESGCM(sa.encryption_key)
        self._nonce = bytearray(sa.salt + bytes(8))
        self._aad = bytearray(_extended_aad.size) if sa.esn else None

    def seal(self, buffer: memoryview, start: int, end: int, sequence: int) -> int:
        """See :class:`Transform`."""
        _gcm_header.pack_into(buffer, start, self._spi, sequence & _LOW, sequence)
        _iv.pack_into(self._nonce, 4, sequence)
        first = start + _GCM_HEADER
        finish = end + ICV
        associated = self._associated(buffer, start, sequence)
        self._aead.encrypt_into(self._nonce, buffer[first:end], associated, buffer[first:finish])
        return finish

    def open(self, buffer: memoryview, start: int, end: int, sequence: int) -> int:
        """See :class:`Transform`."""
        first, finish = start + _GCM_HEADER, end - ICV
        if finish < first:
            raise WrongTagError
        self._nonce[4:] = buffer[start + 8 : first]
        associated = self._associated(buffer, start, sequence)
        try:
            self._aead.decrypt_into(self._nonce, buffer[first:end], associated, buffer[first:finish])
        except InvalidTag:
            raise WrongTagError from None
        return finish

    def _associated(self, buffer: memoryview, start: int, sequence: int) -> memoryview | bytearray:
        if self._aad is None:
            return buffer[start : start + 8]
        _extended_aad.pack_into(self._aad, 0, self._spi, sequence)
        return self._aad


class AesCbcHmac:
    """AES-CBC (RFC 3602) with HMAC-SHA-256-128 (RFC 4868).

    One cipher context serves all packets of an SA. CBC chains from packet to packet then; but each packet
    begins with a block that no ciphertext is taken from: sealing, a random one, whose encryption is the
    packet's IV and as unpredictable; opening, the packet's IV.
    """

    header = _CBC_HEADER
    alignment = _BLOCK

    def __init__(self, sa: EspSa) -> None:
        self._spi = sa.spi
        self._esn = sa.esn
        cipher = Cipher(algorithms.AES(sa.encryption_key), modes.CBC(os.urandom(_BLOCK)))
        self._encryptor: CipherContext = cipher.encryptor()
        self._decryptor: CipherContext = cipher.decryptor()
        self._hmac = HMAC(sa.integrity_key, hashes.SHA256())

    def seal(self, buffer: memoryview, start: int, end: int, sequence: int) -> int:
        """See :class:`Transform`."""
        _words.pack_into(buffer, start, self._spi, sequence & _LOW)
        iv = start + 8
        buffer[iv : iv + _BLOCK] = os.urandom(_BLOCK)
        self._encryptor.update_into(buffer[iv:end], buffer[iv : end + _BLOCK - 1])
        finish = end + ICV
        buffer[end:finish] = self._tag(buffer, start, end, sequence)
        return finish

    def open(self, buffer: memoryview, start: int, end: int, sequence: int) -> int:
        """See :class:`Transform`."""
        iv, finish = start + 8, end - ICV
        if finish < iv + 2 * _BLOCK or (finish - iv) % _BLOCK:
            raise WrongTagError
        if not hmac.compare_digest(self._tag(buffer, start, finish, sequence), buffer[finish:end]):
            raise WrongTagError
        self._decryptor.update_into(buffer[iv:finish], buffer[iv : finish + _BLOCK - 1])
        return finish

    def _tag(self, buffer: memoryview, start: int, end: int, sequence: int) -> bytes:
        authentication = self._hmac.copy()
        authentication.update(buffer[start:end])
        if self._esn:
            authentication.update(_high.pack(sequence >> 32))
        return authentication.finalize()[:ICV]


def transform(sa: EspSa) -> Transform:
    """The transform that an SA asks for, with its keys."""
    return AesGcm(sa) if sa.encryption == "aes-gcm-16" else AesCbcHmac(sa)
