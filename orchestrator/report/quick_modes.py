"""The Quick Modes of a capture: when each of their three messages was first seen (RFC 2409, 5.5). No I/O."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

from orchestrator.report.ladder import IkeMessage

QUICK_MODE = "Quick Mode"


class Sighting(NamedTuple):
    """A packet: its number in the capture, and CLOCK_MONOTONIC."""

    packet: int
    time_ns: int


@dataclasses.dataclass(kw_only=True)
class QuickMode:
    """One Quick Mode; a message that never came by is None.

    Attributes:
        message_id: the exchange's, from the header.
        first, third: from the initiator. A message that was lost shows by its retransmission, if by that.
        second: from the responder.
    """

    message_id: int
    first: Sighting
    second: Sighting | None = None
    third: Sighting | None = None

    @property
    def third_after_ms(self) -> float | None:
        """How long after the second message the third one came by; None where either never did."""
        if self.second is None or self.third is None:
            return None
        return (self.third.time_ns - self.second.time_ns) / 1e6


def quick_modes(messages: Iterable[IkeMessage], initiator: str) -> list[QuickMode]:
    """The Quick Modes that the node ``initiator`` began, in the order of time.

    Whose message it is says its place: the initiator's are the first and the third.

    Args:
        messages: of the capture, in the order of time.
        initiator: the node's name.
    """
    found: dict[object, QuickMode | None] = {}
    for message in messages:
        if message.version != 1 or message.exchange != QUICK_MODE or message.repeats is not None:
            continue
        seen = Sighting(message.packet, message.time_ns)
        ours = message.source == initiator
        if message.key not in found:
            found[message.key] = QuickMode(message_id=message.message_id, first=seen) if ours else None
            continue
        exchange = found[message.key]
        if exchange is None:
            continue
        if ours:
            exchange.third = exchange.third or seen
        else:
            exchange.second = exchange.second or seen
    return [exchange for exchange in found.values() if exchange is not None]
