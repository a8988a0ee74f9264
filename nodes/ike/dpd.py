"""Dead peer detection (RFC 3706): asked of a partner that has been silent, by one ISAKMP SA. No I/O."""

from __future__ import annotations

from collections.abc import Callable

from nodes.ike.isakmp_sa import IsakmpSa
from nodes.ike.messages.malformed import NotifyType
from nodes.ike.messages.notification import Notification, encode_notification
from nodes.ike.messages.payloads import Payload, PayloadType
from nodes.ike.messages.sa_payload import Protocol
from nodes.ike.timers import Timer

_SEQUENCE = 4


class DeadPeerDetection:
    """Asks, answers, and tells when the partner is dead.

    Args:
        sa: the ISAKMP SA, established, with a partner that announced DPD.
        delay: seconds of silence after which it is asked; 0 is never.
        timeout: seconds from the first question until it is dead; 0 is as long as a message is sent again.
        last_esp: tells when the last ESP packet came: traffic is as good as an answer (section 5.5).
        dead: called once.
    """

    def __init__(
        self,
        sa: IsakmpSa,
        delay: float,
        timeout: float,
        *,
        last_esp: Callable[[Callable[[float], None]], None],
        dead: Callable[[], None],
    ) -> None:
        self._sa = sa
        self._delay = delay
        self._schedule = sa.context.options.schedule
        self._timeout = timeout or self._schedule.total
        self._last_esp = last_esp
        self._dead = dead
        self._sequence = int.from_bytes(sa.context.random(_SEQUENCE), "big") & 0x7FFF_FFFF
        self._heard_sequence: int | None = None
        self._asked_at: float | None = None
        self._asked = 0
        self._timer: Timer | None = None
        self._await_silence()

    def stop(self) -> None:
        """Ask no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._delay = 0

    def heard(self) -> None:
        """The partner has shown that it lives."""
        if self._asked_at is not None:
            self._asked_at, self._asked = None, 0
            self._sequence = (self._sequence + 1) & 0xFFFF_FFFF
            self._await_silence()

    def asked(self, data: bytes) -> None:
        """Take R-U-THERE, and answer it; one that was answered before is a replay, and is left alone."""
        if len(data) != _SEQUENCE:
            return
        self._heard_sequence = int.from_bytes(data, "big")
        self._say(NotifyType.R_U_THERE_ACK, data)

    def answered(self, data: bytes) -> bool:
        """Take R-U-THERE-ACK; False: it is no answer to what was asked."""
        if self._asked_at is None or data != self._sequence.to_bytes(_SEQUENCE, "big"):
            return False
        self.heard()
        return True

    def _await_silence(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._delay:
            due = max(self._sa.context.now, self._sa.last_heard + self._delay)
            self._timer = self._sa.context.timers.at(due, self._look)

    def _look(self) -> None:
        self._timer = None
        self._last_esp(self._looked)

    def _looked(self, last_esp: float) -> None:
        context = self._sa.context
        self._sa.last_heard = max(self._sa.last_heard, min(last_esp, context.now))
        if not self._delay or self._asked_at is not None or self._timer is not None:
            return  # it was stopped, or somebody was quicker
        if context.now < self._sa.last_heard + self._delay:
            self._await_silence()
        else:
            self._asked_at = context.now
            self._ask()

    def _ask(self) -> None:
        context = self._sa.context
        assert self._asked_at is not None
        if context.now >= self._asked_at + self._timeout:
            self._timer = None
            self._dead()
            return
        self._say(NotifyType.R_U_THERE, self._sequence.to_bytes(_SEQUENCE, "big"))
        again = context.now + self._schedule.interval(self._asked)
        self._asked += 1
        self._timer = context.timers.at(min(again, self._asked_at + self._timeout), self._ask)

    def _say(self, type_: NotifyType, data: bytes) -> None:
        about = Notification(Protocol.ISAKMP, b"".join(self._sa.cookies), type_, data)
        self._sa.inform(Payload(PayloadType.NOTIFICATION, encode_notification(about)))
