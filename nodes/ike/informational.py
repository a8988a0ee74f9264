"""Informational exchanges under an ISAKMP SA: DELETE, DPD and notifies (RFC 2409, section 5.7). No I/O."""

from __future__ import annotations

from typing import Protocol

from nodes.ike.crypto.keys import quick_hash_1
from nodes.ike.dpd import DeadPeerDetection
from nodes.ike.isakmp_sa import IsakmpSa, hashed_rest, require_hash
from nodes.ike.messages.header import Header
from nodes.ike.messages.malformed import MalformedError, NotifyType
from nodes.ike.messages.notification import (
    Deletion,
    Notification,
    parse_deletion,
    parse_notification,
)
from nodes.ike.messages.payloads import Payload, PayloadType


class Informed(Protocol):
    """Who acts upon what a partner tells."""

    def deleted(self, sa: IsakmpSa, deletion: Deletion) -> None:
        """The partner has deleted SAs."""

    def notified(self, sa: IsakmpSa, notification: Notification) -> None:
        """The partner tells something else than DPD."""

    def dpd(self, sa: IsakmpSa) -> DeadPeerDetection | None:
        """The dead peer detection of an SA."""


def open_informational(sa: IsakmpSa, header: Header, datagram: bytes) -> tuple[Payload, ...]:
    """The payloads of an informational message, authenticated; its message ID is used up.

    Raises:
        MalformedError: it is not encrypted, not the partner's, or a replay.
    """
    if header.message_id == 0 or header.message_id in sa.seen:
        raise MalformedError("an informational message that came before", NotifyType.INVALID_MESSAGE_ID)
    if sa.exhausted:
        raise MalformedError("an ISAKMP SA that takes no further exchange")
    payloads = sa.unseal(header, datagram, sa.chain(header.message_id))
    received, rest = hashed_rest(payloads)
    assert sa.keys is not None
    require_hash(received, quick_hash_1(sa.keys, header.message_id, rest))
    sa.seen.add(header.message_id)
    return payloads[1:]


def act_upon(sa: IsakmpSa, payloads: tuple[Payload, ...], informed: Informed) -> None:
    """Do what an authenticated informational message asks for.

    Raises:
        MalformedError: a payload is malformed; those before it have had their effect.
    """
    for payload in payloads:
        if payload.type is PayloadType.DELETE:
            informed.deleted(sa, parse_deletion(payload.body))
        elif payload.type is PayloadType.NOTIFICATION:
            _take(sa, parse_notification(payload.body), informed)


def _take(sa: IsakmpSa, notification: Notification, informed: Informed) -> None:
    dpd = informed.dpd(sa)
    if notification.type == NotifyType.R_U_THERE:
        if dpd is not None and notification.spi == b"".join(sa.cookies):
            dpd.asked(notification.data)
    elif notification.type == NotifyType.R_U_THERE_ACK:
        if dpd is None or not dpd.answered(notification.data):
            raise MalformedError("an answer to a question that was not asked")
    else:
        informed.notified(sa, notification)
