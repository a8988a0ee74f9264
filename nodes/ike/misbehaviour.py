"""Faults of our own making, for tests of the partner: pure changes of what we would have said.

===================== ======================================================================================
``wrong-psk``         our keys come from another secret than the partner's
``wrong-proposal``    we offer, or choose, what the partner cannot have
``wrong-id``          we are another than the partner expects
``bad-version``       the header says version 3.0
``malformed-header``  the header's length is not the message's
``malformed-payload`` the first payload is longer than the message, inside of the encryption if there is one
``corrupted``         an octet of the body is inverted: of the ciphertext, in an encrypted message
``silence``           after the message we neither say nor hear anything more in this negotiation
===================== ======================================================================================
"""

from __future__ import annotations

import struct

from nodes.ike.messages.header import HEADER
from nodes.ike.model import Exchange, Fault, Misbehaviour

_VERSION_AT, _LENGTH_AT = 17, 24
_BAD_VERSION = 0x30
_EXCESS = 1000
_GENERIC_LENGTH_AT = 2


class Script:
    """The faults of one connection, each counted over its negotiations."""

    def __init__(self, faults: tuple[Misbehaviour, ...]) -> None:
        self._faults = faults
        self._used = [0] * len(faults)

    def begin(self, exchange: Exchange) -> Conduct:
        """How to behave in a negotiation that begins."""
        chosen = []
        for number, fault in enumerate(self._faults):
            if fault.exchange == exchange and (not fault.times or self._used[number] < fault.times):
                self._used[number] += 1
                chosen.append(fault)
        return Conduct(tuple(chosen))


class Conduct:
    """How we behave in one negotiation."""

    def __init__(self, faults: tuple[Misbehaviour, ...] = ()) -> None:
        self._faults = faults
        self.silent = False

    def has(self, fault: Fault, message: int | None = None) -> bool:
        """Whether this fault is due, in our message of this number if one is given."""
        return any(
            one.fault == fault and (message is None or one.message is None or one.message == message)
            for one in self._faults
        )

    def payloads(self, octets: bytes, message: int) -> bytes:
        """The chain of payloads as it goes into our message of this number."""
        if not self.has("malformed-payload", message) or len(octets) < _GENERIC_LENGTH_AT + 2:
            return octets
        too_long = struct.pack("!H", len(octets) + _EXCESS)
        return octets[:_GENERIC_LENGTH_AT] + too_long + octets[_GENERIC_LENGTH_AT + 2 :]

    def datagram(self, datagram: bytes, message: int) -> bytes:
        """Our message of this number as it goes out."""
        changed = bytearray(datagram)
        if self.has("bad-version", message):
            changed[_VERSION_AT] = _BAD_VERSION
        if self.has("malformed-header", message):
            struct.pack_into("!I", changed, _LENGTH_AT, len(changed) + _EXCESS)
        if self.has("corrupted", message) and len(changed) > HEADER:
            changed[(HEADER + len(changed)) // 2] ^= 0xFF
        return bytes(changed)

    def sent(self, message: int) -> None:
        """Our message of this number has left."""
        if self.has("silence", message):
            self.silent = True
