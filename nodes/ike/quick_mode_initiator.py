"""Quick Mode as its initiator (RFC 2409, section 5.5). No I/O."""

from __future__ import annotations

from nodes.ike.crypto.groups import key_exchange
from nodes.ike.crypto.keys import quick_hash_1, quick_hash_2, quick_hash_3
from nodes.ike.exchange import NONCE, Failure, check_nonce
from nodes.ike.isakmp_sa import require_hash
from nodes.ike.messages.malformed import MalformedError, NotifyType
from nodes.ike.messages.payloads import Payload, PayloadType, bodies, encode_chain, only
from nodes.ike.messages.sa_payload import encode_sa, parse_sa, transform
from nodes.ike.profile import ChildProfile
from nodes.ike.proposals import choose_esp, esp_proposal
from nodes.ike.quick_mode import FIRST, NULL_TRANSFORM, THIRD, Progress, QuickMode, check_spi
from nodes.ike.traffic_selectors import Selectors, selector_payloads, selectors_in


class Initiator(QuickMode):
    """Quick Mode as its initiator: installed on message 2, the inbound half before message 3 goes."""

    initiator = True

    def start(self, child: ChildProfile, selectors: Selectors) -> None:
        """Send message 1."""
        sa = self.sa
        self._child, self._selectors = child, selectors
        group = child.suites[0].group
        self._offered = tuple(suite for suite in child.suites if suite.group == group)
        self._dh = None if group is None else key_exchange(group)
        self._spi = self._lifecycle.new_spi()
        self._nonces = (sa.context.random(NONCE), b"")
        proposal = esp_proposal(
            self._offered,
            self._spi,
            life_time=child.life_time,
            life_octets=child.config.life_octets,
            encap=sa.nat,
        )
        if self.conduct.has("wrong-proposal"):
            proposal = proposal._replace(transforms=(transform(1, NULL_TRANSFORM, ()),))
        payloads = (
            Payload(PayloadType.SA, encode_sa([proposal])),
            Payload(PayloadType.NONCE, self._nonces[0]),
            *self._key_exchange_payload(),
            *selector_payloads(selectors.local, selectors.remote),
        )
        assert sa.keys is not None
        self.due = Progress.SECOND
        digest = quick_hash_1(sa.keys, self.message_id, encode_chain(payloads))
        self._send(FIRST, payloads, digest, answered=True)

    def is_about(self, spi: bytes) -> bool:
        """Whether a notify with this SPI is about our proposal."""
        return spi == self._spi.to_bytes(4, "big")

    def _authenticate(self, received: bytes, rest: bytes) -> None:
        if self.due is not Progress.SECOND:
            raise MalformedError("no message of this Quick Mode is due")
        keys = self.sa.keys
        assert keys is not None
        require_hash(received, quick_hash_2(keys, self.message_id, self._nonces[0], rest))

    def _process(self, payloads: tuple[Payload, ...]) -> None:
        self._stop_retransmitting()
        self._last_sent = b""
        sa = self.sa
        proposals = parse_sa(only(payloads, PayloadType.SA))
        choice = choose_esp(proposals, self._offered, encap=sa.nat)
        if choice is None or len(proposals) != 1 or len(proposals[0].transforms) != 1:
            raise Failure("the partner chose what we did not offer", NotifyType.NO_PROPOSAL_CHOSEN)
        self._nonces = (self._nonces[0], check_nonce(only(payloads, PayloadType.NONCE)))
        ours, theirs = self._selectors
        if bodies(payloads, PayloadType.IDENTIFICATION):
            ours, theirs = selectors_in(payloads)
        if not ours.subnet_of(self._selectors.local) or not theirs.subnet_of(self._selectors.remote):
            raise Failure(
                f"the partner chose {ours} === {theirs}, which we did not offer",
                NotifyType.INVALID_ID_INFORMATION,
            )
        self._partner_spi = choice.spi.to_bytes(4, "big")
        self.pair = self._new_pair(
            self._child,
            choice,
            Selectors(ours, theirs),
            (self._spi, check_spi(choice.spi)),
            self._shared(payloads),
        )
        self.due = Progress.DONE
        self._lifecycle.install(self.pair, self._installed)

    def _installed(self, error: str | None) -> None:
        pair, keys = self.pair, self.sa.keys
        assert pair is not None
        assert keys is not None
        if error is not None:
            self.pair = None
            self.fail(f"the SA could not be installed: {error}", NotifyType.NO_PROPOSAL_CHOSEN)
            return
        self._send(THIRD, (), quick_hash_3(keys, self.message_id, *self._nonces), answered=False)
        lead = self.sa.context.options.third_lead
        self._lifecycle.make_effective_after(pair, "qm2", lead, self._effective)

    def _effective(self, error: str | None) -> None:
        if error is not None:
            self._end(None, f"the SA could not be installed: {error}")
        else:
            self._end(self.pair)
