"""A terminal: first and second terminal at once, its services, its schedule. No socket, no clock. No I/O.

It is told what happens (:class:`~nodes.terminal.actions.Inputs`) and answers with actions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv6Address
from random import Random

from nodes.terminal.actions import (
    ICMPV6,
    Action,
    Carriage,
    CloseSockets,
    Flow,
    RefusedAddress,
    Rewriting,
    Service,
    Unrecognised,
)
from nodes.terminal.contexts import Context
from nodes.terminal.first import FirstTerminal
from nodes.terminal.header import FormatError, quoted_datagram, quoted_option
from nodes.terminal.hops import Exchange, Hop
from nodes.terminal.keys import Direction, Leg, RandomOctets
from nodes.terminal.limits import SourceLimit
from nodes.terminal.message import Kind, Message, context_of, decode
from nodes.terminal.outbox import Outbox
from nodes.terminal.pairs import Pair, Pairs
from nodes.terminal.plan import HopPlan
from nodes.terminal.policy import Policy
from nodes.terminal.scheduling import Schedule
from nodes.terminal.second import SecondTerminal
from nodes.terminal.services import ServiceTable, Tracked
from nodes.terminal.settings import Settings
from nodes.terminal.snapshot import State, read, written
from nodes.terminal.surroundings import Surroundings, described

NEW_CONTEXT_RATE = 500
"""MACs that are looked at in a second for messages of a source that begin a context."""
NEW_CONTEXT_BURST = 500
_SOURCES = 4096
_LEAST_WAKE = 1_000_000

_BACK = {Kind.UPDATE_RESPONSE: Leg.FIRST}
_BACK |= dict.fromkeys((Kind.BACKUP_RESPONSE, Kind.SWITCH_ACK, Kind.CLOSE, Kind.ERROR), Leg.SECOND)
_FORWARD = {Kind.UPDATE_REQUEST: Leg.FIRST}
_FORWARD |= dict.fromkeys((Kind.BACKUP_REQUEST, Kind.SWITCH, Kind.CLOSE), Leg.SECOND)
"""The messages of each direction, with the leg that they travel on."""


class Terminal:
    """The core of a terminal; implements :class:`nodes.terminal.actions.Inputs`.

    Args:
        settings: times and bounds.
        policy: which services support updating.
        octets: randomness for contexts, nonces and keys (:func:`os.urandom`).
        random: chance for times; from a seed where a run is to be repeated.
        interface: the interface's name, an argument of the sequence of addresses.
    """

    def __init__(
        self,
        *,
        octets: RandomOctets,
        random: Random,
        settings: Settings | None = None,
        policy: Policy | None = None,
        interface: str = "eth0",
    ) -> None:
        settings = settings or Settings()
        services = ServiceTable(settings.most_services)
        self._in = Surroundings(
            settings=settings,
            policy=policy or Policy(),
            pairs=Pairs(),
            services=services,
            outbox=Outbox(services),
            octets=octets,
            random=random,
        )
        self._first = FirstTerminal(self._in)
        self._second = SecondTerminal(self._in)
        self._schedule = Schedule(self._in, self._first, interface)
        self._limit = SourceLimit(NEW_CONTEXT_RATE, NEW_CONTEXT_BURST, _SOURCES)
        self._now = 0
        self._turn = 0

    # orders

    def pair(self, name: str, secret: bytes, addresses: Sequence[IPv6Address]) -> None:
        """Take a partner with the secret that it shares, and where it is; in place of one of this name.

        Raises:
            ParameterError: the secret is too short, or an address is another partner's.
        """
        known = self._in.pairs.get(name)
        fresh = self._in.pairs.add(name, secret, list(addresses))
        if known is not None and known.keys.same(fresh.keys):
            for address in known.addresses:  # where it went meanwhile
                if address not in addresses:
                    fresh.arrived(address)

    def policy(self, policy: Policy) -> None:
        """Which services support updating from now on; what was answered stays."""
        self._in.policy = policy

    def configure(self, settings: Settings) -> None:
        """Times and options from now on; bounds of tables stay as they were."""
        self._in.settings = settings

    def schedule(self, plan: HopPlan, now: int) -> list[Action]:
        """Hop by this plan from now on, in place of the one before.

        Raises:
            ParameterError: the plan has neither period nor lifetimes nor advertisements to go by.
        """
        self._begin(now)
        self._schedule.start(plan, now)
        return self._end(now)

    def hop(self, now: int, plan: HopPlan | None = None) -> tuple[int, list[Action]]:
        """Hop once, by hand: by the schedule's pool, or by a plan where there is no schedule.

        Returns:
            The hop's number, as its events bear it, and the actions.

        Raises:
            ParameterError: there is neither a plan nor a schedule, or both.
        """
        self._begin(now)
        number = self._schedule.by_hand(plan, now)
        return number, self._end(now)

    def stop(self, now: int) -> list[Action]:
        """No further hops; those under way go on to their end."""
        self._begin(now)
        self._schedule.stop()
        return self._end(now)

    # inputs

    def receive(
        self, source: IPv6Address, destination: IPv6Address, message: bytes, carriage: Carriage, now: int
    ) -> list[Action]:
        """See :class:`~nodes.terminal.actions.Inputs`."""
        seen = context_of(message)
        if seen is None:
            self._in.dropped["no message"] += 1
            return []
        self._begin(now)
        kind, number = seen
        place = self._first.place(number)
        context = self._second.place(number)
        if place is not None:
            self._receive_answer(*place, source, destination, message, carriage, now)
        elif context is not None:
            self._receive_question(*context, source, destination, message, carriage, now)
        elif kind == Kind.UPDATE_REQUEST:
            self._receive_new(number, source, destination, message, carriage, now)
        else:
            self._in.dropped["no such context"] += 1
        return self._end(now)

    def unrecognised(self, error: Unrecognised, source: IPv6Address, quoted: bytes, now: int) -> list[Action]:
        """See :class:`~nodes.terminal.actions.Inputs`.

        Believed only where the quoted message is one of ours, MAC and all, to that source and still
        unanswered: nobody who did not see it can quote it. Even then a true answer that comes a little
        later is taken instead.
        """
        option = error is Unrecognised.PARAMETER_PROBLEM
        try:
            packet = quoted_option(quoted) if option else quoted_datagram(quoted)
        except FormatError:
            self._in.dropped["error that quotes no message"] += 1
            return []
        seen = context_of(packet.data)
        place = None if seen is None or seen[0] != Kind.UPDATE_REQUEST else self._first.place(seen[1])
        if place is None or place[2] is not Leg.FIRST or source != packet.destination:
            self._in.dropped["error that quotes no message of ours"] += 1
            return []
        hop, exchange, leg = place
        keys = self._first.asking.keys(exchange)
        if not keys.verifies(leg, Direction.FORWARD, packet.source, packet.destination, packet.data):
            self._in.dropped["error that quotes no message of ours"] += 1
            return []
        self._begin(now)
        self._first.not_recognised(hop, exchange, Carriage.OPTION if option else Carriage.UDP, now)
        return self._end(now)

    def flows_changed(self, began: Sequence[Service], ended: Sequence[Flow], now: int) -> list[Action]:
        """See :class:`~nodes.terminal.actions.Inputs`."""
        self._begin(now)
        for flow in ended:
            tracked = self._in.services.get(flow)
            if tracked is not None and tracked.ended is None:
                self._in.services.end(tracked, now)
                self._schedule.service_ended(tracked)
                self._first.ended(tracked, now)
        for service in began:
            self._service_began(service, now)
        self._first.inventory_taken(now)
        return self._end(now)

    def address_added(
        self, address: IPv6Address, now: int, *, preferred: int | None, valid: int | None, advertised: bool
    ) -> list[Action]:
        """See :class:`~nodes.terminal.actions.Inputs`."""
        self._begin(now)
        self._schedule.address_added(address, preferred, valid, advertised, now)
        return self._end(now)

    def address_refused(
        self, address: IPv6Address, reason: RefusedAddress, text: str, now: int
    ) -> list[Action]:
        """See :class:`~nodes.terminal.actions.Inputs`."""
        self._begin(now)
        self._schedule.address_refused(address, reason, text, now)
        return self._end(now)

    def address_deprecated(self, address: IPv6Address, now: int) -> list[Action]:
        """See :class:`~nodes.terminal.actions.Inputs`."""
        self._begin(now)
        self._schedule.address_deprecated(address, now)
        return self._end(now)

    def address_expired(self, address: IPv6Address, now: int) -> list[Action]:
        """See :class:`~nodes.terminal.actions.Inputs`."""
        self._begin(now)
        self._schedule.address_expired(address, now)
        return self._end(now)

    def rewrite_failed(self, rewritings: Sequence[Rewriting], text: str, now: int) -> list[Action]:
        """See :class:`~nodes.terminal.actions.Inputs`."""
        turn = self._turn
        self._begin(now)
        self._in.outbox.report("rewriting.failed", flows=len(rewritings), reason=text)
        for rewriting in rewritings:
            self._first.rewrite_failed(rewriting.flow, turn, now)
            self._second.rewrite_failed(rewriting.flow, turn)
        return self._end(now)

    def tick(self, now: int) -> list[Action]:
        """See :class:`~nodes.terminal.actions.Inputs`."""
        self._begin(now)
        self._schedule.tick(now)
        self._first.tick(now)
        self._second.tick(now)
        for tracked in list(self._in.services.timed.values()):
            if tracked.ended is not None and now >= tracked.ended + self._in.settings.linger:
                self._remove(tracked)
            elif tracked.ended is None and tracked.kept_until is not None and now >= tracked.kept_until:
                self._close_sockets(tracked, "its address was kept for as long as an address is kept", now)
        return self._end(now)

    def concerned(self, flow: Flow) -> bool:
        """Whether a flow can be a service: an echo with a stranger holds no address.

        Else whoever asks keeps the first address alive, and the answers bear it.
        """
        return (
            flow.protocol != ICMPV6
            or self._in.services.get(flow) is not None
            or self._in.pairs.at(flow.remote.address) is not None
        )

    def next_wake(self) -> int | None:
        """See :class:`~nodes.terminal.actions.Inputs`."""
        times = [self._first.next_wake(), self._second.next_wake(), self._schedule.next_wake()]
        for tracked in self._in.services.timed.values():
            if tracked.ended is not None:
                times.append(tracked.ended + self._in.settings.linger)
            elif tracked.kept_until is not None:
                times.append(tracked.kept_until)
        found = min((time for time in times if time is not None), default=None)
        return None if found is None else max(found, self._now + _LEAST_WAKE)

    def rewritings(self) -> list[Rewriting]:
        """See :class:`~nodes.terminal.actions.Inputs`."""
        return [rewriting for one in self._in.services if not (rewriting := one.rewriting()).over]

    def flows(self) -> list[Flow]:
        """The services that are known, those aside that ended."""
        return [one.flow for one in self._in.services if one.ended is None]

    # state

    def snapshot(self) -> bytes:
        """See :class:`~nodes.terminal.actions.Inputs`; secrets and keys are not in it."""
        return written(
            State(
                services=list(self._in.services),
                hops=self._first.hops,
                leaving=list(self._first.leaving.addresses),
                identities=list(self._first.leaving.identities.items()),
                contexts=list(self._second.contexts.values()),
                partners={pair.name: pair.addresses for pair in self._in.pairs},
                schedule=self._schedule.state(),
            )
        )

    def restore(self, snapshot: bytes, now: int) -> list[Action]:
        """Take up the state that an earlier process wrote; the pairs must be known: no secret is in it.

        Hops that were under way go on: what was pending is sent again, what was done is said again. A hop
        with a partner that is no longer known is taken back.

        Raises:
            ParameterError: the snapshot is none.
        """
        state = read(snapshot)
        self._begin(now)
        for name, addresses in state.partners.items():
            pair = self._in.pairs.get(name)
            for address in addresses if pair is not None else ():
                if pair is not None and self._in.pairs.at(address) in (None, pair):
                    pair.arrived(address)
        for tracked in state.services:
            self._in.services.put(tracked)
            self._in.services.changed_again(tracked.flow)
        self._second.restore(state.contexts)
        self._first.restore(state.hops, state.leaving, dict(state.identities), now)
        self._schedule.restore(state.schedule, now)
        return self._end(now)

    def status(self) -> Mapping[str, object]:
        """What a person may want to know, as JSON values."""
        return {
            "partners": {
                pair.name: {"addresses": [str(address) for address in pair.addresses], "silent": pair.silent}
                for pair in self._in.pairs
            },
            "services": [
                {
                    **described(one.flow),
                    "partner": one.pair,
                    "wire_local": str(one.local.current.address),
                    "wire_remote": str(one.remote.current.address),
                    "kept": one.kept_until is not None,
                    "ended": one.ended is not None,
                }
                for one in self._in.services
            ],
            "hops": [
                {"hop": hop.number, "first": str(hop.first), "second": str(hop.second)}
                for hop in self._first.hops
            ],
            "contexts": len(self._second.contexts),
            "leaving": [str(address) for address in self._first.leaving.addresses],
            "schedule": self._schedule.status(),
            "dropped": dict(self._in.dropped),
        }

    # inside

    def _begin(self, now: int) -> None:
        self._now = self._turn = max(now, self._now)

    def _end(self, now: int) -> list[Action]:
        self._schedule.after(now)
        return self._in.outbox.take()

    def _receive_answer(
        self,
        hop: Hop,
        exchange: Exchange,
        leg: Leg,
        source: IPv6Address,
        destination: IPv6Address,
        octets: bytes,
        carriage: Carriage,
        now: int,
    ) -> None:
        keys = self._first.asking.keys(exchange)
        if not keys.verifies(leg, Direction.BACK, source, destination, octets):
            self._in.dropped["wrong MAC"] += 1
            return
        message = self._read(octets, _BACK, leg)
        if message is None:
            return
        if not exchange.windows[leg - 1].take(message.sequence):
            self._in.dropped["replayed"] += 1
            return
        self._first.asking.take_answer(exchange, destination, message, carriage, now)
        self._first.answered(hop, exchange, now)

    def _receive_question(
        self,
        context: Context,
        leg: Leg,
        source: IPv6Address,
        destination: IPv6Address,
        octets: bytes,
        carriage: Carriage,
        now: int,
    ) -> None:
        if not self._second.keys(context).verifies(leg, Direction.FORWARD, source, destination, octets):
            self._in.dropped["wrong MAC"] += 1
            return
        self._take_question(context, leg, source, destination, octets, carriage, now)

    def _receive_new(
        self,
        number: int,
        source: IPv6Address,
        destination: IPv6Address,
        octets: bytes,
        carriage: Carriage,
        now: int,
    ) -> None:
        """A request that may begin a context: a cheap look, the limit, the MAC, and only then state."""
        pair = self._in.pairs.of_context(number, source)
        if pair is None:
            self._in.dropped["no context of a pair"] += 1
            return
        if not self._limit.allows(source, now):
            self._in.dropped["too many from one source"] += 1
            return
        keys = pair.keys.context(number)
        if not keys.verifies(Leg.FIRST, Direction.FORWARD, source, destination, octets):
            self._in.dropped["wrong MAC"] += 1
            return
        message = self._read(octets, _FORWARD, Leg.FIRST)
        if message is None:
            return
        context = self._second.new_context(pair, keys, message, source, now)
        if context is not None:
            self._take_question(context, Leg.FIRST, source, destination, octets, carriage, now)

    def _take_question(
        self,
        context: Context,
        leg: Leg,
        source: IPv6Address,
        destination: IPv6Address,
        octets: bytes,
        carriage: Carriage,
        now: int,
    ) -> None:
        message = self._read(octets, _FORWARD, leg)
        if message is None:
            return
        if not context.windows[leg - 1].take(message.sequence):
            self._in.dropped["replayed"] += 1
            return
        self._partner_heard(self._in.pairs[context.pair], carriage)
        addresses = (source, destination)
        if message.kind is Kind.UPDATE_REQUEST:
            self._second.take_request(context, message, *addresses, carriage, now)
        elif message.kind is Kind.BACKUP_REQUEST:
            self._second.take_backup_request(context, message, *addresses, carriage, now)
        elif message.kind is Kind.SWITCH:
            self._second.take_switch(context, message, *addresses, carriage, now)
        else:
            self._second.take_close(context, *addresses, carriage, now)

    def _partner_heard(self, pair: Pair, carriage: Carriage) -> None:
        pair.silent = False
        pair.carriage = carriage

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

    def _service_began(self, service: Service, now: int) -> None:
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
