"""IKE messages as the wire shows them, without keys: the header (RFC 2408 §3.1, RFC 7296 §3.1). No I/O."""

from __future__ import annotations

import enum
import hashlib
import struct
from typing import Literal, NamedTuple

from nodes.faults import datagrams

IKE_PORT = 500
NAT_T_PORT = 4500
HEADER_OCTETS = 28

_NON_ESP_MARKER = bytes(4)
"""What tells IKE from ESP on port 4500 (RFC 3948 §2.2)."""
_RESPONSE, _INITIATOR = 0x20, 0x08
_SKF, _V1_FRAGMENT = 53, 132
"""The payloads of a fragment: RFC 7383 §2.5, and IKEv1's as all implementations have it."""


class Exchange(enum.StrEnum):
    """The exchanges that a rule can name; ``informational`` is of both versions."""

    MAIN_MODE = "main-mode"
    AGGRESSIVE_MODE = "aggressive-mode"
    QUICK_MODE = "quick-mode"
    INFORMATIONAL = "informational"
    IKE_SA_INIT = "ike-sa-init"
    IKE_AUTH = "ike-auth"
    CREATE_CHILD_SA = "create-child-sa"


Version = Literal[1, 2]

_EXCHANGES: dict[tuple[int, int], Exchange] = {
    (1, 2): Exchange.MAIN_MODE,
    (1, 4): Exchange.AGGRESSIVE_MODE,
    (1, 5): Exchange.INFORMATIONAL,
    (1, 32): Exchange.QUICK_MODE,
    (2, 34): Exchange.IKE_SA_INIT,
    (2, 35): Exchange.IKE_AUTH,
    (2, 36): Exchange.CREATE_CHILD_SA,
    (2, 37): Exchange.INFORMATIONAL,
}

FIELDS: dict[str, tuple[int, int]] = {
    "initiator-spi": (0, 8),
    "responder-spi": (8, 16),
    "next-payload": (16, 17),
    "version": (17, 18),
    "exchange-type": (18, 19),
    "flags": (19, 20),
    "message-id": (20, 24),
    "length": (24, 28),
}
"""The header's fields by name: their first octet and the one after their last. IKEv1 says cookie for SPI."""


def versions_of(exchange: Exchange) -> frozenset[int]:
    """The versions of IKE that have this exchange."""
    return frozenset(version for (version, _), name in _EXCHANGES.items() if name is exchange)


class IkeMessage(NamedTuple):
    """One IKE message of an exchange that a rule can name, or one fragment of such a message.

    Attributes:
        message_id: the header's.
        response: IKEv2's flag R.
        from_initiator: IKEv2's flag I: the sender began the IKE SA.
        fragment: the fragment's number, from 1; 0 for a whole message.
        digest: of all octets of the message.
    """

    version: Version
    exchange: Exchange
    initiator_spi: bytes
    responder_spi: bytes
    message_id: int
    response: bool
    from_initiator: bool
    fragment: int
    digest: bytes


def ike_octets(packet: bytes, datagram: datagrams.Datagram) -> tuple[int, int] | None:
    """Where an IKE message begins and ends in the packet; None where the datagram is none, as ESP in UDP."""
    ports = (datagram.source_port, datagram.destination_port)
    begin = datagram.begin
    if NAT_T_PORT in ports:
        if packet[begin : begin + 4] != _NON_ESP_MARKER:
            return None
        begin += 4
    elif IKE_PORT not in ports:
        return None
    return (begin, datagram.end) if datagram.end - begin >= HEADER_OCTETS else None


def read(octets: bytes) -> IkeMessage | None:
    """The message in ``octets``, which begin with the IKE header; None if no rule can name its exchange."""
    if len(octets) < HEADER_OCTETS:
        return None
    initiator, responder, following, version, exchange_type, flags, message_id = struct.unpack_from(
        "!8s8sBBBBI", octets
    )
    major = version >> 4
    exchange = _EXCHANGES.get((major, exchange_type))
    if exchange is None:
        return None
    second = major == 2
    return IkeMessage(
        version=2 if second else 1,
        exchange=exchange,
        initiator_spi=initiator,
        responder_spi=responder,
        message_id=message_id,
        response=second and bool(flags & _RESPONSE),
        from_initiator=second and bool(flags & _INITIATOR),
        fragment=_fragment(octets, major, following),
        digest=hashlib.blake2b(octets, digest_size=12).digest(),
    )


def _fragment(octets: bytes, major: int, following: int) -> int:
    if len(octets) < HEADER_OCTETS + 8:
        return 0
    number: int = 0
    if major == 2 and following == _SKF:
        number = struct.unpack_from("!H", octets, HEADER_OCTETS + 4)[0]
    elif major == 1 and following == _V1_FRAGMENT:
        number = octets[HEADER_OCTETS + 6]
    return number
