"""An exchange of the first terminal, taken as far as it goes at a moment. No I/O.

What went unanswered for too long counts as not answered; what is prepared switches once that is due; what
has switched at both ends leaves the first address after the grace.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from nodes.terminal.actions import CloseSockets, Flow, KeepAddress, Outcome, RefreshFlows
from nodes.terminal.asking import Asking
from nodes.terminal.hops import Exchange, Hop, Item, Step
from nodes.terminal.leaving import Leaving
from nodes.terminal.plan import NS_PER_MS
from nodes.terminal.surroundings import Surroundings

OPEN = (Step.ASKING, Step.SUPPORTED, Step.PREPARED, Step.SWITCHING)
"""The steps of a service that a hop still does something for."""
_PHASES = ("asked", "answered", "prepared", "switched")
_INVENTORY_TIMEOUT = 250 * NS_PER_MS
_UNACKNOWLEDGED = 300 * NS_PER_MS
_AGAIN = 20 * NS_PER_MS

Place = tuple[Hop, Exchange, Item]
"""A service in a hop: the hop, its exchange, and the service there."""


class Progress:
    """Advances exchanges.

    Attributes:
        places: where each service is in the hops under way, the oldest first.
        inventory: when the inventory was last taken, ns.
    """

    def __init__(self, surroundings: Surroundings, asking: Asking, leaving: Leaving) -> None:
        self._in = surroundings
        self._asking = asking
        self._steps = asking.steps
        self._leaving = leaving
        self.places: defaultdict[Flow, list[Place]] = defaultdict(list)
        self.inventory = -1

    def advance(self, hop: Hop, exchange: Exchange, now: int) -> None:
        """Take an exchange as far as it goes at this moment, and send what is to be sent."""
        if exchange.closed is not None or hop.ready is None:
            return
        self._accept(exchange)
        self._give_up(hop, exchange, now)
        if exchange.closing is None:
            if exchange.failed is None:
                self._switch(hop, exchange, now)
            self._close(hop, exchange, now)
        if exchange.closing is not None and exchange.closed is None:
            settled = exchange.settling is not None and now >= exchange.settling
            if settled or self._asking.close_tried(exchange):
                exchange.closed = now
        due = exchange.next_send is not None and exchange.next_send <= now
        if exchange.closed is None and (exchange.fresh or due):
            self._asking.send_pending(hop, exchange, now)
        self._tell(hop, exchange)

    def _tell(self, hop: Hop, exchange: Exchange) -> None:
        """Say which phases the exchange has come to."""
        for phase in _PHASES[exchange.told :]:
            if getattr(exchange, phase) is None:
                return
            exchange.told += 1
            self._in.outbox.report(
                f"hop.{phase}", hop=hop.number, partner=exchange.pair, services=len(exchange.items)
            )

    def _accept(self, exchange: Exchange) -> None:
        """Packets to the second address are accepted before the partner hears of it from there."""
        if exchange.closing is not None:
            return
        for item in self._steps.at(exchange, Step.SUPPORTED):
            tracked = self._in.services.get(item.flow)
            if tracked is not None and not self._in.services.accept(tracked, tracked.local, item.target):
                self._asking.settle(
                    exchange,
                    item,
                    Outcome.REFUSED,
                    "another service has its place at the second address",
                    item.since,
                )

    def _give_up(self, hop: Hop, exchange: Exchange, now: int) -> None:
        """What went unanswered for too long counts as not answered."""
        if self._asking.asked_enough(exchange):
            self._give_up_asking(exchange, now)
        while (item := self._steps.oldest(exchange, Step.SWITCHING)) is not None:
            if exchange.lease is None or now < exchange.lease:
                break
            self._asking.settle(
                exchange, item, Outcome.NO_ANSWER, "the partner does not acknowledge the switch", now
            )
            self._in.outbox.act(CloseSockets(flow=item.flow))
        if hop.at_expiry and not hop.held and exchange.closing is None:
            oldest = self._steps.oldest(exchange, Step.SWITCHING)
            if oldest is not None and now - oldest.since >= _UNACKNOWLEDGED and exchange.lease is not None:
                hop.held = True
                self._in.outbox.act(KeepAddress(address=hop.first, until=exchange.lease))

    def _give_up_asking(self, exchange: Exchange, now: int) -> None:
        timeout = self._in.settings.answer_timeout
        recognised = exchange.unrecognised is None or exchange.answered is not None
        outcome = Outcome.NO_ANSWER if recognised else Outcome.NOT_RECOGNISED
        if not recognised and now - (exchange.unrecognised or now) >= self._in.settings.recognition:
            self._fail(exchange, outcome, now)
        for step in (Step.ASKING, Step.SUPPORTED):
            while (item := self._steps.oldest(exchange, step)) is not None and now - item.since >= timeout:
                self._asking.settle(exchange, item, outcome, "", now)
        if exchange.closing is None and exchange.failed is None and now - exchange.waiting >= timeout:
            if exchange.answered is None or (
                exchange.prepared is None and not self._steps.any(exchange, *OPEN)
            ):
                self._fail(exchange, outcome, now)
            elif (
                exchange.switched is not None
                and exchange.acknowledged is None
                and not self._steps.any(exchange, *OPEN)
            ):
                exchange.acknowledged = now

    def _fail(self, exchange: Exchange, outcome: Outcome, now: int) -> None:
        exchange.failed = outcome
        self._in.pairs[exchange.pair].silent = True
        for item in self._steps.at(exchange, Step.ASKING, Step.SUPPORTED, Step.PREPARED):
            self._asking.settle(exchange, item, outcome, "", now)

    def _switch(self, hop: Hop, exchange: Exchange, now: int) -> None:
        """Services that are prepared switch once it is due."""
        if now < hop.due:
            return
        moved = False
        for item in self._steps.at(exchange, Step.PREPARED):
            places = self.places.get(item.flow, [])
            tracked = self._in.services.get(item.flow)
            if tracked is None:
                self._asking.settle(exchange, item, Outcome.ENDED_BEFORE, "it ended", now)
            elif exchange.lease is None or now >= exchange.lease:
                self._asking.settle(exchange, item, Outcome.NO_ANSWER, "the switch came too late", now)
            elif any(place[2].step is Step.SWITCHING for place in places):
                continue  # one switch at a time, so that the partner cannot take them in another order
            elif item.failures and now - item.since < _AGAIN:
                continue
            elif any(
                place[2].step is Step.PREPARED and place[0].number > hop.number and place[0].due <= now
                for place in places
            ):
                continue  # the newer hop takes it along
            else:
                item.left = tracked.local.current
                self._in.services.switch(tracked, tracked.local, item.target)
                self._in.fresh_label(tracked)
                self._steps.move(exchange, item, Step.SWITCHING, now)
                moved = True
                for place in places:
                    if place[0].number < hop.number and place[2].step in OPEN:
                        self._asking.settle(place[1], place[2], Outcome.HOPPED, f"with hop {hop.number}", now)
        if moved:
            self._asking.progress(exchange, now)
        unprepared = self._steps.any(exchange, Step.ASKING, Step.SUPPORTED, Step.PREPARED)
        if exchange.switched is None and exchange.prepared is not None and not unprepared:
            exchange.switched = now
            if not self._steps.any(exchange, Step.SWITCHING):
                self._asking.progress(exchange, now)
            self._in.outbox.act(RefreshFlows())

    def _close(self, hop: Hop, exchange: Exchange, now: int) -> None:
        """Leave the first address, once nothing needs it any more with this partner."""
        if self._steps.any(exchange, *OPEN):
            return
        if exchange.failed is None:
            idle = not self._in.settings.announce and not self._steps.any(exchange, Step.SWITCHED)
            if exchange.acknowledged is None and not (idle and exchange.answered is not None):
                return
            if exchange.acknowledged is not None:
                since = exchange.switched or exchange.acknowledged
                seen = self.inventory > since or now >= since + _INVENTORY_TIMEOUT
                if now < exchange.acknowledged + self.grace(exchange) or not seen:
                    return
        exchange.closing = now
        services = self._in.services
        for item in exchange.items:
            tracked = services.get(item.flow)
            if tracked is not None and item.step is Step.SWITCHED and item.left is not None:
                services.refuse(tracked, tracked.local, item.left)
            elif tracked is not None and item.step is Step.OVER:
                services.refuse(tracked, tracked.local, item.target)
        self._settle_places(hop, exchange, now)
        self._leaving.retire(now)
        self._asking.progress(exchange, now)
        exchange.next_send = None
        if exchange.answered is None:
            exchange.closed = now

    def _settle_places(self, hop: Hop, exchange: Exchange, now: int) -> None:
        """Say what became of the services; who could not leave is kept where it is."""
        for item in exchange.items:
            places = self.places.get(item.flow, [])
            places[:] = [place for place in places if place[2] is not item]
            if not places:
                self.places.pop(item.flow, None)
            outcome = item.outcome or Outcome.NO_ANSWER
            tracked = self._in.services.get(item.flow)
            if (
                tracked is not None
                and not places
                and tracked.local.current.address in self._leaving.addresses
            ):
                self._in.keep(tracked, now)  # no hop takes it further
            self._in.report_service(hop.number, exchange.pair, item.flow, outcome, item.reason)

    def grace(self, exchange: Exchange) -> int:
        """How long the first address is still accepted after both ends have switched, ns."""
        return self._asking.grace(exchange)

    def wakes(self, hop: Hop, exchange: Exchange) -> Iterator[int]:
        """When something is due in an exchange that is not closed."""
        timeout = self._in.settings.answer_timeout
        if exchange.next_send is not None:
            yield exchange.next_send
        if exchange.closing is not None:
            return
        if self._asking.asked_enough(exchange):
            for step in (Step.ASKING, Step.SUPPORTED):
                if (item := self._steps.oldest(exchange, step)) is not None:
                    yield item.since + timeout
            if exchange.unrecognised is not None and exchange.answered is None:
                yield exchange.unrecognised + self._in.settings.recognition
            if exchange.prepared is None or (exchange.switched is not None and exchange.acknowledged is None):
                yield exchange.waiting + timeout
        if exchange.prepared is not None and exchange.switched is None:
            yield hop.due
        if (item := self._steps.oldest(exchange, Step.PREPARED)) is not None:
            yield item.since + _AGAIN if item.failures else hop.due
        if (item := self._steps.oldest(exchange, Step.SWITCHING)) is not None and exchange.lease is not None:
            yield exchange.lease
            if hop.at_expiry and not hop.held:
                yield item.since + _UNACKNOWLEDGED
        if exchange.acknowledged is not None and not self._steps.any(exchange, *OPEN):
            seen = self.inventory > (exchange.switched or exchange.acknowledged)
            inventory = 0 if seen else (exchange.switched or exchange.acknowledged) + _INVENTORY_TIMEOUT
            yield max(exchange.acknowledged + self.grace(exchange), inventory)
