"""The chain of payloads that follows the header (RFC 2408, section 3.2)."""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from nodes.ike.messages.malformed import MalformedError, NotifyType

MAX_PAYLOADS = 64
"""Payloads of one message that are looked at."""
MAX_PADDING = 255
"""Octets that may follow the last payload of an encrypted message."""

_GENERIC = struct.Struct("!BBH")


class PayloadType(enum.IntEnum):
    """The payloads of IKEv1 (RFC 2408, section 3.1; RFC 3947, section 3.2)."""

    NONE = 0
    SA = 1
    PROPOSAL = 2
    TRANSFORM = 3
    KEY_EXCHANGE = 4
    IDENTIFICATION = 5
    CERTIFICATE = 6
    CERTIFICATE_REQUEST = 7
    HASH = 8
    SIGNATURE = 9
    NONCE = 10
    NOTIFICATION = 11
    DELETE = 12
    VENDOR_ID = 13
    NAT_D = 20
    NAT_OA = 21
    NAT_D_DRAFT = 130
    NAT_OA_DRAFT = 131


_KNOWN = frozenset(PayloadType) - {PayloadType.NONE, PayloadType.PROPOSAL, PayloadType.TRANSFORM}


class Payload(NamedTuple):
    """A payload: its type, and its body, which is what follows the generic header."""

    type: PayloadType
    body: bytes


def parse_chain(first: int, octets: bytes, *, padded: bool = False) -> tuple[Payload, ...]:
    """The payloads of a message.

    Args:
        first: the type of the first one, from the header.
        octets: what follows the header, decrypted.
        padded: padding may follow the last payload.

    Raises:
        MalformedError: a payload is unknown, or its length leads out of the message; or there are too many.
    """
    found: list[Payload] = []
    here, following = 0, first
    while following != PayloadType.NONE:
        if following not in _KNOWN:
            raise MalformedError(f"a payload of type {following}", NotifyType.INVALID_PAYLOAD_TYPE)
        if len(found) == MAX_PAYLOADS:
            raise MalformedError(f"more than {MAX_PAYLOADS} payloads")
        if len(octets) - here < _GENERIC.size:
            raise MalformedError("a payload's header is cut off")
        type_ = PayloadType(following)
        following, reserved, length = _GENERIC.unpack_from(octets, here)
        if reserved:
            raise MalformedError("a reserved field that is not zero")
        if not _GENERIC.size <= length <= len(octets) - here:
            raise MalformedError(f"a payload of {length} octets where {len(octets) - here} are left")
        found.append(Payload(type_, octets[here + _GENERIC.size : here + length]))
        here += length
    if len(octets) - here > (MAX_PADDING if padded else 0):
        raise MalformedError(f"{len(octets) - here} octets after the last payload")
    return tuple(found)


def encode_chain(payloads: Sequence[Payload]) -> bytes:
    """The octets of payloads, each with the type of the next."""
    octets, following = bytearray(), int(PayloadType.NONE)
    for payload in reversed(payloads):
        octets[:0] = _GENERIC.pack(following, 0, _GENERIC.size + len(payload.body)) + payload.body
        following = int(payload.type)
    return bytes(octets)


def first_type(payloads: Sequence[Payload]) -> int:
    """The type that the header gives as the next payload."""
    return int(payloads[0].type) if payloads else int(PayloadType.NONE)


def bodies(payloads: Iterable[Payload], type_: PayloadType) -> list[bytes]:
    """The bodies of all payloads of a type."""
    return [payload.body for payload in payloads if payload.type is type_]


def only(payloads: Iterable[Payload], type_: PayloadType) -> bytes:
    """The body of the one payload of a type.

    Raises:
        MalformedError: there is none, or more than one.
    """
    found = bodies(payloads, type_)
    if len(found) != 1:
        raise MalformedError(f"{len(found)} payloads of type {type_.name} where one is due")
    return found[0]
