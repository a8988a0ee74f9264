"""Quick Mode as its responder, with stock or with early timing (RFC 2409, section 5.5; seed). No I/O."""

from __future__ import annotations

from nodes.ike.crypto.groups import key_exchange
from nodes.ike.crypto.keys import quick_hash_1, quick_hash_2, quick_hash_3
from nodes.ike.exchange import NONCE, Failure, check_nonce
from nodes.ike.isakmp_sa import require_hash
from nodes.ike.messages.malformed import MalformedError, NotifyType
from nodes.ike.messages.payloads import Payload, PayloadType, encode_chain, only
from nodes.ike.messages.sa_payload import Proposal, encode_sa, parse_sa, transform
from nodes.ike.proposals import EspChoice, choose_esp
from nodes.ike.quick_mode import NULL_TRANSFORM, SECOND, Progress, QuickMode, check_spi
from nodes.ike.traffic_selectors import Selectors, match_child, selector_payloads, selectors_in


class Responder(QuickMode):
    """Quick Mode as its responder; whether it is ``early`` is decided when message 1 comes."""

    early = True

    def _authenticate(self, received: bytes, rest: bytes) -> None:
        keys = self.sa.keys
        assert keys is not None
        if self.due is Progress.FIRST:
            computed = quick_hash_1(keys, self.message_id, rest)
        elif self.due is Progress.THIRD:
            computed = quick_hash_3(keys, self.message_id, *self._nonces)
        else:
            raise MalformedError("no message of this Quick Mode is due")
        require_hash(received, computed)

    def _process(self, payloads: tuple[Payload, ...]) -> None:
        if self.due is Progress.FIRST:
            self._take_first(payloads)
        else:
            self._take_third()

    def _take_first(self, payloads: tuple[Payload, ...]) -> None:
        sa = self.sa
        theirs, ours = selectors_in(payloads)
        matched = match_child(sa.profile.children, Selectors(ours, theirs))
        if matched is None:
            raise Failure(f"no child protects {ours} === {theirs}", NotifyType.INVALID_ID_INFORMATION)
        child, selectors = matched
        choice = choose_esp(parse_sa(only(payloads, PayloadType.SA)), child.suites, encap=sa.nat)
        if choice is None:
            raise Failure("no proposal of the partner's is ours", NotifyType.NO_PROPOSAL_CHOSEN)
        nonce = check_nonce(only(payloads, PayloadType.NONCE))
        self._nonces = (nonce, sa.context.random(NONCE))
        if choice.suite.group is not None:
            self._dh = key_exchange(choice.suite.group)
        self._partner_spi = choice.spi.to_bytes(4, "big")
        spi = self._lifecycle.new_spi()
        self.pair = self._new_pair(
            child, choice, selectors, (spi, check_spi(choice.spi)), self._shared(payloads)
        )
        self._answer_with = (
            Payload(PayloadType.SA, encode_sa([self._answer(choice, spi)])),
            Payload(PayloadType.NONCE, self._nonces[1]),
            *self._key_exchange_payload(),
            *selector_payloads(selectors.remote, selectors.local),
        )
        if self.early:
            self._lifecycle.install(self.pair, self._installed_early)
        else:
            self._answer_first()

    def _answer(self, choice: EspChoice, spi: int) -> Proposal:
        answer = choice.answer(spi)
        if self.conduct.has("wrong-proposal"):
            answer = answer._replace(transforms=(transform(1, NULL_TRANSFORM, ()),))
        return answer

    def _installed_early(self, error: str | None) -> None:
        if error is not None:
            self._not_installed(error)
            return
        pair = self.pair
        assert pair is not None
        config, options = self.sa.profile.config, self.sa.context.options
        seconds = config.confirm_timeout or options.confirm_timeout or options.schedule.total
        self._lifecycle.await_confirmation(pair, seconds)
        self._answer_first()

    def _not_installed(self, error: str) -> None:
        self.pair = None
        self.fail(f"the SA could not be installed: {error}", NotifyType.NO_PROPOSAL_CHOSEN)

    def _answer_first(self) -> None:
        keys = self.sa.keys
        assert keys is not None
        self.due = Progress.THIRD
        payloads = self._answer_with
        digest = quick_hash_2(keys, self.message_id, self._nonces[0], encode_chain(payloads))
        self._send(SECOND, payloads, digest, answered=True)

    def _take_third(self) -> None:
        pair = self.pair
        assert pair is not None
        self.stop()
        if self.early:
            self._lifecycle.make_effective(pair, "qm3", self._effective)
            self._end(pair)
        else:
            self._lifecycle.install(pair, self._installed_stock)

    def _installed_stock(self, error: str | None) -> None:
        if error is not None:
            self._not_installed(error)
            return
        assert self.pair is not None
        self._lifecycle.make_effective(self.pair, "qm3", self._effective)
        self._end(self.pair)

    def _effective(self, error: str | None) -> None:
        if error is not None:
            self._end(None, f"the SA could not be installed: {error}")

    def confirmed_by_esp(self) -> None:
        """An ESP packet under the pair has shown that the initiator has message 2: it need not be sent again.

        Message 3 may still come, and is taken for what it is.
        """
        self._stop_retransmitting()
        self._end(self.pair)
