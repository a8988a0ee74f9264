"""The second terminal: answers a partner whose address ends (seed, claims 6 and 7). No I/O.

State comes into being only after a MAC was right, is bounded for each partner, and has an end. Nothing of a
service is sent to a second address before a message came from there that bears the cookie that was sent
there.
"""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import Any

from nodes.terminal.actions import Flow, RetireRemote, Send
from nodes.terminal.arrival import Arrival
from nodes.terminal.context_table import ContextTable
from nodes.terminal.contexts import Context, Record, Stage
from nodes.terminal.cookies import LIFETIME, Cookies
from nodes.terminal.determination import Determination
from nodes.terminal.keys import Direction, Leg
from nodes.terminal.limits import SourceLimit
from nodes.terminal.message import MOST_RESULTS, Code, Kind, Message, Result, encode
from nodes.terminal.pairs import Pair
from nodes.terminal.surroundings import Surroundings

_CLOSED_LINGER = LIFETIME + 2_000_000_000
_MOST_SOURCES = 16
_COOKIE_RATE = 500
_COOKIE_BURST = 500
_COOKIE_SOURCES = 4096


class SecondTerminal:
    """All hops of partners that this terminal takes part in.

    Attributes:
        contexts: their state.
    """

    def __init__(self, surroundings: Surroundings) -> None:
        self._in = surroundings
        self.contexts = ContextTable(surroundings)
        self._cookies = Cookies(surroundings.octets)
        self._cookie_limit = SourceLimit(_COOKIE_RATE, _COOKIE_BURST, _COOKIE_SOURCES)
        self._determination = Determination(surroundings)

    # the request

    def take_request(self, context: Context, message: Message, arrival: Arrival) -> None:
        """Answer which of the services support updating (the first determination)."""
        if arrival.source not in context.sources:
            if len(context.sources) >= _MOST_SOURCES or context.closed:
                return
            context.sources.append(arrival.source)
        addresses = (arrival.source, arrival.destination)
        results: list[Result] = []
        for listed in message.services:
            code = self._determination.determine(
                context, self.contexts.keys(context), message.flags, listed, addresses, arrival.now
            )
            if code is not None:
                results.append(Result(listed.id, code))
        self._answer(context, arrival, arrival.source, tuple(results), message.sequence)

    def _answer(
        self,
        context: Context,
        arrival: Arrival,
        first: IPv6Address,
        results: tuple[Result, ...] = (),
        answered: int | None = None,
    ) -> None:
        """Send a response, with the cookie that shows that the partner receives at this first address."""
        self._send(
            context,
            Leg.FIRST,
            arrival,
            Kind.UPDATE_RESPONSE,
            to=first,
            flags=self._in.policy.capability,
            results=results,
            cookies=(self._cookies.make(Leg.FIRST, context.number, first, arrival.now),),
            answered=answered,
        )

    # the backup session

    def take_backup_request(self, context: Context, message: Message, arrival: Arrival) -> None:
        """Establish the backup session for the services listed, once the partner surely receives there."""
        source, now = arrival.source, arrival.now
        if context.closed:
            return
        if source != context.second:
            self._in.dropped["backup request from an address that was not sealed"] += 1
            return
        if not context.validated:
            shown = message.cookies[1] if len(message.cookies) > 1 else b""
            if not self._cookies.right(shown, Leg.SECOND, context.number, source, now):
                self._ask_for_cookie(context, arrival)
                return
        records = [record for number in message.ids if (record := context.records.get(number)) is not None]
        for sources in [record.sources for record in records] or [context.sources]:
            if not self._proven(context, sources, message.cookies[:1], now):
                self._in.dropped["backup request without proof of the first address"] += 1
                if sources and self._cookie_limit.allows(source, now):
                    # too old a proof, or one of before a restart: a fresh one goes to the first address
                    self._answer(context, arrival, sources[-1])
                return
        if not context.validated:
            context.validated = True
            self._in.pairs[context.pair].arrived(context.second)
        context.until = max(context.until, self.contexts.until(message.lifetimes, now))
        results = tuple(Result(record.id, self._prepare(context, record, now)) for record in records)
        for at in range(0, len(results) or 1, MOST_RESULTS):
            self._send(
                context,
                Leg.SECOND,
                arrival,
                Kind.BACKUP_RESPONSE,
                answered=message.sequence,
                results=results[at : at + MOST_RESULTS],
            )

    def _proven(
        self, context: Context, sources: list[IPv6Address], cookies: tuple[bytes, ...], now: int
    ) -> bool:
        """Whether the partner is known to receive at one of these first addresses, or shows it now."""
        if any(source in context.proven for source in sources):
            return True
        for cookie in cookies:
            for source in sources:
                if self._cookies.right(cookie, Leg.FIRST, context.number, source, now):
                    context.proven.append(source)
                    return True
        return False

    def _prepare(self, context: Context, record: Record, now: int) -> Code:
        if record.stage is not Stage.ANSWERED:
            return Code.SUPPORTED
        services = self._in.services
        tracked = services.get(record.flow)
        if tracked is None or tracked.ended is not None:
            return Code.NO_SUCH_FLOW
        if tracked.pair not in (None, context.pair):
            return Code.NO_SUCH_FLOW
        if not services.accept(tracked, tracked.remote, record.target):
            return Code.NO_ROOM
        tracked.pair = context.pair
        record.stage = Stage.PREPARED
        record.turn = now
        return Code.SUPPORTED

    def _ask_for_cookie(self, context: Context, arrival: Arrival) -> None:
        """Nothing but this goes to an address that is not validated: no larger than what came from there."""
        if not self._cookie_limit.allows(arrival.source, arrival.now):
            self._in.dropped["too many backup requests without a cookie"] += 1
            return
        cookie = self._cookies.make(Leg.SECOND, context.number, arrival.source, arrival.now)
        self._send(
            context,
            Leg.SECOND,
            arrival,
            Kind.ERROR,
            results=(Result(0, Code.COOKIE_NEEDED),),
            cookies=(cookie,),
        )

    # switch and close

    def take_switch(self, context: Context, message: Message, arrival: Arrival) -> None:
        """Send to the second address from now on."""
        if arrival.source != context.second or not context.validated or context.closed:
            return
        done: list[int] = []
        services = self._in.services
        for number in message.ids:
            record = context.records.get(number)
            if record is None or record.stage is Stage.ANSWERED:
                continue
            tracked = services.get(record.flow)
            if record.stage is Stage.PREPARED:
                record.stage = Stage.SWITCHED
                record.turn = arrival.now
                if tracked is not None:
                    record.left = tracked.remote.current
                    services.switch(tracked, tracked.remote, record.target)
                    self._in.fresh_label(tracked)
            done.append(number)
        context.until = max(context.until, arrival.now + self._in.settings.hold)
        if done or not message.ids:
            answered = message.sequence
            self._send(context, Leg.SECOND, arrival, Kind.SWITCH_ACK, ids=tuple(done), answered=answered)

    def take_close(self, context: Context, message: Message, arrival: Arrival) -> None:
        """Forget the first address."""
        if arrival.source != context.second:
            return
        self._end(context, arrival.now)
        # an answer goes only to where the partner is known to receive
        if context.validated:
            self._send(context, Leg.SECOND, arrival, Kind.CLOSE, answered=message.sequence)

    def _end(self, context: Context, now: int) -> None:
        if context.closed:
            return
        context.closed = True
        context.until = now + _CLOSED_LINGER
        services = self._in.services
        for record in context.records.values():
            tracked = services.get(record.flow)
            if tracked is None:
                continue
            if record.stage is Stage.SWITCHED and record.left is not None:
                services.refuse(tracked, tracked.remote, record.left)
            elif record.stage is Stage.PREPARED:
                services.refuse(tracked, tracked.remote, record.target)
        context.records.clear()
        context.unknown.clear()
        if context.validated:
            for first in context.proven:
                self.left(self._in.pairs[context.pair], first)

    def left(self, pair: Pair, address: IPv6Address) -> None:
        """A partner may have left an address: retire it if no service is there any more."""
        there = self._in.services.with_remote(address)
        if address == pair.address or any(tracked.ended is None for tracked in there):
            return
        for tracked in there:
            self._in.services.remove(tracked)
        pair.left(address)
        self._in.outbox.act(RetireRemote(address=address))

    # time and trouble

    def tick(self, now: int) -> None:
        """End what nothing more came for."""
        for context in [one for one in self.contexts if one.until <= now]:
            if context.closed:
                self.contexts.forget(context)
            else:
                self._end(context, now)

    def next_wake(self) -> int | None:
        """When something is due next."""
        return min((context.until for context in self.contexts), default=None)

    def rewrite_failed(self, flow: Flow, turn: int) -> None:
        """The data plane did not take the last change of a flow: the step is taken back."""
        tracked = self._in.services.get(flow)
        if tracked is None:
            return
        for context in self.contexts:
            for record in context.records.values():
                if record.flow != flow or record.turn != turn:
                    continue
                if record.stage is Stage.SWITCHED and record.left is not None:
                    self._in.services.switch(tracked, tracked.remote, record.left)
                    record.stage, record.left = Stage.PREPARED, None
                elif record.stage is Stage.PREPARED:
                    self._in.services.refuse(tracked, tracked.remote, record.target)
                    record.stage = Stage.ANSWERED

    def _send(
        self,
        context: Context,
        leg: Leg,
        arrival: Arrival,
        kind: Kind,
        *,
        to: IPv6Address | None = None,
        **fields: Any,
    ) -> None:
        """Answer what came, in its carriage: to where it came from, or elsewhere."""
        keys = self.contexts.keys(context)
        numbering = context.numbering[leg - 1]
        if numbering.began < 0:
            numbering.began = arrival.now
        sequence = numbering.next(arrival.now)
        octets = encode(Message(kind=kind, context=keys.on(leg), sequence=sequence, **fields))
        source, destination = arrival.destination, to or arrival.source
        whole = octets + keys.mac(leg, Direction.BACK, source, destination, octets)
        self._in.outbox.act(
            Send(source=source, destination=destination, message=whole, carriage=arrival.carriage)
        )
