"""The ISAKMP header (RFC 2408, section 3.1)."""

from __future__ import annotations

import enum
import struct
from typing import NamedTuple

from nodes.ike.messages.malformed import MalformedError, NotifyType

COOKIE = 8
"""Octets of a cookie."""
NO_COOKIE = bytes(COOKIE)
MAX_MESSAGE = 16384
"""Octets of the longest message that is looked at. Ours have a few hundred; fragments are not spoken."""

_LAYOUT = struct.Struct("!8s8sBBBBII")
HEADER = _LAYOUT.size
_MAJOR = 1
_LENGTH_AT = 24


class ExchangeType(enum.IntEnum):
    """The exchanges that we speak (RFC 2408, section 3.1; RFC 2409, appendix A)."""

    MAIN_MODE = 2
    INFORMATIONAL = 5
    QUICK_MODE = 32


class Flags(enum.IntFlag):
    """The header's flags."""

    ENCRYPTION = 1
    COMMIT = 2
    AUTHENTICATION_ONLY = 4


class Header(NamedTuple):
    """An ISAKMP header; ``length`` is the whole message's, in octets."""

    initiator_cookie: bytes
    responder_cookie: bytes
    next_payload: int
    exchange: int
    flags: int
    message_id: int
    length: int = 0
    version: int = _MAJOR << 4

    @property
    def encrypted(self) -> bool:
        """Whether what follows is encrypted."""
        return bool(self.flags & Flags.ENCRYPTION)

    @property
    def cookies(self) -> tuple[bytes, bytes]:
        """The initiator's cookie and the responder's."""
        return self.initiator_cookie, self.responder_cookie


def parse_header(datagram: bytes) -> Header:
    """The header of a message that is the whole datagram.

    Raises:
        MalformedError: it is too short or too long, of another version, or its length is not the datagram's.
    """
    if not HEADER <= len(datagram) <= MAX_MESSAGE:
        raise MalformedError(f"a message of {len(datagram)} octets")
    initiator, responder, next_payload, version, exchange, flags, message_id, length = _LAYOUT.unpack_from(
        datagram
    )
    header = Header(initiator, responder, next_payload, exchange, flags, message_id, length, version)
    if version >> 4 != _MAJOR:
        raise MalformedError(f"major version {version >> 4}", NotifyType.INVALID_MAJOR_VERSION)
    if length != len(datagram):
        raise MalformedError(f"a length of {length} in a message of {len(datagram)} octets")
    if initiator == NO_COOKIE:
        raise MalformedError("no initiator cookie", NotifyType.INVALID_COOKIE)
    return header


def peek_cookies(datagram: bytes) -> tuple[bytes, bytes] | None:
    """The cookies that a datagram claims, whatever else it is; None where it is too short for them."""
    return (datagram[:COOKIE], datagram[COOKIE : 2 * COOKIE]) if len(datagram) >= 2 * COOKIE else None


def encode_header(header: Header, body_length: int) -> bytes:
    """The header before a body of so many octets."""
    return _LAYOUT.pack(
        header.initiator_cookie,
        header.responder_cookie,
        header.next_payload,
        header.version,
        header.exchange,
        header.flags,
        header.message_id,
        HEADER + body_length,
    )
