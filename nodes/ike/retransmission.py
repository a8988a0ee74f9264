"""Retransmission of one message until it is answered, or until its sender gives up. No I/O."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from nodes.ike.timers import Timer, Timers


@dataclasses.dataclass(frozen=True)
class Schedule:
    """When a message is sent again: strongSwan's rule, so that both can be compared.

    Attributes:
        timeout: seconds until the first retransmission.
        base: the factor between intervals.
        tries: retransmissions before giving up.
    """

    timeout: float = 4.0
    base: float = 1.8
    tries: int = 5

    def interval(self, sent: int) -> float:
        """Seconds to wait after a message has been sent again ``sent`` times."""
        return self.timeout * self.base**sent

    @property
    def total(self) -> float:
        """Seconds from the first transmission until giving up."""
        return sum(self.interval(sent) for sent in range(self.tries + 1))


class Retransmission:
    """A message on its way.

    Args:
        timers: of the endpoint.
        schedule: when it is sent again.
        send: sends it once more.
        give_up: called when nobody has answered.
    """

    def __init__(
        self, timers: Timers, schedule: Schedule, send: Callable[[], None], give_up: Callable[[], None]
    ) -> None:
        self._timers = timers
        self._schedule = schedule
        self._send = send
        self._give_up = give_up
        self._sent = 0
        self._timer: Timer | None = None

    def start(self, now: float) -> None:
        """The message was sent for the first time."""
        self._timer = self._timers.at(now + self._schedule.interval(0), lambda: self._again(self._due()))

    def stop(self) -> None:
        """It was answered, or nobody wants an answer any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due(self) -> float:
        assert self._timer is not None
        return self._timer.when

    def _again(self, now: float) -> None:
        if self._sent == self._schedule.tries:
            self._timer = None
            self._give_up()
            return
        self._sent += 1
        self._timer = self._timers.at(
            now + self._schedule.interval(self._sent), lambda: self._again(self._due())
        )
        self._send()
