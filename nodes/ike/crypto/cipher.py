"""AES-CBC over the payloads of a message, and the chain of initialisation vectors (RFC 2409, appendix B)."""

from __future__ import annotations

from hashlib import sha256

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from nodes.ike.crypto.keys import AES_BLOCK
from nodes.ike.messages.malformed import MalformedError


def phase2_iv(last_phase1_block: bytes, message_id: int) -> bytes:
    """The first initialisation vector of an exchange under an ISAKMP SA."""
    return sha256(last_phase1_block + message_id.to_bytes(4, "big")).digest()[:AES_BLOCK]


class CbcChain:
    """The encryption of one exchange: each message's vector is the last block of the message before.

    A message that is received moves the chain only when it is taken, so that a forged one does not break it.
    """

    def __init__(self, key: bytes, iv: bytes) -> None:
        self._key = key
        self.iv = iv

    def encrypt(self, payloads: bytes) -> bytes:
        """Encrypt, padded with zeros to whole blocks, and move the chain."""
        padded = payloads + bytes(-len(payloads) % AES_BLOCK)
        encryptor = Cipher(algorithms.AES(self._key), modes.CBC(self.iv)).encryptor()
        ciphertext = encryptor.update(padded) + encryptor.finalize()
        self.iv = ciphertext[-AES_BLOCK:]
        return ciphertext

    def decrypt(self, ciphertext: bytes) -> bytes:
        """Decrypt; the chain stays until :meth:`take`.

        Raises:
            MalformedError: it is no whole number of blocks.
        """
        if not ciphertext or len(ciphertext) % AES_BLOCK:
            raise MalformedError(f"{len(ciphertext)} encrypted octets are no whole blocks")
        decryptor = Cipher(algorithms.AES(self._key), modes.CBC(self.iv)).decryptor()
        return decryptor.update(ciphertext) + decryptor.finalize()

    def take(self, ciphertext: bytes) -> None:
        """Move the chain past a message that was authenticated."""
        self.iv = ciphertext[-AES_BLOCK:]
