"""The second terminal: answers a partner whose address ends (seed, claims 6 and 7). No I/O.

State comes into being only after a MAC was right, is bounded for each partner, and has an end. Nothing of a
service is sent to a second address before a message came from there that bears the cookie that was sent
there.
"""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import Any

from nodes.terminal.actions import Carriage, Endpoint, Flow, Path, RefreshFlows, RetireRemote, Send
from nodes.terminal.contexts import Context, Record, Stage
from nodes.terminal.cookies import LIFETIME, Cookies
from nodes.terminal.header import FormatError
from nodes.terminal.keys import ContextKeys, Direction, Leg
from nodes.terminal.limits import SourceLimit
from nodes.terminal.message import (
    MOST_RESULTS,
    Capability,
    Code,
    Kind,
    Lifetimes,
    Listed,
    Message,
    Result,
    encode,
)
from nodes.terminal.pairs import Pair
from nodes.terminal.plan import NS_PER_MS, capability, usable
from nodes.terminal.replay import Numbering, Window
from nodes.terminal.surroundings import Surroundings, target

UNKNOWN_WAIT = 60 * NS_PER_MS
"""How long a flow may be missing from the inventory before it counts as no such flow."""
_REFRESH_AGAIN = 15 * NS_PER_MS
_CLOSED_LINGER = LIFETIME + 2_000_000_000
_MOST_SOURCES = 16
_MOST_UNKNOWN = 256
_MOST_REMAINING = 31 * 86_400_000
_COOKIE_RATE = 500
_COOKIE_BURST = 500
_COOKIE_SOURCES = 4096


class SecondTerminal:
    """All hops of partners that this terminal takes part in."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._in = surroundings
        self._cookies = Cookies(surroundings.octets)
        self._cookie_limit = SourceLimit(_COOKIE_RATE, _COOKIE_BURST, _COOKIE_SOURCES)
        self.contexts: dict[int, Context] = {}
        self._keys: dict[int, ContextKeys] = {}
        self._by_number: dict[int, tuple[Context, Leg]] = {}
        self._refreshed = -_REFRESH_AGAIN

    def keys(self, context: Context) -> ContextKeys:
        """The context's keys."""
        found = self._keys.get(context.number)
        if found is None:
            found = self._in.pairs[context.pair].keys.context(context.number)
            self._keys[context.number] = found
        return found

    def place(self, number: int) -> tuple[Context, Leg] | None:
        """The context that has this number, and on which leg."""
        return self._by_number.get(number)

    def restore(self, contexts: list[Context]) -> None:
        """Take up partners' hops; those of partners that are no longer known are forgotten."""
        for context in contexts:
            if self._in.pairs.get(context.pair) is not None:
                self._add(context)

    def _add(self, context: Context) -> None:
        self.contexts[context.number] = context
        keys = self.keys(context)
        self._by_number[keys.number] = (context, Leg.FIRST)
        self._by_number[keys.second_number] = (context, Leg.SECOND)

    # the request

    def new_context(
        self, pair: Pair, keys: ContextKeys, message: Message, source: IPv6Address, now: int
    ) -> Context | None:
        """The state for an authentic request of a context that is not known; None: there will be none."""
        if message.sealed is None:
            self._in.dropped["request without a second address"] += 1
            return None
        try:
            second = keys.open(message.sealed)
        except FormatError:
            self._in.dropped["second address not sealed for this context"] += 1
            return None
        owner = self._in.pairs.at(second)
        if not usable(second) or second == source or (owner is not None and owner is not pair):
            self._in.dropped["second address of no use"] += 1
            return None
        if not self._has_room(pair):
            self._in.dropped["too many contexts of a partner"] += 1
            return None
        context = Context(
            pair=pair.name,
            number=keys.number,
            second=second,
            numbering=(Numbering(began=now), Numbering(began=-1)),
            windows=(Window(), Window()),
            until=self._until(message.lifetimes, now),
        )
        self._keys[context.number] = keys
        self._add(context)
        return context

    def take_request(
        self,
        context: Context,
        message: Message,
        source: IPv6Address,
        destination: IPv6Address,
        carriage: Carriage,
        now: int,
    ) -> None:
        """Answer which of the services support updating (the first determination)."""
        if source not in context.sources:
            if len(context.sources) >= _MOST_SOURCES or context.closed:
                return
            context.sources.append(source)
        results: list[Result] = []
        for listed in message.services:
            code = self._determine(context, message.flags, listed, source, destination, now)
            if code is not None:
                results.append(Result(listed.id, code))
        self._answer(context, (destination, source), carriage, now, tuple(results), message.sequence)

    def _answer(
        self,
        context: Context,
        addresses: tuple[IPv6Address, IPv6Address],
        carriage: Carriage,
        now: int,
        results: tuple[Result, ...],
        answered: int | None,
    ) -> None:
        """Send a response, with the cookie that shows that the partner receives at the first address."""
        self._send(
            context,
            Leg.FIRST,
            addresses,
            carriage,
            now,
            Kind.UPDATE_RESPONSE,
            flags=self._in.policy.capability,
            results=results,
            cookies=(self._cookies.make(Leg.FIRST, context.number, addresses[1], now),),
            answered=answered,
        )

    def _determine(
        self,
        context: Context,
        flags: Capability,
        listed: Listed,
        source: IPv6Address,
        destination: IPv6Address,
        now: int,
    ) -> Code | None:
        """The answer for one service; None: not yet, the inventory is asked first."""
        path = Path(Endpoint(destination, listed.remote_port), Endpoint(source, listed.local_port))
        tracked = self._in.services.on_path(listed.protocol, path)
        known = context.records.get(listed.id)
        if known is not None:
            if tracked is not None and tracked.flow == known.flow and source not in known.sources:
                known.sources.append(source)  # it left for another hop's address meanwhile
            return Code.SUPPORTED
        if tracked is None or tracked.ended is not None:
            first_asked = context.unknown.get(listed.id)
            if first_asked is None and len(context.unknown) < _MOST_UNKNOWN:
                first_asked = context.unknown[listed.id] = now
            if first_asked is None or now - first_asked >= UNKNOWN_WAIT:
                return Code.NO_SUCH_FLOW
            if now - self._refreshed >= _REFRESH_AGAIN:
                self._refreshed = now
                self._in.outbox.act(RefreshFlows())
            return None
        if tracked.pair is not None and tracked.pair != context.pair:
            return Code.NO_SUCH_FLOW  # another partner's: nobody else may take it
        changed = capability(source, context.second) | (flags & Capability.PORTS)
        allowed = self._in.policy.capability | Capability.PORTS
        if changed & ~flags or changed & ~allowed or not self._in.policy.supports(tracked.service):
            return Code.POLICY
        if listed.id == 0 or len(context.records) >= self._in.settings.most_services:
            return Code.NO_ROOM
        end = target(
            self.keys(context),
            tracked.flow,
            bool(flags & Capability.PORTS),
            listed.id,
            Endpoint(context.second, listed.local_port),
        )
        context.records[listed.id] = Record(
            id=listed.id, flow=tracked.flow, sources=[source], target=end, turn=now
        )
        context.unknown.pop(listed.id, None)
        return Code.SUPPORTED

    # the backup session

    def take_backup_request(
        self,
        context: Context,
        message: Message,
        source: IPv6Address,
        destination: IPv6Address,
        carriage: Carriage,
        now: int,
    ) -> None:
        """Establish the backup session for the services listed, once the partner surely receives there."""
        back = (destination, source)
        if context.closed:
            return
        if source != context.second:
            self._in.dropped["backup request from an address that was not sealed"] += 1
            return
        if not context.validated:
            shown = message.cookies[1] if len(message.cookies) > 1 else b""
            if not self._cookies.right(shown, Leg.SECOND, context.number, source, now):
                self._ask_for_cookie(context, back, carriage, now)
                return
        records = [record for number in message.ids if (record := context.records.get(number)) is not None]
        for sources in [record.sources for record in records] or [context.sources]:
            if not self._proven(context, sources, message.cookies[:1], now):
                self._in.dropped["backup request without proof of the first address"] += 1
                if sources and self._cookie_limit.allows(source, now):
                    # too old a proof, or one of before a restart: a fresh one goes to the first address
                    self._answer(context, (destination, sources[-1]), carriage, now, (), None)
                return
        if not context.validated:
            context.validated = True
            self._in.pairs[context.pair].arrived(context.second)
        context.until = max(context.until, self._until(message.lifetimes, now))
        results = tuple(Result(record.id, self._prepare(context, record, now)) for record in records)
        for at in range(0, len(results) or 1, MOST_RESULTS):
            self._send(
                context,
                Leg.SECOND,
                back,
                carriage,
                now,
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

    def _ask_for_cookie(
        self, context: Context, back: tuple[IPv6Address, IPv6Address], carriage: Carriage, now: int
    ) -> None:
        """Nothing but this goes to an address that is not validated: no larger than what came from there."""
        if not self._cookie_limit.allows(back[1], now):
            self._in.dropped["too many backup requests without a cookie"] += 1
            return
        cookie = self._cookies.make(Leg.SECOND, context.number, back[1], now)
        self._send(
            context,
            Leg.SECOND,
            back,
            carriage,
            now,
            Kind.ERROR,
            results=(Result(0, Code.COOKIE_NEEDED),),
            cookies=(cookie,),
        )

    # switch and close

    def take_switch(
        self,
        context: Context,
        message: Message,
        source: IPv6Address,
        destination: IPv6Address,
        carriage: Carriage,
        now: int,
    ) -> None:
        """Send to the second address from now on."""
        if source != context.second or not context.validated or context.closed:
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
                record.turn = now
                if tracked is not None:
                    record.left = tracked.remote.current
                    services.switch(tracked, tracked.remote, record.target)
                    self._in.fresh_label(tracked)
            done.append(number)
        context.until = max(context.until, now + self._in.settings.hold)
        if done or not message.ids:
            self._send(
                context,
                Leg.SECOND,
                (destination, source),
                carriage,
                now,
                Kind.SWITCH_ACK,
                ids=tuple(done),
                answered=message.sequence,
            )

    def take_close(
        self, context: Context, source: IPv6Address, destination: IPv6Address, carriage: Carriage, now: int
    ) -> None:
        """Forget the first address."""
        if source != context.second:
            return
        self._end(context, now)
        # an answer goes only to where the partner is known to receive
        if context.validated:
            self._send(context, Leg.SECOND, (destination, source), carriage, now, Kind.CLOSE)

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
        for context in [one for one in self.contexts.values() if one.until <= now]:
            if context.closed:
                self._forget(context)
            else:
                self._end(context, now)

    def next_wake(self) -> int | None:
        """When something is due next."""
        return min((context.until for context in self.contexts.values()), default=None)

    def rewrite_failed(self, flow: Flow, turn: int) -> None:
        """The data plane did not take the last change of a flow: the step is taken back."""
        tracked = self._in.services.get(flow)
        if tracked is None:
            return
        for context in self.contexts.values():
            for record in context.records.values():
                if record.flow != flow or record.turn != turn:
                    continue
                if record.stage is Stage.SWITCHED and record.left is not None:
                    self._in.services.switch(tracked, tracked.remote, record.left)
                    record.stage, record.left = Stage.PREPARED, None
                elif record.stage is Stage.PREPARED:
                    self._in.services.refuse(tracked, tracked.remote, record.target)
                    record.stage = Stage.ANSWERED

    def _forget(self, context: Context) -> None:
        self.contexts.pop(context.number, None)
        keys = self._keys.pop(context.number)
        self._by_number.pop(keys.number, None)
        self._by_number.pop(keys.second_number, None)

    def _has_room(self, pair: Pair) -> bool:
        own = [context for context in self.contexts.values() if context.pair == pair.name]
        if sum(not context.closed for context in own) >= self._in.settings.most_contexts:
            return False
        closed = [context for context in self.contexts.values() if context.closed]
        for context in closed[: max(len(closed) - self._in.settings.most_closed + 1, 0)]:
            self._forget(context)
        return True

    def _until(self, lifetimes: Lifetimes | None, now: int) -> int:
        remaining = min(lifetimes.remaining, _MOST_REMAINING) if lifetimes is not None else 0
        return now + remaining * NS_PER_MS + self._in.settings.hold

    def _send(
        self,
        context: Context,
        leg: Leg,
        addresses: tuple[IPv6Address, IPv6Address],
        carriage: Carriage,
        now: int,
        kind: Kind,
        **fields: Any,
    ) -> None:
        keys = self.keys(context)
        numbering = context.numbering[leg - 1]
        if numbering.began < 0:
            numbering.began = now
        message = Message(kind=kind, context=keys.on(leg), sequence=numbering.next(now), **fields)
        octets = encode(message)
        whole = octets + keys.mac(leg, Direction.BACK, *addresses, octets)
        self._in.outbox.act(
            Send(source=addresses[0], destination=addresses[1], message=whole, carriage=carriage)
        )
