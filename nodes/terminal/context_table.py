"""The contexts of partners' hops: begun by an authentic request, bounded, found by their numbers. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Address

from nodes.terminal.contexts import Context
from nodes.terminal.header import FormatError
from nodes.terminal.keys import ContextKeys, Leg
from nodes.terminal.message import Lifetimes, Message
from nodes.terminal.pairs import Pair
from nodes.terminal.plan import NS_PER_MS, usable
from nodes.terminal.replay import Numbering, Window
from nodes.terminal.surroundings import Surroundings

_MOST_REMAINING = 31 * 86_400_000


class ContextTable:
    """Contexts with their keys, oldest first; bounded for each partner, those that are closed for all."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._in = surroundings
        self._contexts: dict[int, Context] = {}
        self._keys: dict[int, ContextKeys] = {}
        self._by_number: dict[int, tuple[Context, Leg]] = {}

    def __len__(self) -> int:
        return len(self._contexts)

    def __iter__(self) -> Iterator[Context]:
        return iter(self._contexts.values())

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

    def begin(
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
            until=self.until(message.lifetimes, now),
        )
        self._keys[context.number] = keys
        self._add(context)
        return context

    def forget(self, context: Context) -> None:
        """The context is over."""
        self._contexts.pop(context.number, None)
        keys = self._keys.pop(context.number)
        self._by_number.pop(keys.number, None)
        self._by_number.pop(keys.second_number, None)

    def until(self, lifetimes: Lifetimes | None, now: int) -> int:
        """When a context ends to which nothing more comes, ns; a partner's word for it is bounded."""
        remaining = min(lifetimes.remaining, _MOST_REMAINING) if lifetimes is not None else 0
        return now + remaining * NS_PER_MS + self._in.settings.hold

    def _add(self, context: Context) -> None:
        self._contexts[context.number] = context
        keys = self.keys(context)
        self._by_number[keys.number] = (context, Leg.FIRST)
        self._by_number[keys.second_number] = (context, Leg.SECOND)

    def _has_room(self, pair: Pair) -> bool:
        own = [context for context in self._contexts.values() if context.pair == pair.name]
        if sum(not context.closed for context in own) >= self._in.settings.most_contexts:
            return False
        closed = [context for context in self._contexts.values() if context.closed]
        for context in closed[: max(len(closed) - self._in.settings.most_closed + 1, 0)]:
            self.forget(context)
        return True
