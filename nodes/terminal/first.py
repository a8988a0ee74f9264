"""The first terminal: takes its services from one address to the next (seed, steps 31-34, 41-43). No I/O.

A hop has an exchange with each partner; a service goes through asking, supported, prepared, switching and
switched in one of them. Hops overlap: a service may be asked about for the next address while it still
waits to leave the one before. It switches for one hop at a time, and to the newest address that is
prepared.
"""

from __future__ import annotations

from ipaddress import IPv6Address

from nodes.terminal.actions import (
    AddAddress,
    Carriage,
    Deprecate,
    Flow,
    KeepAddress,
    Outcome,
    RefreshFlows,
)
from nodes.terminal.answers import Answers
from nodes.terminal.asking import Asking
from nodes.terminal.exchanges import Exchanges
from nodes.terminal.hops import Exchange, Hop, Step
from nodes.terminal.leaving import Leaving
from nodes.terminal.phases import phases
from nodes.terminal.plan import NS_PER_S
from nodes.terminal.progress import OPEN, Progress
from nodes.terminal.services import Tracked
from nodes.terminal.surroundings import Surroundings

_EXPIRY_LATE = NS_PER_S
_MOST_FAILURES = 5


class FirstTerminal:
    """All hops of this terminal.

    Attributes:
        asking: sends the messages of exchanges.
        answers: takes their answers.
        hops: those under way, oldest first.
        leaving: the addresses that they leave.
        exchanges: theirs.
    """

    def __init__(self, surroundings: Surroundings) -> None:
        self._in = surroundings
        self.asking = Asking(surroundings)
        self.answers = Answers(surroundings, self.asking)
        self._steps = self.asking.steps
        self.hops: list[Hop] = []
        self.leaving = Leaving(surroundings, self.hops)
        self._progress = Progress(surroundings, self.asking, self.leaving)
        self._places = self._progress.places
        self.exchanges = Exchanges(surroundings, self.asking, self.hops, self._places)

    # the hop's life

    def begin(
        self,
        number: int,
        first: IPv6Address,
        second: IPv6Address,
        now: int,
        *,
        due: int,
        at_expiry: bool = False,
        preferred: int | None = None,
        duration: int | None = None,
        there: bool = False,
        ended_before: int = 0,
    ) -> Hop:
        """Begin a hop; it goes on once the second address is there.

        Args:
            number: of the hop.
            first: the address that ends.
            second: the address that comes after it.
            now: the clock.
            due: from when services may switch; where ``at_expiry``, at the latest.
            at_expiry: they switch when the first address's valid lifetime ends.
            preferred: the second address's preferred lifetime, ns.
            duration: its valid lifetime.
            there: the interface has it already.
            ended_before: services on the first address that ended before.
        """
        hop = Hop(
            number=number,
            first=first,
            second=second,
            began=now,
            due=due + (_EXPIRY_LATE if at_expiry else 0),
            at_expiry=at_expiry,
            duration=duration,
            ended_before=ended_before,
        )
        self.hops.append(hop)
        self._in.outbox.report("hop.started", hop=number, first=str(first), second=str(second))
        self.leaving.hold(first)
        if there:
            self.ready(second, now)
        else:
            self._in.outbox.act(AddAddress(address=second, preferred=preferred, valid=duration))
        return hop

    def ready(self, second: IPv6Address, now: int) -> None:
        """The second address can be used: the partners are asked."""
        for hop in self.hops:
            if hop.second != second or hop.ready is not None:
                continue
            hop.ready = now
            self.leaving.leave(hop.first, second)
            if not hop.at_expiry:
                self._in.outbox.act(Deprecate(address=hop.first))
            self._in.outbox.act(RefreshFlows())
            self.exchanges.join_all(hop, now)
            if self._in.settings.announce:
                for pair in self._in.pairs:
                    if not pair.silent and pair.address is not None:
                        self.exchanges.with_partner(hop, pair, now)
            self._advance_hop(hop, now)

    def instead(self, hop: Hop, second: IPv6Address, preferred: int | None) -> None:
        """The second address could not be had; the next of the pool takes its place."""
        hop.second = second
        self._in.outbox.act(AddAddress(address=second, preferred=preferred, valid=hop.duration))

    def abandon(self, hop: Hop, reason: str) -> None:
        """The hop cannot be: services stay on the first address."""
        self.hops.remove(hop)
        self._in.outbox.report("hop.failed", hop=hop.number, first=str(hop.first), reason=reason)
        self.leaving.release(hop.first)

    def expired(self, address: IPv6Address, now: int) -> None:
        """The valid lifetime of an address ended: who is prepared switches."""
        for hop in self.hops:
            if hop.first == address and hop.at_expiry and hop.ready is not None and hop.due > now:
                hop.due = now
                self._advance_hop(hop, now)
        kept = [one.kept_until for one in self._in.services.with_local(address) if one.ended is None]
        if any(one is not None for one in kept):
            self._in.outbox.act(
                KeepAddress(address=address, until=max(one for one in kept if one is not None))
            )
        elif any(one.local.current.address == address for one in self._in.services.with_local(address)):
            # not all could leave yet: the address goes on for as long as their questions do
            self._in.outbox.act(
                KeepAddress(address=address, until=now + 2 * self._in.settings.answer_timeout)
            )

    def lost(self, second: IPv6Address, now: int) -> None:
        """A second address is gone before its hop was: what has not switched does not."""
        for hop in self.hops:
            if hop.second != second:
                continue
            for exchange in hop.exchanges:
                for item in self._steps.at(exchange, Step.ASKING, Step.SUPPORTED, Step.PREPARED):
                    self.asking.settle(exchange, item, Outcome.REFUSED, "the second address is gone", now)
                if exchange.switched is None and exchange.closing is None:
                    exchange.failed = exchange.failed or Outcome.REFUSED
            self._advance_hop(hop, now)

    # services

    def began(self, tracked: Tracked, now: int) -> bool:
        """A service began; whether it can go on: its address is not one that has been retired."""
        address = tracked.local.current.address
        if self.leaving.identities.get(address, False):
            return False
        hop = next(
            (hop for hop in reversed(self.hops) if hop.first == address and hop.ready is not None), None
        )
        if hop is not None:
            self.exchanges.join(hop, tracked, now)
            self._advance_hop(hop, now)
        elif address in self.leaving.addresses:
            self._in.keep(tracked, now)
        return True

    def ended(self, tracked: Tracked, now: int) -> None:
        """A service ended."""
        for hop, exchange, item in self._places.pop(tracked.flow, ()):
            if item.step in OPEN:
                switched = item.step is Step.SWITCHING
                self.asking.settle(
                    exchange, item, Outcome.HOPPED if switched else Outcome.ENDED_BEFORE, "it ended", now
                )
            self._progress.advance(hop, exchange, now)
        if any(end.address in self.leaving.addresses for end in tracked.local.accepted):
            self.leaving.retire(now)

    def removed(self, tracked: Tracked) -> None:
        """A service's rewriting is over."""
        self.leaving.release(tracked.flow.local.address)

    def inventory_taken(self, now: int) -> None:
        """All services are known as of now."""
        self._progress.inventory = now
        for hop in list(self.hops):
            self._advance_hop(hop, now)

    # messages and time

    def answered(self, hop: Hop, exchange: Exchange, now: int) -> None:
        """An answer was taken: do what it makes possible."""
        self._progress.advance(hop, exchange, now)
        self._finish(hop, now)

    def tick(self, now: int) -> None:
        """Do what is due."""
        for hop in list(self.hops):
            self._advance_hop(hop, now)

    def next_wake(self) -> int | None:
        """When something is due next."""
        times: list[int] = []
        for hop in self.hops:
            if hop.ready is None:
                continue
            if all(exchange.closed is not None for exchange in hop.exchanges):
                times.append(max(hop.ready, hop.due) + (0 if hop.exchanges else self._in.settings.grace))
            for exchange in hop.exchanges:
                if exchange.closed is None:
                    times += self._progress.wakes(hop, exchange)
        return min(times, default=None)

    def not_recognised(self, hop: Hop, exchange: Exchange, carriage: Carriage, now: int) -> None:
        """An ICMPv6 error quotes our request."""
        if exchange.answered is not None:
            return
        fallback = self._in.settings.fallback and exchange.carriage is Carriage.OPTION
        if fallback and carriage is Carriage.OPTION:
            if exchange.option_unknown is None:
                exchange.option_unknown = exchange.next_send = now  # UDP is left
        elif exchange.unrecognised is None:
            exchange.unrecognised = now
        self._progress.advance(hop, exchange, now)
        self._finish(hop, now)

    def restore(
        self, hops: list[Hop], leaving: list[IPv6Address], identities: dict[IPv6Address, bool], now: int
    ) -> None:
        """Take up hops that another process began; what was pending is sent again at once."""
        self.leaving.restore(leaving, identities)
        for hop in hops:
            self.hops.append(hop)
            self.exchanges.restore(hop, now)
            if hop.ready is not None and hop.retired is None and not hop.at_expiry:
                self._in.outbox.act(Deprecate(address=hop.first))
        self._in.outbox.act(RefreshFlows())

    def rewrite_failed(self, flow: Flow, turn: int, now: int) -> None:
        """The data plane did not take the last change of a flow: the step is taken back."""
        tracked = self._in.services.get(flow)
        if tracked is None:
            return
        for hop, exchange, item in list(self._places.get(flow, ())):
            if item.step is Step.SUPPORTED and item.since == turn:
                self._in.services.refuse(tracked, tracked.local, item.target)
                self.asking.settle(exchange, item, Outcome.REFUSED, "the data plane has no room", now)
            elif item.step is Step.SWITCHING and item.left is not None and item.since == turn:
                item.failures += 1
                self._in.services.switch(tracked, tracked.local, item.left)
                self._steps.move(exchange, item, Step.PREPARED, now)
                exchange.switched = None
                if item.failures >= _MOST_FAILURES:
                    self.asking.settle(
                        exchange, item, Outcome.REFUSED, "the data plane refuses the switch", now
                    )
            self._progress.advance(hop, exchange, now)

    # inside

    def _advance_hop(self, hop: Hop, now: int) -> None:
        for exchange in hop.exchanges:
            self._progress.advance(hop, exchange, now)
        self._finish(hop, now)

    def _finish(self, hop: Hop, now: int) -> None:
        """Close the hop once all its exchanges are."""
        if hop.ready is None or hop.closed is not None or now < hop.due:
            return
        if any(exchange.closed is None for exchange in hop.exchanges):
            return
        if not hop.exchanges and now < max(hop.ready, hop.due) + self._in.settings.grace:
            return
        hop.closed = now
        self.hops.remove(hop)
        self.leaving.retire(now)
        if hop.first not in self.leaving.addresses and hop.retired is None:
            hop.retired = now
        for exchange in hop.exchanges:
            self.exchanges.forget(exchange)
        grace = max(
            (self._progress.grace(exchange) for exchange in hop.exchanges), default=self._in.settings.grace
        )
        self._in.outbox.report("hop.closed", **phases(hop, grace))
