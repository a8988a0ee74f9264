"""Quick Mode (RFC 2409, section 5.5), as initiator and as responder, with stock or with early timing. No I/O.

A stock responder installs its SAs on message 3. The early one (seed, S202 to S210) installs the inbound SA
on message 1, before it answers, so that nothing which the initiator sends under it is lost; it sends under
the new SA from the first authenticated ESP packet on, or from message 3, whichever comes first.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

from nodes.ike.crypto.groups import KeyExchange
from nodes.ike.crypto.keys import keymat
from nodes.ike.dataplane.base import EspSa, Limits
from nodes.ike.exchange import NO_ANSWER, Exchange, Failure
from nodes.ike.ipsec_sa import IpsecSa
from nodes.ike.isakmp_sa import IsakmpSa, hashed_rest
from nodes.ike.lifecycle import Lifecycle
from nodes.ike.messages.header import HEADER, ExchangeType, Header
from nodes.ike.messages.malformed import MalformedError, NotifyType
from nodes.ike.messages.notification import Notification, encode_notification
from nodes.ike.messages.payloads import Payload, PayloadType, only
from nodes.ike.messages.sa_payload import Protocol
from nodes.ike.profile import ChildProfile
from nodes.ike.proposals import EspChoice, split_keymat
from nodes.ike.traffic_selectors import Selectors

FIRST, SECOND, THIRD = 1, 2, 3
_LEAST_SPI = 256
NULL_TRANSFORM = 11
"""ESP_NULL: for ``wrong-proposal``."""


class Progress(enum.Enum):
    """Which message of the partner's is due."""

    FIRST = enum.auto()
    SECOND = enum.auto()
    THIRD = enum.auto()
    DONE = enum.auto()


class QuickMode(Exchange):
    """What both sides of a Quick Mode share.

    Args:
        sa: the ISAKMP SA that protects it.
        lifecycle: where its pair of IPsec SAs will live.
        message_id: of the exchange.
        ended: called once, with the pair that came of it, or with the reason why none did.
    """

    initiator = False
    """Whether we initiated it."""

    def __init__(
        self,
        sa: IsakmpSa,
        lifecycle: Lifecycle,
        message_id: int,
        ended: Callable[[IpsecSa | None, str], None],
    ) -> None:
        super().__init__(sa, sa.script.begin("quick-mode"))
        self.message_id = message_id
        self.pair: IpsecSa | None = None
        self.due = Progress.FIRST
        self._lifecycle = lifecycle
        self._ended: Callable[[IpsecSa | None, str], None] | None = ended
        self._chain = sa.chain(message_id)
        self._nonces: tuple[bytes, bytes] = (b"", b"")
        self._dh: KeyExchange | None = None
        self._partner_spi = b""

    @property
    def over(self) -> bool:
        """Whether it has come to its end; a message 3 that ESP has made needless may still come."""
        return self.due is Progress.DONE or self._ended is None

    def receive(self, header: Header, datagram: bytes) -> None:
        """Take a message of this exchange.

        Raises:
            MalformedError: it is no message that is due, or not the partner's; the state is as before.
        """
        if self.conduct.silent or self._is_repeated(datagram):
            return
        self._check_garbage()
        try:
            payloads = self.sa.unseal(header, datagram, self._chain)
            received, rest = hashed_rest(payloads)
            self._authenticate(received, rest)
        except MalformedError:
            self._garbage += 1
            raise
        self._chain.take(datagram[HEADER:])
        self._take(datagram)
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

    def _send(self, number: int, payloads: tuple[Payload, ...], digest: bytes, *, answered: bool) -> None:
        sealed = (Payload(PayloadType.HASH, digest), *payloads)
        datagram = self.sa.message(
            ExchangeType.QUICK_MODE, self.message_id, sealed, self._chain, self.conduct, number
        )
        self._transmit(datagram, number, answered=answered)

    def _nobody_answered(self) -> None:
        self.fail(NO_ANSWER)

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
            initiator=self.initiator,
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


def check_spi(spi: int) -> int:
    """An SPI that is not reserved (RFC 4303, section 2.1).

    Raises:
        Failure: it is.
    """
    if spi < _LEAST_SPI:
        raise Failure(f"the reserved SPI {spi}", NotifyType.INVALID_SPI)
    return spi
