"""The attributes of a transform (RFC 2408, section 3.3; RFC 2407, section 4.5; RFC 2409, appendix A)."""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable

from nodes.ike.messages.malformed import MalformedError, NotifyType

MAX_ATTRIBUTES = 32
MAX_VALUE = 16
"""Octets of the longest value of an attribute that is looked at: an octet count in kilobytes fits in 8."""

_HEAD = struct.Struct("!HH")
_BASIC = 0x8000

Attribute = tuple[int, int]
"""The type and the value of an attribute, whichever way it was written."""


class Phase1(enum.IntEnum):
    """Attributes of an ISAKMP SA (RFC 2409, appendix A)."""

    ENCRYPTION = 1
    HASH = 2
    AUTHENTICATION = 3
    GROUP = 4
    LIFE_TYPE = 11
    LIFE_DURATION = 12
    KEY_LENGTH = 14


class Phase2(enum.IntEnum):
    """Attributes of an IPsec SA (RFC 2407, section 4.5; RFC 4304, section 3)."""

    LIFE_TYPE = 1
    LIFE_DURATION = 2
    GROUP = 3
    ENCAPSULATION = 4
    AUTHENTICATION = 5
    KEY_LENGTH = 6
    EXTENDED_SEQUENCE_NUMBER = 11


class LifeType(enum.IntEnum):
    """In what a lifetime is counted."""

    SECONDS = 1
    KILOBYTES = 2


def parse_attributes(octets: bytes) -> tuple[Attribute, ...]:
    """The attributes of a transform, in their order, which gives lifetimes their unit.

    Raises:
        MalformedError: one leads out of the transform or is too long, or there are too many.
    """
    found: list[Attribute] = []
    here = 0
    while here < len(octets):
        if len(found) == MAX_ATTRIBUTES:
            raise MalformedError(f"more than {MAX_ATTRIBUTES} attributes", NotifyType.BAD_PROPOSAL_SYNTAX)
        if len(octets) - here < _HEAD.size:
            raise MalformedError("an attribute is cut off", NotifyType.BAD_PROPOSAL_SYNTAX)
        type_, value = _HEAD.unpack_from(octets, here)
        here += _HEAD.size
        if type_ & _BASIC:
            found.append((type_ & ~_BASIC, value))
            continue
        if value > min(MAX_VALUE, len(octets) - here):
            raise MalformedError(f"an attribute of {value} octets", NotifyType.BAD_PROPOSAL_SYNTAX)
        found.append((type_, int.from_bytes(octets[here : here + value], "big")))
        here += value
    return tuple(found)


def encode_attributes(attributes: Iterable[Attribute]) -> bytes:
    """Attributes as octets; a value that does not fit in 16 bits gets 4 or 8 octets."""
    octets = bytearray()
    for type_, value in attributes:
        if value <= 0xFFFF:
            octets += _HEAD.pack(type_ | _BASIC, value)
        else:
            length = 4 if value <= 0xFFFF_FFFF else 8
            octets += _HEAD.pack(type_, length) + value.to_bytes(length, "big")
    return bytes(octets)


def lifetime(
    attributes: Iterable[Attribute], unit: LifeType, phase: type[Phase1] | type[Phase2]
) -> int | None:
    """The duration that stands behind a life type of this unit; None where there is none."""
    current: int | None = None
    for type_, value in attributes:
        if type_ == phase.LIFE_TYPE:
            current = value
        elif type_ == phase.LIFE_DURATION and current == unit:
            return value
    return None
