"""The abnormal-information message: a notify in clear with the cookies of the failed negotiation. No I/O.

The receiver sends it where the daemon's own notify cannot be read by the sender. In IKEv1 it is an
Informational Exchange of one Notification Payload (RFC 2408 §3.14, §4.8); in IKEv2 an INFORMATIONAL with one
Notify payload, sent as a response outside of any exchange, as RFC 7296 §1.5 has it for what cannot be
protected. The type is of the private range for statuses of its version (RFC 2408 §3.14.1, RFC 7296 §3.10.1):
a daemon that does not know it passes over it, where it would believe an error in clear. As such types belong
to nobody, the notification data begin with :data:`MAGIC`::

    IKE header(28) | notify payload header(4) | IKEv1: DOI(4) | protocol(1) | SPI size(1) | type(2)
                   | IKEv1: both cookies(16)  | magic(8) | reason(2)

With the reason :data:`MENDED` it goes the other way: the sender's configuration has changed since, and the
receiver need not wait any longer.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Literal, NamedTuple

NOTIFY_TYPES: Mapping[int, int] = {1: 0x8BED, 2: 0xABED}
"""Of our notify, by the version of IKE."""
MAGIC = b"hopbed\x00\x01"
"""Whose private type it is, and the version of its data."""

_HEADER = struct.Struct("!8s8sBBBBII")
_INFORMATIONAL = {1: 5, 2: 37}
_NOTIFY = {1: 11, 2: 41}
_RESPONSE = 0x20
_IPSEC_DOI, _ISAKMP = 1, 1
_V1 = struct.Struct("!BBHIBBH8s8s8sH")
_V2 = struct.Struct("!BBHBBH8sH")
OCTETS: Mapping[int, int] = {1: _HEADER.size + _V1.size, 2: _HEADER.size + _V2.size}
"""The length of the message, by the version of IKE."""

REASONS = (
    *("other", "ike-proposal", "esp-proposal", "psk", "identity", "traffic-selector", "unknown-peer"),
    *("version", "malformed-header", "malformed-payload", "undecryptable", "authentication"),
    *("certificate", "certificate-expired", "certificate-untrusted", "mended"),
)
"""What was abnormal; a reason's number in the message is its place here."""
MENDED = "mended"
HEAD_START = 0.02
"""Seconds that *mended* is ahead of the next negotiation's first message: the partner has to act upon it."""


class AbnormalInformation(NamedTuple):
    """What the message says: which negotiation was abnormal, and why. Cookies are IKEv2's SPIs too."""

    version: Literal[1, 2]
    initiator_cookie: bytes
    responder_cookie: bytes
    reason: str


def build(said: AbnormalInformation, *, message_id: int) -> bytes:
    """The message's octets, from the IKE header on. ``message_id`` is random in IKEv1, and 0 in IKEv2."""
    number = REASONS.index(said.reason) if said.reason in REASONS else 0
    cookies = (said.initiator_cookie, said.responder_cookie)
    if said.version == 1:
        head = (0, 0, _V1.size, _IPSEC_DOI, _ISAKMP, 16, NOTIFY_TYPES[1])
        notify = _V1.pack(*head, *cookies, MAGIC, number)
    else:
        notify = _V2.pack(0, 0, _V2.size, 0, 0, NOTIFY_TYPES[2], MAGIC, number)
    flags = 0 if said.version == 1 else _RESPONSE
    fields = (_NOTIFY[said.version], said.version << 4, _INFORMATIONAL[said.version], flags)
    return _HEADER.pack(*cookies, *fields, message_id, OCTETS[said.version]) + notify


def parse(octets: bytes) -> AbnormalInformation | None:
    """The message in a datagram's octets, from the IKE header on; None where they are anything else.

    Only what :func:`build` makes is one: each octet but the message ID is compared.
    """
    if len(octets) not in OCTETS.values():
        return None
    initiator, responder, _next, version, _exchange, _flags, message_id, _length = _HEADER.unpack_from(octets)
    number = int.from_bytes(octets[-2:], "big")
    if version not in (0x10, 0x20) or number >= len(REASONS):
        return None
    said = AbnormalInformation(1 if version == 0x10 else 2, initiator, responder, REASONS[number])
    return said if build(said, message_id=message_id) == octets else None
