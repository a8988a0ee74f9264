"""Quick Mode (RFC 2409, section 5.5), as initiator and as responder, with stock or with early timing. No I/O.

A stock responder installs its SAs on message 3. The early one (seed, S202 to S210) installs the inbound SA
on message 1, before it answers, so that nothing which the initiator sends under it is lost; it sends under
the new SA from the first authenticated ESP packet on, or from message 3, whichever comes first.
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import NamedTuple

from nodes.ike.crypto.groups import KeyExchange, key_exchange
from nodes.ike.crypto.keys import keymat, quick_hash_1, quick_hash_2, quick_hash_3
from nodes.ike.dataplane.base import EspSa, Limits
from nodes.ike.ipsec_sa import IpsecSa
from nodes.ike.isakmp_sa import IsakmpSa, hashed_rest, require_hash
from nodes.ike.lifecycle import Lifecycle
from nodes.ike.main_mode import MAX_GARBAGE, MAX_REPEATS, NONCE, Failure, check_nonce
from nodes.ike.messages.header import HEADER, ExchangeType, Header
from nodes.ike.messages.identification import (
    encode_identification,
    network_selector,
    parse_identification,
    selector_network,
)
from nodes.ike.messages.malformed import MalformedError, NotifyType
from nodes.ike.messages.notification import Notification, encode_notification
from nodes.ike.messages.payloads import Payload, PayloadType, bodies, encode_chain, only
from nodes.ike.messages.sa_payload import Proposal, Protocol, encode_sa, parse_sa, transform
from nodes.ike.profile import ChildProfile
from nodes.ike.proposals import EspChoice, choose_esp, esp_proposal, split_keymat
from nodes.ike.retransmission import Retransmission

_FIRST, _SECOND, _THIRD = 1, 2, 3
_LEAST_SPI = 256
_NULL_TRANSFORM = 11
"""ESP_NULL: for ``wrong-proposal``."""


class Selectors(NamedTuple):
    """What a pair of SAs protects, seen from here."""

    local: ipaddress.IPv6Network
    remote: ipaddress.IPv6Network


def overlap(one: ipaddress.IPv6Network, other: ipaddress.IPv6Network) -> ipaddress.IPv6Network | None:
    """The prefix that two prefixes have in common."""
    if one.subnet_of(other):
        return one
    return other if other.subnet_of(one) else None


def match_child(children: Sequence[ChildProfile], asked: Selectors) -> tuple[ChildProfile, Selectors] | None:
    """The child that best fits what a partner asks for, and what of it we protect: the widest overlap."""
    found: list[tuple[int, ChildProfile, Selectors]] = []
    for child in children:
        for ours in child.local_ts:
            for theirs in child.remote_ts:
                local, remote = overlap(ours, asked.local), overlap(theirs, asked.remote)
                if local is not None and remote is not None:
                    width = local.prefixlen + remote.prefixlen
                    found.append((width, child, Selectors(local, remote)))
    if not found:
        return None
    _, child, selectors = min(found, key=lambda one: one[0])
    return child, selectors


class Progress(enum.Enum):
    """Which message of the partner's is due."""

    FIRST = enum.auto()
    SECOND = enum.auto()
    THIRD = enum.auto()
    DONE = enum.auto()


class QuickMode:
    """What both sides of a Quick Mode share.

    Args:
        sa: the ISAKMP SA that protects it.
        lifecycle: where its pair of IPsec SAs will live.
        message_id: of the exchange.
        ended: called once, with the pair that came of it, or with the reason why none did.
    """

    def __init__(
        self,
        sa: IsakmpSa,
        lifecycle: Lifecycle,
        message_id: int,
        ended: Callable[[IpsecSa | None, str], None],
    ) -> None:
        self.sa = sa
        self.message_id = message_id
        self.pair: IpsecSa | None = None
        self.due = Progress.FIRST
        self.conduct = sa.script.begin("quick-mode")
        self._lifecycle = lifecycle
        self._ended: Callable[[IpsecSa | None, str], None] | None = ended
        self._chain = sa.chain(message_id)
        self._nonces: tuple[bytes, bytes] = (b"", b"")
        self._dh: KeyExchange | None = None
        self._heard = b""
        self._last_sent = b""
        self._repeats = 0
        self._garbage = 0
        self._partner_spi = b""
        self._retransmission: Retransmission | None = None

    @property
    def over(self) -> bool:
        """Whether nothing of the partner's is due any more."""
        return self.due is Progress.DONE

    def receive(self, header: Header, datagram: bytes) -> None:
        """Take a message of this exchange.

        Raises:
            MalformedError: it is no message that is due, or not the partner's; the state is as before.
        """
        if self.conduct.silent:
            return
        digest = sha256(datagram).digest()
        if digest == self._heard:
            self._repeat()
            return
        if self._garbage >= MAX_GARBAGE:
            raise MalformedError("too many messages of this exchange that could not be read")
        payloads = None
        try:
            payloads = self.sa.unseal(header, datagram, self._chain)
            received, rest = hashed_rest(payloads)
            self._authenticate(received, rest)
        except MalformedError:
            self._garbage += 1
            raise
        self._chain.take(datagram[HEADER:])
        self._heard = digest
        self.sa.last_heard = self.sa.context.now
        try:
            self._process(payloads)
        except MalformedError as error:  # authenticated, so the partner should know
            self.fail(str(error), error.notify)
        except Failure as failure:
            self.fail(str(failure), failure.notify)

    def _authenticate(self, received: bytes, rest: bytes) -> None:
        raise NotImplementedError

    def _process(self, payloads: tuple[Payload, ...]) -> None:
        raise NotImplementedError

    def fail(self, reason: str, notify: NotifyType | None = None) -> None:
        """End it without an SA; the partner is told by ``notify``."""
        self.stop()
        pair, self.pair = self.pair, None
        if pair is not None:
            pair.gone = None
            self._lifecycle.delete(pair, "not-confirmed", announce=True)
        if notify is not None and self.sa.established:
            about = Notification(Protocol.ESP, self._partner_spi, notify)
            self.sa.inform(Payload(PayloadType.NOTIFICATION, encode_notification(about)))
        self._end(None, reason)

    def _pair_gone(self, reason: str) -> None:
        """The pair was deleted before the exchange was over."""
        self.pair = None
        self.stop()
        self._end(None, f"the new SA was deleted: {reason}")

    def stop(self) -> None:
        """Send nothing more of it."""
        self._stop_retransmitting()
        self.due = Progress.DONE
        self._last_sent = b""

    def _end(self, pair: IpsecSa | None, reason: str = "") -> None:
        ended, self._ended = self._ended, None
        if self.pair is not None and pair is not None:
            self.pair.gone = None
        if ended is not None:
            ended(pair, reason)

    def _repeat(self) -> None:
        if self._last_sent and self._repeats < MAX_REPEATS:
            self._repeats += 1
            self.sa.transmit(self._last_sent)

    def _send(self, number: int, payloads: tuple[Payload, ...], digest: bytes, *, answered: bool) -> None:
        self._stop_retransmitting()
        sealed = (Payload(PayloadType.HASH, digest), *payloads)
        datagram = self.sa.message(
            ExchangeType.QUICK_MODE, self.message_id, sealed, self._chain, self.conduct, number
        )
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
        self.fail("the partner did not answer")

    def _stop_retransmitting(self) -> None:
        if self._retransmission is not None:
            self._retransmission.stop()
            self._retransmission = None

    def _new_pair(
        self,
        child: ChildProfile,
        choice: EspChoice,
        selectors: Selectors,
        spis: tuple[int, int],
        shared: bytes,
    ) -> IpsecSa:
        """The pair that was agreed upon; ``spis`` in and out."""
        sa, config = self.sa, child.config
        assert sa.keys is not None
        ports = (sa.path.local_port, sa.path.remote_port) if choice.encap else None
        ends = [one for one in (config.life_octets, choice.life_octets) if one]
        limits = Limits(
            soft_packets=config.rekey_packets,
            hard_packets=config.life_packets,
            soft_octets=config.rekey_octets,
            hard_octets=min(ends, default=0),
        )

        def half(spi: int) -> EspSa:
            assert sa.keys is not None
            material = keymat(
                sa.keys,
                protocol=Protocol.ESP,
                spi=spi.to_bytes(4, "big"),
                nonces=self._nonces,
                shared=shared,
                octets=choice.suite.keymat_octets,
            )
            key, salt, integrity_key = split_keymat(choice.suite, material)
            return EspSa(
                spi=spi,
                encryption=choice.suite.encryption,
                encryption_key=key,
                salt=salt,
                integrity="hmac-sha256-128" if integrity_key else None,
                integrity_key=integrity_key,
                local=sa.path.local,
                remote=sa.path.remote,
                encap=ports,
                local_ts=selectors.local,
                remote_ts=selectors.remote,
                esn=choice.suite.esn,
                replay_window=config.replay_window,
                reqid=child.reqid,
                limits=limits,
            )

        lives = [one for one in (child.life_time, choice.life_time) if one]
        pair = IpsecSa(
            id=next(sa.context.child_ids),
            profile=sa.profile,
            child=child,
            initiator=isinstance(self, Initiator),
            suite=choice.suite,
            inbound=half(spis[0]),
            outbound=half(spis[1]),
            life_time=min(lives) if child.life_time else 0,
            replaces=self._lifecycle.newest(sa.profile, child),
            gone=self._pair_gone,
        )
        sa.context.reveal_esp(pair.inbound, pair.outbound)
        return pair

    def _shared(self, payloads: tuple[Payload, ...]) -> bytes:
        """The secret of the exchange's own key exchange; empty without PFS."""
        if self._dh is None:
            return b""
        return self._dh.secret(only(payloads, PayloadType.KEY_EXCHANGE))

    def _key_exchange_payload(self) -> tuple[Payload, ...]:
        return () if self._dh is None else (Payload(PayloadType.KEY_EXCHANGE, self._dh.public),)


def _selector_payloads(
    initiator: ipaddress.IPv6Network, responder: ipaddress.IPv6Network
) -> tuple[Payload, ...]:
    return tuple(
        Payload(PayloadType.IDENTIFICATION, encode_identification(network_selector(network)))
        for network in (initiator, responder)
    )


def _selectors_in(payloads: tuple[Payload, ...]) -> tuple[ipaddress.IPv6Network, ipaddress.IPv6Network]:
    """The initiator's selector and the responder's.

    Raises:
        MalformedError: there are not two, or one is none that we carry.
    """
    found = bodies(payloads, PayloadType.IDENTIFICATION)
    if len(found) != 2:
        raise MalformedError(
            f"{len(found)} traffic selectors where two are due", NotifyType.INVALID_ID_INFORMATION
        )
    first, second = (selector_network(parse_identification(body)) for body in found)
    return first, second


def _check_spi(spi: int) -> int:
    if spi < _LEAST_SPI:
        raise Failure(f"the reserved SPI {spi}", NotifyType.INVALID_SPI)
    return spi


class Initiator(QuickMode):
    """Quick Mode as its initiator: installed on message 2, the inbound half before message 3 goes."""

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
            proposal = proposal._replace(transforms=(transform(1, _NULL_TRANSFORM, ()),))
        payloads = (
            Payload(PayloadType.SA, encode_sa([proposal])),
            Payload(PayloadType.NONCE, self._nonces[0]),
            *self._key_exchange_payload(),
            *_selector_payloads(selectors.local, selectors.remote),
        )
        assert sa.keys is not None
        self.due = Progress.SECOND
        digest = quick_hash_1(sa.keys, self.message_id, encode_chain(payloads))
        self._send(_FIRST, payloads, digest, answered=True)

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
            ours, theirs = _selectors_in(payloads)
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
            (self._spi, _check_spi(choice.spi)),
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
        self._send(_THIRD, (), quick_hash_3(keys, self.message_id, *self._nonces), answered=False)
        self._lifecycle.make_effective(pair, "qm2", self._effective)

    def _effective(self, error: str | None) -> None:
        if error is not None:
            self._end(None, f"the SA could not be installed: {error}")
        else:
            self._end(self.pair)


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
        theirs, ours = _selectors_in(payloads)
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
            child, choice, selectors, (spi, _check_spi(choice.spi)), self._shared(payloads)
        )
        self._answer_with = (
            Payload(PayloadType.SA, encode_sa([self._answer(choice, spi)])),
            Payload(PayloadType.NONCE, self._nonces[1]),
            *self._key_exchange_payload(),
            *_selector_payloads(selectors.remote, selectors.local),
        )
        if self.early:
            self._lifecycle.install(self.pair, self._installed_early)
        else:
            self._answer_first()

    def _answer(self, choice: EspChoice, spi: int) -> Proposal:
        answer = choice.answer(spi)
        if self.conduct.has("wrong-proposal"):
            answer = answer._replace(transforms=(transform(1, _NULL_TRANSFORM, ()),))
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
        self._send(_SECOND, payloads, digest, answered=True)

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
