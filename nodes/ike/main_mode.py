"""Main mode with a pre-shared key (RFC 2409, sections 5 and 5.4), as initiator and as responder. No I/O.

The parties choose a suite in messages 1 and 2, exchange public values in 3 and 4, and prove in 5 and 6, which
are encrypted, that they know the secret. The secret is found by the partner's address: its identity comes too
late (section 5.4).
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from hashlib import sha256

from nodes.ike.crypto.cipher import CbcChain
from nodes.ike.crypto.groups import KeyExchange
from nodes.ike.crypto.keys import authentication_hash, psk_keys
from nodes.ike.exchange import NO_ANSWER, NONCE, Exchange, Failure
from nodes.ike.isakmp_sa import IsakmpSa, State
from nodes.ike.messages.attributes import Phase1
from nodes.ike.messages.header import HEADER, ExchangeType, Header
from nodes.ike.messages.identification import (
    Identification,
    IdType,
)
from nodes.ike.messages.malformed import MalformedError, NotifyType, notify_name
from nodes.ike.messages.notification import Notification, encode_notification, parse_notification
from nodes.ike.messages.payloads import Payload, PayloadType, bodies, parse_chain
from nodes.ike.messages.sa_payload import Protocol
from nodes.ike.messages.vendor_id import ANNOUNCED, VendorId
from nodes.ike.nat import nat_payloads, translation

FIRST_ENCRYPTED = 5
"""The first message of main mode that is encrypted."""

NOT_OURS = ((Phase1.ENCRYPTION, 5), (Phase1.HASH, 2), (Phase1.GROUP, 2), (Phase1.AUTHENTICATION, 1))
"""3DES with SHA-1 and MODP1024, which nobody accepts any more: for ``wrong-proposal``."""
_WRONG_ID = Identification(IdType.FQDN, b"somebody-else.invalid")


class Progress(enum.Enum):
    """Which message of the partner's is due."""

    SA = enum.auto()
    KEY = enum.auto()
    AUTHENTICATION = enum.auto()
    DONE = enum.auto()


class MainMode(Exchange):
    """What both sides of main mode share.

    Args:
        sa: the ISAKMP SA that is to come of it.
        established: called once when it is up.
        failed: called once with the reason when it will not be.
    """

    def __init__(self, sa: IsakmpSa, established: Callable[[], None], failed: Callable[[str], None]) -> None:
        super().__init__(sa, sa.script.begin("main-mode"))
        self.due = Progress.SA
        self._established = established
        self._failed = failed
        self._dh: KeyExchange | None = None
        self._nonce = sa.context.random(NONCE)
        self._sa_body = b""
        self._chain: CbcChain | None = None
        self._public: tuple[bytes, bytes] = (b"", b"")

    @property
    def over(self) -> bool:
        """Whether nothing of the partner's is due any more."""
        return self.due is Progress.DONE

    def receive(self, header: Header, datagram: bytes) -> None:
        """Take a message of this exchange from the partner's address.

        Raises:
            MalformedError: it is no message that is due; the state is as before.
        """
        if self.conduct.silent or self._is_repeated(datagram):
            return
        self._check_garbage()
        try:
            self._process(header, datagram)
        except MalformedError:
            self._garbage += 1
            raise
        except Failure as failure:
            self._end(str(failure), failure.notify)
        self._take(datagram)

    def cancel(self) -> None:
        """Nobody wants the SA any more."""
        self._stop_retransmitting()
        self.due = Progress.DONE

    def _process(self, header: Header, datagram: bytes) -> None:
        raise NotImplementedError

    def _clear(self, header: Header, datagram: bytes) -> tuple[Payload, ...]:
        if header.encrypted:
            raise MalformedError("an encrypted message before there are keys", NotifyType.INVALID_FLAGS)
        return parse_chain(header.next_payload, datagram[HEADER:])

    def _send(self, number: int, *payloads: Payload, answered: bool) -> None:
        chain = self._chain if number >= FIRST_ENCRYPTED else None
        datagram = self.sa.message(ExchangeType.MAIN_MODE, 0, payloads, chain, self.conduct, number)
        self._transmit(datagram, number, answered=answered)

    def _nobody_answered(self) -> None:
        self._end(NO_ANSWER, None)

    def _end(self, reason: str, notify: NotifyType | None) -> None:
        self.cancel()
        if notify is not None:
            self.tell(notify)
        self._failed(reason)

    def tell(self, notify: NotifyType) -> None:
        """Tell the partner why this comes to nothing, in the clear: there is no ISAKMP SA (RFC 2409, 5.7)."""
        sa = self.sa
        message_id = int.from_bytes(sa.context.random(4), "big") or 1
        about = Notification(Protocol.ISAKMP, b"".join(sa.cookies), notify)
        payload = Payload(PayloadType.NOTIFICATION, encode_notification(about))
        sa.transmit(sa.message(ExchangeType.INFORMATIONAL, message_id, (payload,)))

    def notified(self, header: Header, datagram: bytes) -> None:
        """Take a notify in the clear about this very negotiation, whose cookies the partner alone can know.

        Raises:
            MalformedError: it is none that ends a negotiation.
        """
        for body in bodies(self._clear(header, datagram), PayloadType.NOTIFICATION):
            notification = parse_notification(body)
            if notification.is_error:
                self._end(f"the partner says {notify_name(notification.type)}", None)
                return
        raise MalformedError("in the clear, and no error of a negotiation that is under way")

    def _exchange_payloads(self) -> tuple[Payload, ...]:
        """Our public value and nonce, and what we see of the addresses."""
        sa = self.sa
        assert self._dh is not None
        found = (Payload(PayloadType.KEY_EXCHANGE, self._dh.public), Payload(PayloadType.NONCE, self._nonce))
        if not sa.speaks(VendorId.NAT_TRAVERSAL):
            return found
        return found + nat_payloads(sa.context, sa.cookies, sa.path, forced=sa.profile.config.encap)

    def _agree(self, partner_public: bytes, partner_nonce: bytes) -> None:
        """Derive the keys."""
        sa = self.sa
        assert self._dh is not None
        assert sa.suite is not None
        mine, theirs = (self._dh.public, self._nonce), (partner_public, partner_nonce)
        initiator, responder = (mine, theirs) if sa.initiator else (theirs, mine)
        self._public = initiator[0], responder[0]
        secret = sa.profile.secret
        if self.conduct.has("wrong-psk"):
            secret = sha256(secret).digest()
        sa.keys = psk_keys(
            secret,
            nonces=(initiator[1], responder[1]),
            public=self._public,
            shared=self._dh.secret(partner_public),
            cookies=sa.cookies,
            key_octets=sa.suite.key_octets,
        )
        self._chain = CbcChain(sa.keys.cipher, sa.keys.first_iv)
        sa.context.reveal_ike(sa.cookies, sa.keys.cipher)

    def _translation(self, payloads: tuple[Payload, ...]) -> None:
        sa = self.sa
        if sa.speaks(VendorId.NAT_TRAVERSAL):
            found = translation(payloads, sa.cookies, sa.path)
            forced = sa.profile.config.encap and bool(bodies(payloads, PayloadType.NAT_D))
            sa.nat_here, sa.nat_there = found.here, found.there or forced

    def _identity(self) -> Identification:
        return _WRONG_ID if self.conduct.has("wrong-id") else self.sa.profile.local_id

    def _hash(self, *, of_initiator: bool, id_body: bytes) -> bytes:
        sa = self.sa
        assert sa.keys is not None
        step = 1 if of_initiator else -1
        g_i, g_r = self._public[::step]
        cookie_i, cookie_r = sa.cookies[::step]
        return authentication_hash(
            sa.keys,
            public=(g_i, g_r),
            cookies=(cookie_i, cookie_r),
            sa_body=self._sa_body,
            id_body=id_body,
        )

    def _up(self, last_block: bytes) -> None:
        sa = self.sa
        self._stop_retransmitting()
        self.due = Progress.DONE
        sa.last_block = last_block
        sa.state = State.ESTABLISHED
        sa.established_at = sa.context.now
        self._established()


def vendor_ids() -> tuple[Payload, ...]:
    """What we announce."""
    return tuple(Payload(PayloadType.VENDOR_ID, one.value) for one in ANNOUNCED)
