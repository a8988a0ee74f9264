"""How often a sender began to negotiate, from the messages that it sent. No I/O.

An attempt is what costs both ends and the network: a new IKE SA, known by the initiator's cookie that the
sender chose for it; or, within an IKE SA that stands, another negotiation of a CHILD_SA (Quick Mode,
CREATE_CHILD_SA). The first negotiation of a CHILD_SA in an IKE SA belongs to the attempt that made it.
A message that is sent again is no new attempt.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Iterable
from typing import NamedTuple

from orchestrator.capture.ike_messages import IkeMessage

_NO_SPI = bytes(8)
_QUICK_MODE, _CREATE_CHILD_SA = 32, 36
_RESPONSE = 0x20


class Attempt(NamedTuple):
    """When an attempt began, in ns as the messages have it, and the cookie of its IKE SA."""

    time_ns: int
    initiator_spi: bytes


def attempts(messages: Iterable[IkeMessage], sender: ipaddress.IPv6Address) -> list[Attempt]:
    """The attempts that ``sender`` began, in the order of the messages."""
    found: list[Attempt] = []
    begun: dict[bytes, ipaddress.IPv6Address] = {}
    """Who began each IKE SA."""
    children: set[tuple[bytes, int]] = set()
    with_child: set[bytes] = set()
    for message in messages:
        spi, child = message.initiator_spi, (message.initiator_spi, message.message_id)
        first = message.responder_spi == _NO_SPI and spi not in begun
        begun.setdefault(spi, message.source)
        if first and message.source == sender:
            found.append(Attempt(message.time_ns, spi))
        elif _is_child(message) and child not in children:
            children.add(child)
            belongs = message.version == 1 and begun[spi] == sender and spi not in with_child
            with_child.add(spi)
            if message.source == sender and not belongs:
                found.append(Attempt(message.time_ns, spi))
    return found


def _is_child(message: IkeMessage) -> bool:
    """Whether it begins, or goes on with, the negotiation of a CHILD_SA in an IKE SA."""
    if message.version == 1:
        return message.exchange == _QUICK_MODE
    return message.exchange == _CREATE_CHILD_SA and not message.flags & _RESPONSE


def spacings(found: Iterable[Attempt]) -> list[float]:
    """The times from each attempt to the next, in seconds."""
    times = [attempt.time_ns for attempt in found]
    return [(later - earlier) / 1e9 for earlier, later in itertools.pairwise(times)]
