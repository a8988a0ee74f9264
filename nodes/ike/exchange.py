"""What main mode and Quick Mode share: one message at a time, repeated until it is answered. No I/O."""

from __future__ import annotations

from hashlib import sha256

from nodes.ike.isakmp_sa import IsakmpSa
from nodes.ike.messages.malformed import MalformedError, NotifyType
from nodes.ike.misbehaviour import Conduct
from nodes.ike.retransmission import Retransmission

NONCE = 32
"""Octets of our nonces."""
LEAST_NONCE, MOST_NONCE = 8, 256
"""Octets of a nonce (RFC 2409, section 5)."""
MAX_REPEATS = 10
"""How often a message that came again is answered again."""
MAX_GARBAGE = 20
"""Messages of one exchange that cannot be read, after which no more are tried."""
NO_ANSWER = "the partner did not answer"


class Failure(Exception):
    """The negotiation cannot go on; the partner is told by ``notify``, if there is one."""

    def __init__(self, reason: str, notify: NotifyType | None = None) -> None:
        super().__init__(reason)
        self.notify = notify


def check_nonce(nonce: bytes) -> bytes:
    """A nonce of an allowed size.

    Raises:
        MalformedError: it is too short or too long.
    """
    if not LEAST_NONCE <= len(nonce) <= MOST_NONCE:
        raise MalformedError(f"a nonce of {len(nonce)} octets")
    return nonce


class Exchange:
    """One exchange, as one side goes through it.

    A message that comes again means that our answer was lost: it is sent again, and no state moves.

    Args:
        sa: the ISAKMP SA.
        conduct: how we behave.
    """

    def __init__(self, sa: IsakmpSa, conduct: Conduct) -> None:
        self.sa = sa
        self.conduct = conduct
        self._heard = b""
        self._last_sent = b""
        self._repeats = 0
        self._garbage = 0
        self._retransmission: Retransmission | None = None

    def _is_repeated(self, datagram: bytes) -> bool:
        """Whether a message is the partner's last one again; then our answer is repeated."""
        if sha256(datagram).digest() != self._heard:
            return False
        if self._last_sent and self._repeats < MAX_REPEATS:
            self._repeats += 1
            self.sa.transmit(self._last_sent)
        return True

    def _take(self, datagram: bytes) -> None:
        """A message was taken: it is the partner's last one now."""
        self._heard = sha256(datagram).digest()

    def _check_garbage(self) -> None:
        """See to it that not too much is tried.

        Raises:
            MalformedError: so many messages of this exchange could not be read that no more are tried.
        """
        if self._garbage >= MAX_GARBAGE:
            raise MalformedError("too many messages of this exchange that could not be read")

    def _transmit(self, datagram: bytes, number: int, *, answered: bool) -> None:
        """Send our message of this number; if it is to be ``answered``, again until it is."""
        self._stop_retransmitting()
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
        self.sa.context.gate.unanswered(self.sa.profile.peer)
        if not self.conduct.silent:
            self.sa.transmit(self._last_sent)

    def _nobody_answered(self) -> None:
        """What was sent as often as it may be was not answered."""
        raise NotImplementedError

    def _stop_retransmitting(self) -> None:
        if self._retransmission is not None:
            self._retransmission.stop()
            self._retransmission = None
