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
from nodes.ike.crypto.groups import KeyExchange, key_exchange
from nodes.ike.crypto.keys import AES_BLOCK, authentication_hash, psk_keys
from nodes.ike.isakmp_sa import IsakmpSa, State, require_hash
from nodes.ike.messages.attributes import Phase1
from nodes.ike.messages.header import HEADER, ExchangeType, Header
from nodes.ike.messages.identification import (
    Identification,
    IdType,
    encode_identification,
    parse_identification,
)
from nodes.ike.messages.malformed import MalformedError, NotifyType, notify_name
from nodes.ike.messages.notification import Notification, encode_notification, parse_notification
from nodes.ike.messages.payloads import Payload, PayloadType, bodies, only, parse_chain
from nodes.ike.messages.sa_payload import Proposal, Protocol, encode_sa, parse_sa, transform
from nodes.ike.messages.vendor_id import ANNOUNCED, VendorId, announced
from nodes.ike.nat import nat_payloads, translation
from nodes.ike.profile import Profile
from nodes.ike.proposals import IkeChoice, choose_ike, ike_proposal
from nodes.ike.retransmission import Retransmission

FIRST_ENCRYPTED = 5
"""The first message of main mode that is encrypted."""
NONCE = 32
"""Octets of our nonces."""
LEAST_NONCE, MOST_NONCE = 8, 256
"""Octets of a nonce (RFC 2409, section 5)."""
MAX_REPEATS = 10
"""How often a message that came again is answered again."""
MAX_GARBAGE = 20
"""Messages of a half-open SA that cannot be read, after which no more are tried."""

_NOT_OURS = ((Phase1.ENCRYPTION, 5), (Phase1.HASH, 2), (Phase1.GROUP, 2), (Phase1.AUTHENTICATION, 1))
"""3DES with SHA-1 and MODP1024, which nobody accepts any more: for ``wrong-proposal``."""
_WRONG_ID = Identification(IdType.FQDN, b"somebody-else.invalid")


class Failure(Exception):
    """The negotiation cannot go on; the partner is told by ``notify``, if there is one."""

    def __init__(self, reason: str, notify: NotifyType | None = None) -> None:
        super().__init__(reason)
        self.notify = notify


class Progress(enum.Enum):
    """Which message of the partner's is due."""

    SA = enum.auto()
    KEY = enum.auto()
    AUTHENTICATION = enum.auto()
    DONE = enum.auto()


def check_nonce(nonce: bytes) -> bytes:
    """A nonce of an allowed size.

    Raises:
        MalformedError: it is too short or too long.
    """
    if not LEAST_NONCE <= len(nonce) <= MOST_NONCE:
        raise MalformedError(f"a nonce of {len(nonce)} octets")
    return nonce


class MainMode:
    """What both sides of main mode share.

    Args:
        sa: the ISAKMP SA that is to come of it.
        established: called once when it is up.
        failed: called once with the reason when it will not be.
    """

    def __init__(self, sa: IsakmpSa, established: Callable[[], None], failed: Callable[[str], None]) -> None:
        self.sa = sa
        self.due = Progress.SA
        self.conduct = sa.script.begin("main-mode")
        self._established = established
        self._failed = failed
        self._dh: KeyExchange | None = None
        self._nonce = sa.context.random(NONCE)
        self._sa_body = b""
        self._chain: CbcChain | None = None
        self._public: tuple[bytes, bytes] = (b"", b"")
        self._heard = b""
        self._last_sent = b""
        self._repeats = 0
        self._garbage = 0
        self._retransmission: Retransmission | None = None

    @property
    def over(self) -> bool:
        """Whether nothing of the partner's is due any more."""
        return self.due is Progress.DONE

    def receive(self, header: Header, datagram: bytes) -> None:
        """Take a message of this exchange from the partner's address.

        Raises:
            MalformedError: it is no message that is due; the state is as before.
        """
        if self.conduct.silent:
            return
        digest = sha256(datagram).digest()
        if digest == self._heard:
            self._repeat()
            return
        if self._garbage >= MAX_GARBAGE:
            raise MalformedError("too many messages of this exchange that could not be read")
        try:
            self._process(header, datagram)
        except MalformedError:
            self._garbage += 1
            raise
        except Failure as failure:
            self._heard = digest
            self._end(str(failure), failure.notify)
            return
        self._heard = digest

    def cancel(self) -> None:
        """Nobody wants the SA any more."""
        self._stop_retransmitting()
        self.due = Progress.DONE

    def _process(self, header: Header, datagram: bytes) -> None:
        raise NotImplementedError

    def _repeat(self) -> None:
        """The partner's last message came again: so it missed our answer."""
        if self._last_sent and self._repeats < MAX_REPEATS:
            self._repeats += 1
            self.sa.transmit(self._last_sent)

    def _clear(self, header: Header, datagram: bytes) -> tuple[Payload, ...]:
        if header.encrypted:
            raise MalformedError("an encrypted message before there are keys", NotifyType.INVALID_FLAGS)
        return parse_chain(header.next_payload, datagram[HEADER:])

    def _send(self, number: int, *payloads: Payload, answered: bool) -> None:
        self._stop_retransmitting()
        chain = self._chain if number >= FIRST_ENCRYPTED else None
        datagram = self.sa.message(ExchangeType.MAIN_MODE, 0, payloads, chain, self.conduct, number)
        self._last_sent, self._repeats = datagram, 0
        self.sa.transmit(datagram)
        self.conduct.sent(number)
        if answered:
            context = self.sa.context
            self._retransmission = Retransmission(
                context.timers, context.options.schedule, self._again, self._nobody_answered
            )
            self._retransmission.start(context.now)

    def _again(self) -> None:
        if not self.conduct.silent:
            self.sa.transmit(self._last_sent)

    def _nobody_answered(self) -> None:
        self._end("the partner did not answer", None)

    def _stop_retransmitting(self) -> None:
        if self._retransmission is not None:
            self._retransmission.stop()
            self._retransmission = None

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


def _vendor_ids() -> tuple[Payload, ...]:
    return tuple(Payload(PayloadType.VENDOR_ID, one.value) for one in ANNOUNCED)


class Initiator(MainMode):
    """Main mode as its initiator."""

    initial_contact = False
    """Whether we say that we know of no SA with this partner (RFC 2407, section 4.6.3.3)."""

    def start(self) -> None:
        """Send message 1."""
        sa = self.sa
        proposal = ike_proposal(sa.profile.suites, sa.profile.life_time)
        if self.conduct.has("wrong-proposal"):
            proposal = proposal._replace(transforms=(transform(1, 1, _NOT_OURS),))
        self._sa_body = encode_sa([proposal])
        self._send(1, Payload(PayloadType.SA, self._sa_body), *_vendor_ids(), answered=True)

    def _process(self, header: Header, datagram: bytes) -> None:
        match self.due:
            case Progress.SA:
                self._take_choice(header, self._clear(header, datagram))
            case Progress.KEY:
                self._take_key(self._clear(header, datagram))
            case Progress.AUTHENTICATION:
                self._take_proof(header, datagram)
            case Progress.DONE:
                raise MalformedError("main mode is over")

    def _take_choice(self, header: Header, payloads: tuple[Payload, ...]) -> None:
        sa = self.sa
        proposals = parse_sa(only(payloads, PayloadType.SA))
        choice = choose_ike(proposals, sa.profile.suites)
        if choice is None or len(proposals) != 1 or len(proposals[0].transforms) != 1:
            raise Failure("the partner chose what we did not offer", NotifyType.NO_PROPOSAL_CHOSEN)
        sa.cookies = header.cookies
        sa.suite = choice.suite
        sa.extensions = announced(bodies(payloads, PayloadType.VENDOR_ID))
        self._dh = key_exchange(choice.suite.group)
        self.due = Progress.KEY
        self._send(3, *self._exchange_payloads(), answered=True)

    def _take_key(self, payloads: tuple[Payload, ...]) -> None:
        sa = self.sa
        nonce = check_nonce(only(payloads, PayloadType.NONCE))
        self._agree(only(payloads, PayloadType.KEY_EXCHANGE), nonce)
        self._translation(payloads)
        if sa.nat:
            sa.float_ports()
        id_body = encode_identification(self._identity())
        proof = [
            Payload(PayloadType.IDENTIFICATION, id_body),
            Payload(PayloadType.HASH, self._hash(of_initiator=True, id_body=id_body)),
        ]
        if self.initial_contact:
            contact = Notification(Protocol.ISAKMP, b"".join(sa.cookies), NotifyType.INITIAL_CONTACT)
            proof.append(Payload(PayloadType.NOTIFICATION, encode_notification(contact)))
        self.due = Progress.AUTHENTICATION
        self._send(5, *proof, answered=True)

    def _take_proof(self, header: Header, datagram: bytes) -> None:
        sa = self.sa
        assert self._chain is not None
        payloads = sa.unseal(header, datagram, self._chain)
        id_body = only(payloads, PayloadType.IDENTIFICATION)
        require_hash(only(payloads, PayloadType.HASH), self._hash(of_initiator=False, id_body=id_body))
        partner = parse_identification(id_body)
        if not partner.same(sa.profile.remote_id):
            raise Failure(f"the partner is {partner}, not {sa.profile.remote_id}")
        self._up(datagram[-AES_BLOCK:])


class Responder(MainMode):
    """Main mode as its responder.

    Args:
        profiles: the connections with the partner's address, of which the first gives the secret.
        others: as in :class:`MainMode`.
    """

    def __init__(
        self,
        sa: IsakmpSa,
        profiles: tuple[Profile, ...],
        established: Callable[[], None],
        failed: Callable[[str], None],
    ) -> None:
        super().__init__(sa, established, failed)
        self._profiles = profiles
        self._told_garbage = False
        self.contact_is_initial = False

    @property
    def returned(self) -> bool:
        """Whether the partner has shown by our cookie that it is where it says (RFC 2522, section 1)."""
        return self.due is not Progress.KEY

    def start(
        self, choice: IkeChoice, sa_body: bytes, payloads: tuple[Payload, ...], datagram: bytes
    ) -> None:
        """Answer message 1, of which ``choice`` was made."""
        sa = self.sa
        self._heard = sha256(datagram).digest()
        self._sa_body = sa_body
        sa.suite = choice.suite
        sa.extensions = announced(bodies(payloads, PayloadType.VENDOR_ID))
        self.due = Progress.KEY
        answer: Proposal = choice.answer()
        if self.conduct.has("wrong-proposal"):
            answer = answer._replace(transforms=(transform(1, 1, _NOT_OURS),))
        vendor_ids = tuple(one for one in _vendor_ids() if VendorId(one.body) in sa.extensions)
        self._send(2, Payload(PayloadType.SA, encode_sa([answer])), *vendor_ids, answered=False)

    def _process(self, header: Header, datagram: bytes) -> None:
        match self.due:
            case Progress.KEY:
                self._take_key(self._clear(header, datagram))
            case Progress.AUTHENTICATION:
                try:
                    self._take_proof(header, datagram)
                except MalformedError as error:
                    self._unreadable(error)
                    raise
            case _:
                raise MalformedError("main mode is over")

    def _take_key(self, payloads: tuple[Payload, ...]) -> None:
        sa = self.sa
        assert sa.suite is not None
        nonce = check_nonce(only(payloads, PayloadType.NONCE))
        self._dh = key_exchange(sa.suite.group)
        self._agree(only(payloads, PayloadType.KEY_EXCHANGE), nonce)
        self._translation(payloads)
        self.due = Progress.AUTHENTICATION
        self._send(4, *self._exchange_payloads(), answered=False)

    def _take_proof(self, header: Header, datagram: bytes) -> None:
        sa = self.sa
        assert self._chain is not None
        payloads = sa.unseal(header, datagram, self._chain)
        id_body = only(payloads, PayloadType.IDENTIFICATION)
        require_hash(only(payloads, PayloadType.HASH), self._hash(of_initiator=True, id_body=id_body))
        self._chain.take(datagram[HEADER:])
        self._find_profile(parse_identification(id_body))
        notifications = [parse_notification(body) for body in bodies(payloads, PayloadType.NOTIFICATION)]
        self.contact_is_initial = any(one.type == NotifyType.INITIAL_CONTACT for one in notifications)
        our_id = encode_identification(self._identity())
        self._send(
            6,
            Payload(PayloadType.IDENTIFICATION, our_id),
            Payload(PayloadType.HASH, self._hash(of_initiator=False, id_body=our_id)),
            answered=False,
        )
        self._up(self._chain.iv)

    def _find_profile(self, partner: Identification) -> None:
        """Of the connections with this secret, the one with this identity."""
        sa = self.sa
        for profile in self._profiles:
            if profile.secret == sa.profile.secret and partner.same(profile.remote_id):
                sa.profile = profile
                return
        raise Failure(f"the partner is {partner}, whom we do not expect", NotifyType.AUTHENTICATION_FAILED)

    def _unreadable(self, error: MalformedError) -> None:
        """What should prove the secret proves nothing: tell once, and wait for one that does.

        Whoever can guess the cookies could send such a message; it must not end the partner's negotiation.
        """
        if not self._told_garbage:
            self._told_garbage = True
            self.tell(error.notify)
            self._failed(f"message 5 cannot be read ({error}): are the secrets the same?")
