"""Begins hops: by a period, at the end of a preferred lifetime, by a router's word, by hand. No I/O."""

from __future__ import annotations

from ipaddress import IPv6Address

from nodes import errors
from nodes.terminal.actions import AddAddress, RefusedAddress
from nodes.terminal.first import FirstTerminal
from nodes.terminal.hops import Hop
from nodes.terminal.plan import NS_PER_MS, NS_PER_S, HopPlan, Kind
from nodes.terminal.second_addresses import SecondAddresses
from nodes.terminal.services import Tracked
from nodes.terminal.snapshot import ScheduleState
from nodes.terminal.surroundings import Surroundings

MOST_DUPLICATES = 3
"""Second addresses in a row that may turn out to be somebody else's (RFC 7217 §6, IDGEN_RETRIES)."""
_AGAIN = 20 * NS_PER_MS
_KEY_OCTETS = 32
_EXHAUSTED = "the pool of second addresses is exhausted"


class Schedule:
    """The one schedule of a terminal."""

    def __init__(self, surroundings: Surroundings, first: FirstTerminal, interface: str) -> None:
        self._in = surroundings
        self._first = first
        self._interface = interface
        self._at = ScheduleState()
        self._pool: SecondAddresses | None = None
        self._duplicates: dict[int, int] = {}
        self._ended_before = 0
        self._late = False
        self._told_done = True

    # orders

    def start(self, plan: HopPlan, now: int) -> None:
        """Hop by this plan.

        Raises:
            ParameterError: nothing drives its hops.
        """
        if plan.period is None and not plan.by_lifetimes:
            raise errors.ParameterError(
                "hops: nothing drives them: give a period, or preferred and valid, or kind=ra"
            )
        self._take(plan, now, by_hand=False)
        if plan.period is not None:
            self._at.next_slot = plan.slot(1, now, self._in.random)
        elif plan.preferred is not None and plan.valid is not None:
            lifetimes = {"preferred": plan.preferred * NS_PER_S, "valid": plan.valid * NS_PER_S}
            self._in.outbox.act(AddAddress(address=plan.first, **lifetimes))

    def by_hand(self, plan: HopPlan | None, now: int) -> int:
        """Hop once; returns the hop's number.

        Raises:
            ParameterError: there is neither a plan nor a schedule, or both.
        """
        running = self._at.plan is not None and not self._at.by_hand
        if plan is None and self._at.plan is None:
            raise errors.ParameterError("hop: there is no schedule to hop by: say which address hops and how")
        if plan is not None and running:
            raise errors.ParameterError(
                "hop: a schedule is running; it says how addresses hop, or stop it first"
            )
        if plan is not None and (self._at.plan != plan or not self._at.by_hand):
            self._take(plan, now, by_hand=True)
        self._at.number += 1
        self._at.queued.append(self._at.number)
        self._next_queued(now)
        return self._at.number

    def stop(self) -> None:
        """No further hops."""
        self._at.plan = None
        self._at.next_slot = None
        self._at.waiting = False
        self._pool = None
        self._told_done = True

    # what happens

    def address_added(
        self, address: IPv6Address, preferred: int | None, valid: int | None, advertised: bool, now: int
    ) -> None:
        """The interface has an address that is no longer tentative."""
        del valid
        plan = self._at.plan
        if (
            plan is not None
            and plan.kind is Kind.RA
            and advertised
            and preferred != 0
            and self._pool is not None
        ):
            if address != self._at.current and address not in self._first.leaving.identities:
                self._pool.offer(address)
            if self._at.waiting:
                self._at.waiting = False
                self._begin(now)
        hop = self._pending(address)
        if hop is not None:
            self._at.current = address
            self._duplicates.pop(hop.number, None)
            self._first.ready(address, now)

    def address_refused(self, address: IPv6Address, reason: RefusedAddress, text: str, now: int) -> None:
        """An address could not be added, or is somebody else's."""
        self._in.outbox.report("hop.address-refused", address=str(address), reason=reason.value, text=text)
        hop = self._pending(address)
        if hop is None:
            self._first.lost(address, now)
            return
        tries = self._duplicates[hop.number] = self._duplicates.get(hop.number, 0) + 1
        another = None
        if reason is RefusedAddress.DUPLICATE and tries <= MOST_DUPLICATES and self._pool is not None:
            another = self._pool.take(hop.first, self._in_use())
        if another is not None:
            self._first.instead(hop, another, self._preferred())
            return
        self._duplicates.pop(hop.number, None)
        self._first.abandon(hop, _why(reason, text, tries))
        self._stay(hop.first)

    def address_deprecated(self, address: IPv6Address, now: int) -> None:
        """A preferred lifetime ended: the moment to ask."""
        plan = self._at.plan
        if self._pool is not None:
            self._pool.withdraw(address)
        if plan is None or not plan.by_lifetimes or self._at.by_hand or address != self._at.current:
            return
        if not any(hop.first == address for hop in self._first.hops):  # a restart tells it again
            self._due(now)

    def address_expired(self, address: IPv6Address, now: int) -> None:
        """A valid lifetime ended, or somebody removed the address."""
        if self._pool is not None:
            self._pool.withdraw(address)
        self._first.expired(address, now)
        if self._pending(address) is None:
            self._first.lost(address, now)

    def service_ended(self, tracked: Tracked) -> None:
        """A service ended; one that no hop has asked about ended before."""
        if self._at.plan is not None and tracked.local.current.address == self._at.current:
            self._ended_before += 1

    def tick(self, now: int) -> None:
        """Begin the hop that is due."""
        if self._at.next_slot is None or self._at.plan is None or now < self._at.next_slot:
            return
        self._due(now)

    def next_wake(self) -> int | None:
        """When something is due next."""
        return self._at.next_slot

    def after(self, now: int) -> None:
        """Begin what waited, and say once that a schedule has come to its end."""
        self._next_queued(now)
        plan = self._at.plan
        if (
            self._told_done
            or plan is None
            or plan.hops is None
            or self._at.begun < plan.hops
            or self._first.hops
        ):
            return
        self._told_done = True
        self._in.outbox.report("hops.done", hops=self._at.begun)

    # state

    def state(self) -> ScheduleState:
        """How far it has come."""
        self._at.taken = self._pool.taken if self._pool is not None else 0
        return self._at

    def restore(self, state: ScheduleState, now: int) -> None:
        """Go on from there; what was stored ahead of the sequence is made anew with another key."""
        self._at = state
        plan = state.plan
        if plan is None:
            return
        self._told_done = state.by_hand
        self._pool = SecondAddresses(plan, self._in.octets(_KEY_OCTETS), self._interface, state.taken)
        for hop in self._first.hops:
            if hop.ready is None:
                self._in.outbox.act(
                    AddAddress(address=hop.second, preferred=self._preferred(), valid=hop.duration)
                )
        if state.next_slot is not None and state.next_slot < now:
            state.next_slot = now

    @property
    def current(self) -> IPv6Address | None:
        """The address that hops next."""
        return self._at.current

    def status(self) -> dict[str, object]:
        """As JSON values."""
        plan = self._at.plan
        return {
            "kind": plan.kind.value if plan is not None else None,
            "by_hand": self._at.by_hand,
            "current": str(self._at.current) if self._at.current is not None else None,
            "hops": self._at.begun,
            "of": plan.hops if plan is not None else None,
            "stored": len(self._pool.stored) if self._pool is not None else 0,
        }

    # inside

    def _take(self, plan: HopPlan, now: int, *, by_hand: bool) -> None:
        current = plan.first
        if by_hand and self._at.current is not None and any(hop.first == current for hop in self._first.hops):
            current = self._at.current  # it is already on its way from there
        self._at = ScheduleState(
            plan=plan,
            current=current,
            number=self._at.number,
            started=now,
            by_hand=by_hand,
            queued=self._at.queued if by_hand else [],
        )
        self._pool = SecondAddresses(plan, self._in.octets(_KEY_OCTETS), self._interface)
        self._ended_before = 0
        self._told_done = by_hand

    def _next_queued(self, now: int) -> None:
        """Begin the hop by hand that was asked for first, if one can begin now."""
        if self._at.queued and not self._busy() and self._begin(now, self._at.queued[0]):
            self._at.queued.pop(0)

    def _due(self, now: int) -> None:
        """Begin the schedule's next hop, or try again shortly where none can begin yet."""
        if self._busy() or not self._begin(now):
            if not self._late:
                self._late = True
                self._in.outbox.report("hop.late", hop=self._at.number + 1, under_way=len(self._first.hops))
            self._at.next_slot = now + _AGAIN
            return
        self._late = False
        plan = self._at.plan
        if self._at.next_slot is None or plan is None:
            return
        if plan.period is None:
            self._at.next_slot = None
            return
        slot = max(self._at.begun + 1, (now - self._at.started) // plan.period + 1)
        self._at.next_slot = plan.slot(slot, self._at.started, self._in.random)

    def _busy(self) -> bool:
        """Whether no hop can begin now: it would not know from where, or too many are under way."""
        under_way = self._first.hops
        return any(hop.ready is None for hop in under_way) or len(under_way) >= self._in.settings.most_hops

    def _begin(self, now: int, number: int | None = None) -> bool:
        """Begin a hop, or tell that it fails; False: an address for it will soon be free."""
        plan = self._at.plan
        first = self._at.current
        if plan is None or first is None or self._pool is None:
            return True
        if number is None and plan.hops is not None and self._at.begun >= plan.hops:
            self._at.next_slot = None
            return True
        second = self._pool.take(first, self._in_use())
        if second is None and plan.kind is Kind.RA and number is None:
            self._at.waiting = True
            return True
        if second is None and self._pool.stored and self._soon_free():
            return False
        if number is None:
            number = self._at.number = self._at.number + 1
        self._at.begun += 1
        if second is None:
            why = "every second address of the pool is in use" if self._pool.stored else _EXHAUSTED
            self._in.outbox.report("hop.failed", hop=number, first=str(first), reason=why)
            self._stay(first)
            self._at.next_slot = None
            return True
        last = plan.hops is not None and self._at.begun >= plan.hops
        by_kernel = plan.preferred is not None and plan.valid is not None and not self._at.by_hand
        duration = plan.valid * NS_PER_S if plan.valid is not None and by_kernel and not last else None
        room = (plan.valid - plan.preferred) * NS_PER_S if by_kernel and plan.valid and plan.preferred else 0
        if last and not self._at.by_hand:
            self._at.next_slot = None
        ended_before, self._ended_before = self._ended_before, 0
        self._first.begin(
            number,
            first,
            second,
            now,
            due=now + room,
            at_expiry=by_kernel,
            preferred=self._preferred() if duration is not None else None,
            duration=duration,
            there=plan.kind is Kind.RA,
            ended_before=ended_before,
        )
        if plan.kind is Kind.RA:
            self._at.current = second
        return True

    def _preferred(self) -> int | None:
        plan = self._at.plan
        return plan.preferred * NS_PER_S if plan is not None and plan.preferred is not None else None

    def _pending(self, address: IPv6Address) -> Hop | None:
        """The hop that waits for this second address."""
        return next((hop for hop in self._first.hops if hop.second == address and hop.ready is None), None)

    def _in_use(self) -> set[IPv6Address]:
        used = set(self._first.leaving.identities) | set(self._first.leaving.addresses)
        return used | {hop.second for hop in self._first.hops} | {hop.first for hop in self._first.hops}

    def _soon_free(self) -> bool:
        """Whether an address in use soon is not: hops are under way, or only ended services bear one."""
        borne = (self._in.services.of_sockets(address) for address in self._first.leaving.identities)
        return bool(self._first.hops) or any(
            there and all(tracked.ended is not None for tracked in there) for there in borne
        )

    def _stay(self, first: IPv6Address) -> None:
        """The first address goes on: where its lifetime was to end it no longer does."""
        plan = self._at.plan
        if plan is not None and plan.preferred is not None:
            self._in.outbox.act(AddAddress(address=first))


def _why(reason: RefusedAddress, text: str, tries: int) -> str:
    if reason is RefusedAddress.DUPLICATE:
        return f"{tries} second addresses in a row are in use already (duplicate address detection)"
    if reason is RefusedAddress.NOT_ON_LINK:
        return f"the second address's prefix is not on the link: {text}"
    return f"the second address could not be added: {text}"
