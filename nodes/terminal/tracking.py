"""The services that a terminal tracks, from their place in the inventory to their rewriting's end. No I/O.

An ended service lingers: its rewriting answers what still comes for its socket, and then goes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nodes.terminal.actions import ICMPV6, CloseSockets, Flow, Service
from nodes.terminal.first import FirstTerminal
from nodes.terminal.scheduling import Schedule
from nodes.terminal.second import SecondTerminal
from nodes.terminal.services import Tracked
from nodes.terminal.surroundings import Surroundings, described


class Tracking:
    """Begins and ends services, and tells those who hop.

    Args:
        surroundings: the node's.
        first: takes services along, and knows which addresses are left.
        second: retires partners' addresses.
        schedule: counts what ended before a hop.
    """

    def __init__(
        self, surroundings: Surroundings, first: FirstTerminal, second: SecondTerminal, schedule: Schedule
    ) -> None:
        self._in = surroundings
        self._first = first
        self._second = second
        self._schedule = schedule

    def changed(self, began: Sequence[Service], ended: Sequence[Flow], now: int) -> None:
        """The inventory found services, or no longer finds them."""
        for flow in ended:
            tracked = self._in.services.get(flow)
            if tracked is not None and tracked.ended is None:
                self._in.services.end(tracked, now)
                self._schedule.service_ended(tracked)
                self._first.ended(tracked, now)
        for service in began:
            self._began(service, now)
        self._first.inventory_taken(now)

    def concerned(self, flow: Flow) -> bool:
        """Whether a flow can be a service: an echo with a stranger holds no address.

        Else whoever asks keeps the first address alive, and the answers bear it.
        """
        return (
            flow.protocol != ICMPV6
            or self._in.services.get(flow) is not None
            or self._in.pairs.at(flow.remote.address) is not None
        )

    def tick(self, now: int) -> None:
        """End what lingered long enough, and what kept its address for as long as it may."""
        for tracked in list(self._in.services.timed.values()):
            if tracked.ended is not None and now >= tracked.ended + self._in.settings.linger:
                self._remove(tracked)
            elif tracked.ended is None and tracked.kept_until is not None and now >= tracked.kept_until:
                self._close_sockets(tracked, "its address was kept for as long as an address is kept", now)

    def wakes(self) -> Iterator[int]:
        """When something is due."""
        for tracked in self._in.services.timed.values():
            if tracked.ended is not None:
                yield tracked.ended + self._in.settings.linger
            elif tracked.kept_until is not None:
                yield tracked.kept_until

    def _began(self, service: Service, now: int) -> None:
        known = self._in.services.get(service.flow)
        if known is not None:
            if known.ended is None:
                known.service = service
                return
            self._remove(known)
        pair = self._in.pairs.at(service.flow.remote.address)
        if not self.concerned(service.flow):
            return
        tracked = self._in.services.add(service, pair.name if pair is not None else None)
        if tracked is None:
            self._in.outbox.report(
                "service.refused", service=described(service.flow), reason="no room on its path"
            )
        elif not self._first.began(tracked, now):
            self._close_sockets(tracked, "its address was retired", now)

    def _close_sockets(self, tracked: Tracked, reason: str, now: int) -> None:
        self._in.services.end(tracked, now)
        self._in.outbox.act(CloseSockets(flow=tracked.flow))
        self._in.outbox.report("service.closed", service=described(tracked.flow), reason=reason)
        self._first.ended(tracked, now)

    def _remove(self, tracked: Tracked) -> None:
        self._in.services.remove(tracked)
        self._first.removed(tracked)
        pair = self._in.pairs.get(tracked.pair)
        if pair is not None:
            for end in tracked.remote.accepted:
                self._second.left(pair, end.address)
