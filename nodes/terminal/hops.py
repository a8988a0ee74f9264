"""A hop's state at the first terminal: its exchange with each partner, each service in it. No I/O.

Everything here is data that a restart takes up again; what is done with it stands in
:mod:`nodes.terminal.first`, :mod:`nodes.terminal.exchanges`, :mod:`nodes.terminal.asking` and
:mod:`nodes.terminal.answers`.
"""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv6Address

import msgspec

from nodes.terminal.actions import Carriage, Endpoint, Flow, Outcome
from nodes.terminal.replay import Numbering, Window

MOST_ID = 0xFFFF - 1023
"""As many services can have ports of their own from 1024 on."""


class Step(StrEnum):
    """How far a service has come in a hop."""

    ASKING = "asking"
    """The partner is asked whether it supports updating."""
    SUPPORTED = "supported"
    """It does; a backup session is asked for."""
    PREPARED = "prepared"
    """The backup session stands."""
    SWITCHING = "switching"
    """This terminal's packets bear the second address; the partner is told."""
    SWITCHED = "switched"
    """The partner's packets go to the second address."""
    OVER = "over"
    """Nothing more is done for it in this hop."""


class Item(msgspec.Struct, kw_only=True):
    """A service in a hop.

    Attributes:
        id: its number in the context.
        flow: the service.
        target: its end at the second address.
        step: how far it has come.
        since: when it came there, ns.
        sent: the message that this step asks for was sent.
        asked_from: the first address that the answer came to.
        left: the end that it had before the switch.
        outcome: what became of it, None: not decided.
        reason: why, where there is a reason to tell.
        failures: how often the data plane refused its switch.
    """

    id: int
    flow: Flow
    target: Endpoint
    step: Step = Step.ASKING
    since: int
    sent: bool = False
    asked_from: IPv6Address | None = None
    left: Endpoint | None = None
    outcome: Outcome | None = None
    reason: str = ""
    failures: int = 0


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """The cookie that came to one of our first addresses."""

    address: IPv6Address
    cookie: bytes


class Exchange(msgspec.Struct, kw_only=True):
    """A hop with one partner. Times are ns; None: not yet.

    Attributes:
        pair: the partner's name.
        context: its number on the first leg.
        sealed: the second address as it goes over the wire.
        began: when it began.
        items: the services in it.
        numbering: of the messages sent, on the first and on the second leg.
        windows: of the messages taken, likewise.
        carriage: how messages travel.
        proofs: cookies for first addresses.
        proof: the cookie for the second address.
        rtt: the longest round trip of a message and its answer.
        asked: when the first request was sent.
        answered: the first authenticated answer.
        prepared: the backup session stood.
        switched: all that was to switch had switched here.
        acknowledged: the partner had switched too.
        closing: the first address is no longer used with this partner.
        settling: the partner knows; until then answers to repetitions of the close may come.
        closed: the partner knows and no more answers come, or it does not answer any more.
        waiting: since when the message that is repeated now goes unanswered.
        tries: how often it was sent.
        fresh: something is to be sent for the first time.
        told: how many of its phases were reported.
        next_send: when it is sent again.
        lease: until when the partner surely keeps the backup session.
        unrecognised: when an ICMPv6 error said that the message is not recognised.
        option_unknown: when an ICMPv6 error said so of the option, while UDP is left to try.
        failed: the outcome of the exchange as a whole, where it failed.
    """

    pair: str
    context: int
    sealed: bytes
    began: int
    items: list[Item] = []
    numbering: tuple[Numbering, Numbering]
    windows: tuple[Window, Window]
    carriage: Carriage
    proofs: list[Proof] = []
    proof: bytes | None = None
    rtt: int | None = None
    asked: int | None = None
    answered: int | None = None
    prepared: int | None = None
    switched: int | None = None
    acknowledged: int | None = None
    closing: int | None = None
    settling: int | None = None
    closed: int | None = None
    waiting: int
    tries: int = 0
    fresh: bool = True
    told: int = 0
    next_send: int | None = None
    lease: int | None = None
    unrecognised: int | None = None
    option_unknown: int | None = None
    failed: Outcome | None = None

    def item(self, number: int) -> Item | None:
        """The service of this id; ids count up from 1."""
        return self.items[number - 1] if 0 < number <= len(self.items) else None

    def measure(self, leg: int, answered: int | None, now: int) -> int | None:
        """An answer came to the message of this number; how long it took, ns, where that is known."""
        taken = self.numbering[leg - 1].since(answered, now) if answered is not None else None
        if taken is not None:
            self.rtt = max(taken, self.rtt or 0)
        return taken


class Hop(msgspec.Struct, kw_only=True):
    """One address after another. Times are ns; None: not yet.

    Attributes:
        number: counts up.
        first: the address that ends.
        second: the address that comes after it.
        began: when the hop began.
        due: from when services may switch; where ``at_expiry``, at the latest.
        at_expiry: they switch when the valid lifetime of the first address ends.
        duration: the valid lifetime of the second address, None: for ever.
        ready: the second address could be used.
        exchanges: with each partner.
        alone: services that nobody can be asked about, with why.
        ended_before: services on the first address that ended before the hop began.
        held: the first address was asked to stay, as the partner had not switched when it expired.
        retired: the first address is gone.
        closed: the hop is over.
    """

    number: int
    first: IPv6Address
    second: IPv6Address
    began: int
    due: int
    at_expiry: bool = False
    duration: int | None = None
    ready: int | None = None
    exchanges: list[Exchange] = []
    alone: list[Item] = []
    ended_before: int = 0
    held: bool = False
    retired: int | None = None
    closed: int | None = None


class Steps:
    """Which services of an exchange stand at which step: an index beside the state, made anew on restart."""

    def __init__(self) -> None:
        self._of: dict[int, dict[Step, dict[int, Item]]] = {}

    def at(self, exchange: Exchange, *steps: Step) -> list[Item]:
        """The services that have come this far, those first that came there first."""
        index = self._index(exchange)
        return [item for step in steps for item in index[step].values()]

    def any(self, exchange: Exchange, *steps: Step) -> bool:
        """Whether a service has come just this far."""
        index = self._index(exchange)
        return any(index[step] for step in steps)

    def oldest(self, exchange: Exchange, step: Step) -> Item | None:
        """The service that stands there longest."""
        return next(iter(self._index(exchange)[step].values()), None)

    def add(self, exchange: Exchange, item: Item) -> None:
        """A service joins."""
        self._index(exchange)
        exchange.items.append(item)
        self._of[exchange.context][item.step][item.id] = item

    def move(self, exchange: Exchange, item: Item, step: Step, now: int) -> None:
        """A service comes to another step."""
        index = self._index(exchange)
        index[item.step].pop(item.id, None)
        item.step = step
        item.since = now
        item.sent = False
        index[step][item.id] = item

    def forget(self, exchange: Exchange) -> None:
        """The exchange is over."""
        self._of.pop(exchange.context, None)

    def _index(self, exchange: Exchange) -> dict[Step, dict[int, Item]]:
        index = self._of.get(exchange.context)
        if index is None:
            index = self._of[exchange.context] = {step: {} for step in Step}
            for item in sorted(exchange.items, key=lambda item: item.since):
                index[item.step][item.id] = item
        return index
