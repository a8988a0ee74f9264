"""The notification and the delete payload (RFC 2408, sections 3.14 and 3.15)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from nodes.ike.messages.malformed import LEAST_STATUS, MalformedError, NotifyType
from nodes.ike.messages.sa_payload import MAX_SPI, Protocol

MAX_DELETED = 64
"""SPIs of one delete payload that are looked at."""

_NOTIFY = struct.Struct("!IBBH")
_DELETE = struct.Struct("!IBBH")
_DOI_IPSEC = 1
_SPI_SIZES: dict[int, int] = {Protocol.ISAKMP: 16, Protocol.AH: 4, Protocol.ESP: 4}


class Notification(NamedTuple):
    """A notification: of what protocol and SPI, and its data."""

    protocol: int
    spi: bytes
    type: int
    data: bytes = b""

    @property
    def is_error(self) -> bool:
        """Whether it tells of an error."""
        return self.type < LEAST_STATUS


class Deletion(NamedTuple):
    """SAs that the sender has deleted, by the SPIs of its own side, or an ISAKMP SA by its cookies."""

    protocol: int
    spis: tuple[bytes, ...]


def parse_notification(body: bytes) -> Notification:
    """A notification from its payload's body.

    Raises:
        MalformedError: it is cut off, or its SPI is too long.
    """
    if len(body) < _NOTIFY.size:
        raise MalformedError("a notification is cut off")
    _doi, protocol, spi_size, type_ = _NOTIFY.unpack_from(body)
    if spi_size > min(MAX_SPI, len(body) - _NOTIFY.size):
        raise MalformedError(f"a notification's SPI of {spi_size} octets", NotifyType.INVALID_SPI)
    data_at = _NOTIFY.size + spi_size
    return Notification(protocol, body[_NOTIFY.size : data_at], type_, body[data_at:])


def encode_notification(notification: Notification) -> bytes:
    """The body of a notification payload."""
    spi = notification.spi
    head = _NOTIFY.pack(_DOI_IPSEC, notification.protocol, len(spi), notification.type)
    return head + spi + notification.data


def parse_deletion(body: bytes) -> Deletion:
    """What a delete payload deletes.

    Raises:
        MalformedError: the number or the size of its SPIs is wrong.
    """
    if len(body) < _DELETE.size:
        raise MalformedError("a delete payload is cut off")
    _doi, protocol, spi_size, count = _DELETE.unpack_from(body)
    if not 1 <= count <= MAX_DELETED or len(body) - _DELETE.size != spi_size * count:
        raise MalformedError(f"{count} deleted SPIs of {spi_size} octets in {len(body) - _DELETE.size}")
    if spi_size == 0 or spi_size != _SPI_SIZES.get(protocol, spi_size):
        raise MalformedError(f"a deleted SPI of {spi_size} octets", NotifyType.INVALID_SPI)
    ends = range(_DELETE.size, len(body), spi_size)
    return Deletion(protocol, tuple(body[at : at + spi_size] for at in ends))


def encode_deletion(protocol: Protocol, spis: Sequence[bytes]) -> bytes:
    """The body of a delete payload; the SPIs are of one size."""
    return _DELETE.pack(_DOI_IPSEC, protocol, len(spis[0]), len(spis)) + b"".join(spis)
