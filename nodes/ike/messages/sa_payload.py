"""The SA payload with its proposals and transforms (RFC 2408, 3.4 to 3.6; RFC 2407, 4.6.1)."""

from __future__ import annotations

import enum
import struct
from collections.abc import Sequence
from typing import NamedTuple

from nodes.ike.messages.attributes import Attribute, encode_attributes, parse_attributes
from nodes.ike.messages.malformed import MalformedError, NotifyType

MAX_PROPOSALS = 16
MAX_TRANSFORMS = 64
"""Transforms of one proposal that are looked at."""
MAX_SPI = 16

_DOI_IPSEC = 1
_SIT_IDENTITY_ONLY = 1
_SITUATION = struct.Struct("!II")
_PROPOSAL = struct.Struct("!BBHBBBB")
_TRANSFORM = struct.Struct("!BBHBBH")
_MORE_PROPOSALS, _MORE_TRANSFORMS = 2, 3


class Protocol(enum.IntEnum):
    """What is negotiated (RFC 2407, section 4.4.1)."""

    ISAKMP = 1
    AH = 2
    ESP = 3
    IPCOMP = 4


class Transform(NamedTuple):
    """One way to protect: its number, its id, its attributes as octets, so that it is returned unchanged."""

    number: int
    id: int
    octets: bytes

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        """The attributes. They were checked when the payload was parsed."""
        return parse_attributes(self.octets)


def transform(number: int, id_: int, attributes: Sequence[Attribute]) -> Transform:
    """A transform with these attributes."""
    return Transform(number, id_, encode_attributes(attributes))


class Proposal(NamedTuple):
    """A proposal: transforms to choose one from. Proposals of one number belong together (AH and ESP)."""

    number: int
    protocol: int
    spi: bytes
    transforms: tuple[Transform, ...]


def _syntax(text: str) -> MalformedError:
    return MalformedError(text, NotifyType.BAD_PROPOSAL_SYNTAX)


def parse_sa(body: bytes) -> tuple[Proposal, ...]:
    """The proposals of an SA payload's body.

    Raises:
        MalformedError: it is of another DOI or situation, or its lengths or counts are wrong.
    """
    if len(body) < _SITUATION.size:
        raise _syntax("an SA payload is cut off")
    doi, situation = _SITUATION.unpack_from(body)
    if doi != _DOI_IPSEC:
        raise MalformedError(f"DOI {doi}", NotifyType.DOI_NOT_SUPPORTED)
    if situation != _SIT_IDENTITY_ONLY:
        raise MalformedError(f"situation {situation}", NotifyType.SITUATION_NOT_SUPPORTED)
    proposals: list[Proposal] = []
    here, more = _SITUATION.size, True
    while more:
        if len(proposals) == MAX_PROPOSALS:
            raise _syntax(f"more than {MAX_PROPOSALS} proposals")
        if len(body) - here < _PROPOSAL.size:
            raise _syntax("a proposal is cut off")
        next_, _, length, number, protocol, spi_size, count = _PROPOSAL.unpack_from(body, here)
        if next_ not in (0, _MORE_PROPOSALS) or not _PROPOSAL.size <= length <= len(body) - here:
            raise _syntax(f"a proposal of {length} octets where {len(body) - here} are left")
        if spi_size > min(MAX_SPI, length - _PROPOSAL.size):
            raise MalformedError(f"an SPI of {spi_size} octets", NotifyType.INVALID_SPI)
        spi_at = here + _PROPOSAL.size
        spi = body[spi_at : spi_at + spi_size]
        transforms = _parse_transforms(body[spi_at + spi_size : here + length], count)
        proposals.append(Proposal(number, protocol, spi, transforms))
        here, more = here + length, next_ == _MORE_PROPOSALS
    if here != len(body):
        raise _syntax(f"{len(body) - here} octets after the last proposal")
    return tuple(proposals)


def _parse_transforms(octets: bytes, count: int) -> tuple[Transform, ...]:
    if not 1 <= count <= MAX_TRANSFORMS:
        raise _syntax(f"{count} transforms")
    found: list[Transform] = []
    here = 0
    for left in reversed(range(count)):
        if len(octets) - here < _TRANSFORM.size:
            raise _syntax("a transform is cut off")
        next_, _, length, number, id_, _ = _TRANSFORM.unpack_from(octets, here)
        if next_ != (_MORE_TRANSFORMS if left else 0):
            raise _syntax("the number of transforms is not what the proposal says")
        if not _TRANSFORM.size <= length <= len(octets) - here:
            raise _syntax(f"a transform of {length} octets where {len(octets) - here} are left")
        attributes = octets[here + _TRANSFORM.size : here + length]
        parse_attributes(attributes)
        found.append(Transform(number, id_, attributes))
        here += length
    if here != len(octets):
        raise _syntax(f"{len(octets) - here} octets after the last transform")
    return tuple(found)


def encode_sa(proposals: Sequence[Proposal]) -> bytes:
    """The body of an SA payload with these proposals."""
    octets = bytearray(_SITUATION.pack(_DOI_IPSEC, _SIT_IDENTITY_ONLY))
    for left, proposal in zip(reversed(range(len(proposals))), proposals, strict=True):
        transforms = _encode_transforms(proposal.transforms)
        octets += _PROPOSAL.pack(
            _MORE_PROPOSALS if left else 0,
            0,
            _PROPOSAL.size + len(proposal.spi) + len(transforms),
            proposal.number,
            proposal.protocol,
            len(proposal.spi),
            len(proposal.transforms),
        )
        octets += proposal.spi + transforms
    return bytes(octets)


def _encode_transforms(transforms: Sequence[Transform]) -> bytes:
    octets = bytearray()
    for left, one in zip(reversed(range(len(transforms))), transforms, strict=True):
        next_ = _MORE_TRANSFORMS if left else 0
        octets += _TRANSFORM.pack(next_, 0, _TRANSFORM.size + len(one.octets), one.number, one.id, 0)
        octets += one.octets
    return bytes(octets)
