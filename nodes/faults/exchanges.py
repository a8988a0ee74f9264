"""Which message of its exchange an IKE message is, told without keys, as one node sees it. No I/O.

IKEv1 goes in lockstep: a side's next message is the one after the other side's last, whatever it says inside
(main mode 1 to 6, aggressive mode and Quick Mode 1 to 3; RFC 2409 §5). An informational exchange of IKEv1 is
one message. IKEv2 goes in pairs, told by the flag R and the message ID (RFC 7296 §2.1, §2.2): 1 is the
request, 2 the response; ``ike-auth`` and ``ike-sa-init`` go on counting in further round trips (EAP, and a
first message that is repeated with a cookie or for another group).
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from typing import NamedTuple

from nodes.faults.messages import Exchange, IkeMessage

MOST_EXCHANGES = 2048
"""Exchanges that are remembered, about 1 kB each; beyond that the one heard of longest ago is forgotten. No
daemon retransmits for longer than 165 s (charon's own settings): that is twelve new exchanges a second."""
_MOST_MESSAGES = 64


class Sighting(NamedTuple):
    """A message in its place.

    Attributes:
        exchange: a number that each different exchange has of its own.
        message: a number that each different message has of its own; fragments and retransmissions share it.
        number: of the message in the exchange, from 1.
        retransmission: the same octets were seen before.
    """

    exchange: int
    message: int
    number: int
    retransmission: bool


@dataclasses.dataclass
class _Message:
    serial: int
    number: int
    message_id: int
    second_side: bool
    parts: dict[int, bytes]
    """The digest of each fragment seen; of the whole message under 0."""

    def goes_on_with(self, message: IkeMessage) -> bool:
        """Whether ``message`` is one more fragment of this one."""
        return (
            message.fragment > 0
            and message.message_id == self.message_id
            and 0 not in self.parts
            and message.fragment not in self.parts
        )


@dataclasses.dataclass
class _Exchange:
    serial: int
    first_message_id: int
    messages: list[_Message] = dataclasses.field(default_factory=list)


class Tracker:
    """Numbers the messages that go out from a node and come in to it, in the order in which it sees them."""

    def __init__(self, most: int = MOST_EXCHANGES) -> None:
        self._exchanges: OrderedDict[tuple[object, ...], _Exchange] = OrderedDict()
        self._most = most
        self._serials = 0
        self._messages = 0

    def see(self, message: IkeMessage, *, outgoing: bool) -> Sighting:
        """Put a message in its place; ``outgoing`` tells the two sides apart."""
        exchange = self._exchange(_key(message, outgoing=outgoing), message)
        # IKEv2 says itself which side of the exchange it is
        second_side = message.response if message.version == 2 else outgoing
        own = [seen for seen in exchange.messages if seen.second_side == second_side]
        for seen in own:
            if seen.parts.get(message.fragment) == message.digest:
                return Sighting(exchange.serial, seen.serial, seen.number, retransmission=True)
        if own and own[-1].goes_on_with(message):
            own[-1].parts[message.fragment] = message.digest
            return Sighting(exchange.serial, own[-1].serial, own[-1].number, retransmission=False)
        self._messages += 1
        number = _number(message, exchange, second_side=second_side)
        parts = {message.fragment: message.digest}
        exchange.messages.append(_Message(self._messages, number, message.message_id, second_side, parts))
        del exchange.messages[:-_MOST_MESSAGES]
        return Sighting(exchange.serial, self._messages, number, retransmission=False)

    def _exchange(self, key: tuple[object, ...], message: IkeMessage) -> _Exchange:
        found = self._exchanges.get(key)
        if found is None:
            self._serials += 1
            found = self._exchanges[key] = _Exchange(self._serials, message.message_id)
            if len(self._exchanges) > self._most:
                self._exchanges.popitem(last=False)
        else:
            self._exchanges.move_to_end(key)
        return found


def _key(message: IkeMessage, *, outgoing: bool) -> tuple[object, ...]:
    """What tells exchanges apart: an SA's first messages do not have the responder's SPI yet."""
    kind = (message.version, message.exchange, message.initiator_spi)
    if message.exchange in (Exchange.MAIN_MODE, Exchange.AGGRESSIVE_MODE):
        return kind
    if message.exchange in (Exchange.IKE_SA_INIT, Exchange.IKE_AUTH):
        return kind
    within = (*kind, message.responder_spi, message.message_id)
    if message.version == 2:
        return (*within, message.from_initiator != message.response)  # each side counts its own requests
    if message.exchange is Exchange.INFORMATIONAL:
        return (*within, outgoing, message.digest)  # in clear all may have the message ID 0
    return within


def _number(message: IkeMessage, exchange: _Exchange, *, second_side: bool) -> int:
    others = [seen.number for seen in exchange.messages if seen.second_side != second_side]
    if message.version == 1:
        return max(others, default=0) + 1
    round_trips_before = 0
    if message.exchange is Exchange.IKE_AUTH:
        round_trips_before = max(message.message_id - exchange.first_message_id, 0)
    elif message.exchange is Exchange.IKE_SA_INIT:
        requests = len({seen.number for seen in exchange.messages if not seen.second_side})
        round_trips_before = max(requests - 1, 0) if message.response else requests
    return 2 * round_trips_before + (2 if message.response else 1)
