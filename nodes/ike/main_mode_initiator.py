"""Main mode as its initiator (RFC 2409, sections 5 and 5.4). No I/O."""

from __future__ import annotations

from nodes.ike.crypto.groups import key_exchange
from nodes.ike.crypto.keys import AES_BLOCK
from nodes.ike.exchange import Failure, check_nonce
from nodes.ike.isakmp_sa import require_hash
from nodes.ike.main_mode import NOT_OURS, MainMode, Progress, vendor_ids
from nodes.ike.messages.header import Header
from nodes.ike.messages.identification import (
    encode_identification,
    parse_identification,
)
from nodes.ike.messages.malformed import MalformedError, NotifyType
from nodes.ike.messages.notification import Notification, encode_notification
from nodes.ike.messages.payloads import Payload, PayloadType, bodies, only
from nodes.ike.messages.sa_payload import Protocol, encode_sa, parse_sa, transform
from nodes.ike.messages.vendor_id import announced
from nodes.ike.proposals import choose_ike, ike_proposal


class Initiator(MainMode):
    """Main mode as its initiator."""

    initial_contact = False
    """Whether we say that we know of no SA with this partner (RFC 2407, section 4.6.3.3)."""

    def start(self) -> None:
        """Send message 1."""
        sa = self.sa
        proposal = ike_proposal(sa.profile.suites, sa.profile.life_time)
        if self.conduct.has("wrong-proposal"):
            proposal = proposal._replace(transforms=(transform(1, 1, NOT_OURS),))
        self._sa_body = encode_sa([proposal])
        self._send(1, Payload(PayloadType.SA, self._sa_body), *vendor_ids(), answered=True)

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
