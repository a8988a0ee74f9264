"""What a message passes before a terminal believes it: context, limit, MAC, kind, replay window. No I/O.

All octets here are a stranger's until the MAC was right. What is not taken is counted in
:attr:`~nodes.terminal.surroundings.Surroundings.dropped`, by why.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv6Address

from nodes.terminal.actions import Unrecognised
from nodes.terminal.arrival import Arrival
from nodes.terminal.contexts import Context
from nodes.terminal.first import FirstTerminal
from nodes.terminal.header import FormatError, quoted_datagram, quoted_option
from nodes.terminal.hops import Exchange, Hop
from nodes.terminal.keys import Direction, Leg
from nodes.terminal.limits import SourceLimit
from nodes.terminal.message import Kind, Message, context_of, decode
from nodes.terminal.second import SecondTerminal
from nodes.terminal.surroundings import Surroundings

NEW_CONTEXT_RATE = 500
"""MACs that are looked at in a second for messages of a source that begin a context."""
NEW_CONTEXT_BURST = 500
_SOURCES = 4096

_BACK = {Kind.UPDATE_RESPONSE: Leg.FIRST}
_BACK |= dict.fromkeys((Kind.BACKUP_RESPONSE, Kind.SWITCH_ACK, Kind.CLOSE, Kind.ERROR), Leg.SECOND)
_FORWARD = {Kind.UPDATE_REQUEST: Leg.FIRST}
_FORWARD |= dict.fromkeys((Kind.BACKUP_REQUEST, Kind.SWITCH, Kind.CLOSE), Leg.SECOND)
"""The messages of each direction, with the leg that they travel on."""


class Reception:
    """Takes messages, and ICMPv6 errors that quote one.

    Args:
        surroundings: the node's.
        first: takes answers.
        second: takes questions.

    Attributes:
        limit: of the messages that begin a context, by source.
    """

    def __init__(self, surroundings: Surroundings, first: FirstTerminal, second: SecondTerminal) -> None:
        self._in = surroundings
        self._first = first
        self._second = second
        self.limit = SourceLimit(NEW_CONTEXT_RATE, NEW_CONTEXT_BURST, _SOURCES)

    def context(self, octets: bytes) -> tuple[int, int] | None:
        """The kind and the context that octets claim to be of; None: they are no message."""
        seen = context_of(octets)
        if seen is None:
            self._in.dropped["no message"] += 1
        return seen

    def take(self, kind: int, number: int, arrival: Arrival) -> None:
        """Take a message of this kind and context: an answer, a question, or the beginning of a context."""
        place = self._first.exchanges.place(number)
        context = self._second.contexts.place(number)
        if place is not None:
            self._take_answer(*place, arrival)
        elif context is not None:
            self._take_known(*context, arrival)
        elif kind == Kind.UPDATE_REQUEST:
            self._take_new(number, arrival)
        else:
            self._in.dropped["no such context"] += 1

    def unrecognised(
        self, error: Unrecognised, source: IPv6Address, quoted: bytes
    ) -> tuple[Hop, Exchange] | None:
        """The exchange whose request an ICMPv6 error truly quotes; None: the error is not believed."""
        option = error is Unrecognised.PARAMETER_PROBLEM
        try:
            packet = quoted_option(quoted) if option else quoted_datagram(quoted)
        except FormatError:
            self._in.dropped["error that quotes no message"] += 1
            return None
        seen = context_of(packet.data)
        place = (
            None if seen is None or seen[0] != Kind.UPDATE_REQUEST else self._first.exchanges.place(seen[1])
        )
        if place is None or place[2] is not Leg.FIRST or source != packet.destination:
            self._in.dropped["error that quotes no message of ours"] += 1
            return None
        hop, exchange, leg = place
        keys = self._first.asking.keys(exchange)
        if not keys.verifies(leg, Direction.FORWARD, packet.source, packet.destination, packet.data):
            self._in.dropped["error that quotes no message of ours"] += 1
            return None
        return hop, exchange

    def _take_answer(self, hop: Hop, exchange: Exchange, leg: Leg, arrival: Arrival) -> None:
        if not arrival.verified(self._first.asking.keys(exchange), leg, Direction.BACK):
            self._in.dropped["wrong MAC"] += 1
            return
        message = self._read(arrival.octets, _BACK, leg)
        if message is None:
            return
        if not exchange.windows[leg - 1].take(message.sequence):
            self._in.dropped["replayed"] += 1
            return
        self._first.answers.take(exchange, message, arrival)
        self._first.answered(hop, exchange, arrival.now)

    def _take_known(self, context: Context, leg: Leg, arrival: Arrival) -> None:
        if not arrival.verified(self._second.contexts.keys(context), leg, Direction.FORWARD):
            self._in.dropped["wrong MAC"] += 1
            return
        self._take_question(context, leg, arrival)

    def _take_new(self, number: int, arrival: Arrival) -> None:
        """A request that may begin a context: a cheap look, the limit, the MAC, and only then state."""
        pair = self._in.pairs.of_context(number, arrival.source)
        if pair is None:
            self._in.dropped["no context of a pair"] += 1
            return
        if not self.limit.allows(arrival.source, arrival.now):
            self._in.dropped["too many from one source"] += 1
            return
        keys = pair.keys.context(number)
        if not arrival.verified(keys, Leg.FIRST, Direction.FORWARD):
            self._in.dropped["wrong MAC"] += 1
            return
        message = self._read(arrival.octets, _FORWARD, Leg.FIRST)
        if message is None:
            return
        context = self._second.contexts.begin(pair, keys, message, arrival.source, arrival.now)
        if context is not None:
            self._take_question(context, Leg.FIRST, arrival)

    def _take_question(self, context: Context, leg: Leg, arrival: Arrival) -> None:
        message = self._read(arrival.octets, _FORWARD, leg)
        if message is None:
            return
        if not context.windows[leg - 1].take(message.sequence):
            self._in.dropped["replayed"] += 1
            return
        pair = self._in.pairs[context.pair]
        pair.silent = False
        pair.carriage = arrival.carriage
        if message.kind is Kind.UPDATE_REQUEST:
            self._second.take_request(context, message, arrival)
        elif message.kind is Kind.BACKUP_REQUEST:
            self._second.take_backup_request(context, message, arrival)
        elif message.kind is Kind.SWITCH:
            self._second.take_switch(context, message, arrival)
        else:
            self._second.take_close(context, message, arrival)

    def _read(self, octets: bytes, kinds: Mapping[Kind, Leg], leg: Leg) -> Message | None:
        """The message, if it is one of these kinds and on its leg."""
        try:
            message = decode(octets)
        except FormatError:
            self._in.dropped["malformed"] += 1
            return None
        if kinds.get(message.kind) is not leg:
            self._in.dropped["not in this direction"] += 1
            return None
        return message
