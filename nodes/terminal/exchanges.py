"""The exchanges of the hops under way: with whom, which services take part, by which numbers. No I/O."""

from __future__ import annotations

from collections import defaultdict
from ipaddress import IPv6Address

from nodes.terminal.actions import Endpoint, Flow, Outcome
from nodes.terminal.asking import Asking
from nodes.terminal.hops import MOST_ID, Exchange, Hop, Item, Step
from nodes.terminal.keys import Leg
from nodes.terminal.pairs import Pair
from nodes.terminal.progress import Place
from nodes.terminal.replay import Numbering, Window
from nodes.terminal.services import Tracked
from nodes.terminal.surroundings import Surroundings, target


class Exchanges:
    """Begins exchanges, lets services join them, and finds them.

    Args:
        surroundings: the node's.
        asking: has the exchanges' keys and the steps of their services.
        hops: the hops under way, as :class:`~nodes.terminal.first.FirstTerminal` keeps them.
        places: where each service is in them, as :class:`~nodes.terminal.progress.Progress` keeps it.
    """

    def __init__(
        self,
        surroundings: Surroundings,
        asking: Asking,
        hops: list[Hop],
        places: defaultdict[Flow, list[Place]],
    ) -> None:
        self._in = surroundings
        self._asking = asking
        self._steps = asking.steps
        self._hops = hops
        self._places = places
        self._by_number: dict[int, tuple[Hop, Exchange, Leg]] = {}

    def place(self, number: int) -> tuple[Hop, Exchange, Leg] | None:
        """The exchange that has this context number, and on which leg."""
        return self._by_number.get(number)

    def join_all(self, hop: Hop, now: int) -> None:
        """All services that are on the first address, or on their way to it, take part in a hop."""
        sources = self._sources(hop.first)
        for tracked in self._in.services:
            if tracked.local.current.address in sources:
                self.join(hop, tracked, now)

    def join(self, hop: Hop, tracked: Tracked, now: int) -> None:
        """A service takes part in a hop."""
        if tracked.kept_until is not None or tracked.ended is not None:
            return
        if any(
            place[0] is hop and place[2].step is not Step.OVER for place in self._places.get(tracked.flow, ())
        ):
            return
        pair = self._in.pairs.get(tracked.pair) or self._in.pairs.at(tracked.remote.current.address)
        refused = ""
        if pair is None:
            refused = "no shared secret"
        elif not self._in.policy.supports(tracked.service):
            refused = "policy of this terminal"
        if pair is None or refused:
            end = Endpoint(hop.second, tracked.local.current.port)
            hop.alone.append(
                Item(
                    id=0,
                    flow=tracked.flow,
                    target=end,
                    step=Step.OVER,
                    since=now,
                    outcome=Outcome.REFUSED,
                    reason=refused,
                )
            )
            self._in.report_service(
                hop.number, pair.name if pair else None, tracked.flow, Outcome.REFUSED, refused
            )
            self._in.keep(tracked, now)
            return
        tracked.pair = pair.name
        exchange = self.with_partner(hop, pair, now)
        number = len(exchange.items) + 1
        if number > MOST_ID:
            return
        end = target(
            self._asking.keys(exchange),
            tracked.flow,
            self._in.settings.move_ports,
            number,
            Endpoint(hop.second, tracked.local.current.port),
        )
        item = Item(id=number, flow=tracked.flow, target=end, since=now)
        self._steps.add(exchange, item)
        self._places[tracked.flow].append((hop, exchange, item))
        exchange.tries = 0
        exchange.fresh = True
        if exchange.answered is not None:
            exchange.waiting = now

    def with_partner(self, hop: Hop, pair: Pair, now: int) -> Exchange:
        """The exchange with this partner that services can still join."""
        for exchange in hop.exchanges:
            if exchange.pair == pair.name and exchange.closing is None and exchange.failed is None:
                return exchange
        number = pair.keys.new_context(self._in.octets)
        sealed = pair.keys.context(number).seal(hop.second, self._in.octets)
        exchange = Exchange(
            pair=pair.name,
            context=number,
            sealed=sealed,
            began=now,
            numbering=(Numbering(began=now), Numbering(began=-1)),
            windows=(Window(), Window()),
            carriage=pair.carriage or self._in.settings.carriage,
            waiting=now,
        )
        hop.exchanges.append(exchange)
        self._index(hop, exchange)
        return exchange

    def forget(self, exchange: Exchange) -> None:
        """The exchange is over."""
        keys = self._asking.keys(exchange)
        self._by_number.pop(keys.number, None)
        self._by_number.pop(keys.second_number, None)
        self._asking.forget(exchange)

    def restore(self, hop: Hop, now: int) -> None:
        """Take up a hop's exchanges; what was pending is sent again at once."""
        for exchange in list(hop.exchanges):
            if self._in.pairs.get(exchange.pair) is None:
                self._take_back(hop, exchange)
                continue
            self._index(hop, exchange)
            for item in exchange.items:
                if item.step in (Step.ASKING, Step.SUPPORTED):
                    item.since = now  # silence while nobody listened is none
                if exchange.closing is None and item.step is not Step.OVER:
                    self._places[item.flow].append((hop, exchange, item))
            self._asking.progress(exchange, now)
            exchange.waiting = exchange.next_send = now

    def _take_back(self, hop: Hop, exchange: Exchange) -> None:
        """The partner is no longer known: what had not switched stays where it is."""
        hop.exchanges.remove(exchange)
        for item in exchange.items:
            tracked = self._in.services.get(item.flow)
            if tracked is None:
                continue
            if item.step is Step.SWITCHING and item.left is not None and item.left in tracked.local.accepted:
                self._in.services.switch(tracked, tracked.local, item.left)
            self._in.services.refuse(tracked, tracked.local, item.target)

    def _index(self, hop: Hop, exchange: Exchange) -> None:
        keys = self._asking.keys(exchange)
        self._by_number[keys.number] = (hop, exchange, Leg.FIRST)
        self._by_number[keys.second_number] = (hop, exchange, Leg.SECOND)

    def _sources(self, first: IPv6Address) -> set[IPv6Address]:
        """The addresses whose services are on their way to ``first``, and itself."""
        found = {first}
        for hop in reversed(self._hops):
            if hop.second in found and hop.ready is not None:
                found.add(hop.first)
        return found
