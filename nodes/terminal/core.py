"""A terminal: first and second terminal at once, its services, its schedule. No socket, no clock. No I/O.

It is told what happens (:class:`~nodes.terminal.actions.Inputs`) and answers with actions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv6Address
from random import Random

from nodes.terminal.actions import (
    Action,
    Carriage,
    Flow,
    RefusedAddress,
    Rewriting,
    Service,
    Undone,
    Unrecognised,
)
from nodes.terminal.arrival import Arrival
from nodes.terminal.first import FirstTerminal
from nodes.terminal.keys import RandomOctets
from nodes.terminal.outbox import Outbox
from nodes.terminal.pairs import Pairs
from nodes.terminal.plan import HopPlan
from nodes.terminal.policy import Policy
from nodes.terminal.reception import Reception
from nodes.terminal.scheduling import Schedule
from nodes.terminal.second import SecondTerminal
from nodes.terminal.services import ServiceTable
from nodes.terminal.settings import Settings
from nodes.terminal.snapshot import State, read, written
from nodes.terminal.surroundings import Surroundings, described
from nodes.terminal.tracking import Tracking

_LEAST_WAKE = 1_000_000


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
        self._reception = Reception(self._in, self._first, self._second)
        self._tracking = Tracking(self._in, self._first, self._second, self._schedule)
        self._now = 0
        self._turn = 0
        self._undone: list[Undone] = []

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
        seen = self._reception.context(message)
        if seen is None:
            return []
        self._begin(now)
        self._reception.take(*seen, Arrival(source, destination, message, carriage, now))
        return self._end(now)

    def unrecognised(self, error: Unrecognised, source: IPv6Address, quoted: bytes, now: int) -> list[Action]:
        """See :class:`~nodes.terminal.actions.Inputs`.

        Believed only where the quoted message is one of ours, MAC and all, to that source and still
        unanswered: nobody who did not see it can quote it. Even then a true answer that comes a little
        later is taken instead.
        """
        asked = self._reception.unrecognised(error, source, quoted)
        if asked is None:
            return []
        carriage = Carriage.OPTION if error is Unrecognised.PARAMETER_PROBLEM else Carriage.UDP
        self._begin(now)
        self._first.not_recognised(*asked, carriage, now)
        return self._end(now)

    def flows_changed(self, began: Sequence[Service], ended: Sequence[Flow], now: int) -> list[Action]:
        """See :class:`~nodes.terminal.actions.Inputs`."""
        self._begin(now)
        self._tracking.changed(began, ended, now)
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
        self._tracking.tick(now)
        return self._end(now)

    def concerned(self, flow: Flow) -> bool:
        """Whether a flow can be a service; see :meth:`nodes.terminal.tracking.Tracking.concerned`."""
        return self._tracking.concerned(flow)

    def next_wake(self) -> int | None:
        """See :class:`~nodes.terminal.actions.Inputs`."""
        times = [self._first.next_wake(), self._second.next_wake(), self._schedule.next_wake()]
        times += self._tracking.wakes()
        found = min((time for time in times if time is not None), default=None)
        return None if found is None else max(found, self._now + _LEAST_WAKE)

    def carried_out(self) -> bool:
        """See :class:`~nodes.terminal.actions.Inputs`."""
        undone, self._undone = self._undone, []
        return bool(undone)

    def rewritings(self) -> list[Rewriting]:
        """See :class:`~nodes.terminal.actions.Inputs`."""
        return [rewriting for one in self._in.services if not (rewriting := one.rewriting()).over]

    @property
    def settings(self) -> Settings:
        """Times and options that are in force."""
        return self._in.settings

    def flows(self) -> list[Flow]:
        """The services that are known, those aside that ended."""
        return [one.flow for one in self._in.services if one.ended is None]

    # state

    def snapshot(self) -> bytes:
        """See :class:`~nodes.terminal.actions.Inputs`; secrets and keys are not in it."""
        return written(
            State(
                settings=self._in.settings,
                services=list(self._in.services),
                hops=self._first.hops,
                leaving=list(self._first.leaving.addresses),
                identities=list(self._first.leaving.identities.items()),
                contexts=list(self._second.contexts),
                partners={pair.name: pair.addresses for pair in self._in.pairs},
                schedule=self._schedule.state(),
                undone=self._undone,
            )
        )

    def restore(self, snapshot: bytes, now: int) -> list[Action]:
        """Take up the state that an earlier process wrote; the pairs must be known: no secret is in it.

        Hops that were under way go on: what was pending is sent again, what was done is said again, and so is
        what was decided but perhaps not carried out. A hop with a partner that is no longer known is taken
        back.

        Raises:
            ParameterError: the snapshot is none.
        """
        state = read(snapshot)
        self._begin(now)
        self._in.settings = state.settings
        for name, addresses in state.partners.items():
            pair = self._in.pairs.get(name)
            for address in addresses if pair is not None else ():
                if pair is not None and self._in.pairs.at(address) in (None, pair):
                    pair.arrived(address)
        for tracked in state.services:
            self._in.services.put(tracked)
            self._in.services.changed_again(tracked.flow)
        for action in state.undone:
            self._in.outbox.act(action)
        self._second.contexts.restore(state.contexts)
        self._first.restore(state.hops, state.leaving, dict(state.identities), now)
        self._schedule.restore(state.schedule, now)
        return self._end(now)

    def present(self, addresses: Mapping[IPv6Address, bool], now: int) -> list[Action]:
        """What the interface has after a restart, each with whether it is deprecated.

        A lifetime that ended while no process was there to hear of it counts as ending now.
        """
        self._begin(now)
        ending = [hop.first for hop in self._first.hops]
        ending += [self._schedule.current] if self._schedule.current is not None else []
        ending += [one.local.current.address for one in self._in.services if one.ended is None]
        for address in dict.fromkeys(ending):
            if addresses.get(address, True):
                self._schedule.address_deprecated(address, now)
            if address not in addresses:
                self._schedule.address_expired(address, now)
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
        actions = self._in.outbox.take()
        self._undone += [action for action in actions if isinstance(action, Undone)]
        return actions
