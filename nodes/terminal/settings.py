"""What a terminal's core can be told about itself. No I/O."""

from __future__ import annotations

import msgspec

from nodes import errors
from nodes.terminal.actions import Carriage
from nodes.terminal.header import ASKED
from nodes.terminal.plan import NS_PER_MS, NS_PER_S


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Times in ns, numbers of things at once.

    Attributes:
        carriage: how messages travel at first.
        option_type: of the destination option that carries them.
        fallback: whether they travel by UDP too, once nothing came back by :attr:`Carriage.OPTION`.
        fallback_after: how long that takes.
        retry_least: a message is repeated after this time or up to ``retry_most``, by chance, or after the
            partner's round-trip timeout where that is longer;
        retry_most: after eight times the interval doubles each time, up to ``retry_slow``.
        retry_slow: see above.
        answer_timeout: how long a question is repeated before it counts as not answered.
        recognition: how long after an ICMPv6 error a true answer may still come.
        grace: the least time between both ends' switch and the close; at least 2 RTT where that is longer.
        hold: how long a backup session stands after the first address should have ended.
        keep_most: how long an address is kept at most for services that could not leave it.
        linger: how long the rewriting of a service that ended goes on.
        announce: a partner learns of the second address also while no service runs with it.
        move_ports: at the second address services bear other ports.
        flow_labels: a fresh flow label for each service in each hop.
        most_hops: hops under way.
        most_services: services known.
        most_contexts: hops of one partner under way.
        most_closed: hops of all partners that are remembered after their close.
    """

    carriage: Carriage = Carriage.OPTION
    option_type: int = ASKED
    fallback: bool = False
    fallback_after: int = 250 * NS_PER_MS
    retry_least: int = 10 * NS_PER_MS
    retry_most: int = 20 * NS_PER_MS
    retry_slow: int = 500 * NS_PER_MS
    answer_timeout: int = NS_PER_S
    recognition: int = 100 * NS_PER_MS
    grace: int = 20 * NS_PER_MS
    hold: int = 60 * NS_PER_S
    keep_most: int = 600 * NS_PER_S
    linger: int = 2 * NS_PER_S
    announce: bool = True
    move_ports: bool = False
    flow_labels: bool = False
    most_hops: int = 8
    most_services: int = 8192
    most_contexts: int = 64
    most_closed: int = 1024

    def __post_init__(self) -> None:
        if not 0 < self.retry_least <= self.retry_most <= self.retry_slow:
            raise errors.ParameterError("the intervals of repetition are positive, the least first")
        if self.answer_timeout < 4 * self.retry_most:
            raise errors.ParameterError(
                f"answer_timeout {self.answer_timeout / NS_PER_MS:g} ms leaves no room for repetition: "
                f"at least {4 * self.retry_most / NS_PER_MS:g} ms"
            )
        if self.fallback and self.carriage is not Carriage.OPTION:
            raise errors.ParameterError("fallback: from the option to UDP, so carriage=option")
        if self.fallback and self.fallback_after >= self.answer_timeout:
            raise errors.ParameterError("fallback_after must be shorter than answer_timeout")
        if min(self.grace, self.hold, self.keep_most, self.linger, self.recognition) < 0:
            raise errors.ParameterError("times are not negative")
        if min(self.most_hops, self.most_services, self.most_contexts, self.most_closed) < 1:
            raise errors.ParameterError("bounds are at least 1")
