"""Main mode as its responder (RFC 2409, sections 5 and 5.4). No I/O."""

from __future__ import annotations

from collections.abc import Callable

from nodes.ike.crypto.groups import key_exchange
from nodes.ike.exchange import Failure, check_nonce
from nodes.ike.isakmp_sa import IsakmpSa, require_hash
from nodes.ike.main_mode import NOT_OURS, MainMode, Progress, vendor_ids
from nodes.ike.messages.header import HEADER, Header
from nodes.ike.messages.identification import (
    Identification,
    encode_identification,
    parse_identification,
)
from nodes.ike.messages.malformed import MalformedError, NotifyType
from nodes.ike.messages.notification import parse_notification
from nodes.ike.messages.payloads import Payload, PayloadType, bodies, only
from nodes.ike.messages.sa_payload import Proposal, encode_sa, transform
from nodes.ike.messages.vendor_id import VendorId, announced
from nodes.ike.profile import Profile
from nodes.ike.proposals import IkeChoice


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
        self._take(datagram)
        self._sa_body = sa_body
        sa.suite = choice.suite
        sa.extensions = announced(bodies(payloads, PayloadType.VENDOR_ID))
        self.due = Progress.KEY
        answer: Proposal = choice.answer()
        if self.conduct.has("wrong-proposal"):
            answer = answer._replace(transforms=(transform(1, 1, NOT_OURS),))
        heeded = tuple(one for one in vendor_ids() if VendorId(one.body) in sa.extensions)
        self._send(2, Payload(PayloadType.SA, encode_sa([answer])), *heeded, answered=False)

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
