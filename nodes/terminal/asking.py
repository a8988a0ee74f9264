"""The first terminal's side of an exchange: what it sends. No I/O.

Nothing is sent once: what is pending is repeated until it is answered or its time is over.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from ipaddress import IPv6Address
from typing import Any

from nodes.terminal.actions import Carriage, Outcome, Send
from nodes.terminal.hops import Exchange, Hop, Item, Step, Steps
from nodes.terminal.keys import ContextKeys, Direction, Leg
from nodes.terminal.message import (
    MOST_IDS,
    MOST_SERVICES,
    Capability,
    Kind,
    Lifetimes,
    Listed,
    Message,
    encode,
    portions,
)
from nodes.terminal.plan import NS_PER_MS, capability
from nodes.terminal.surroundings import Surroundings

MOST_MS = 0xFFFFFFFF
_QUICK_TRIES = 8
_CLOSE_TRIES = 12
_LEAST_TRIES = 5
_EACH = NS_PER_MS // 2
"""What the interval of repetition grows by for each message beyond the first: a partner reads them all."""

Addresses = tuple[IPv6Address, IPv6Address]


class Asking:
    """Sends an exchange's messages."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._in = surroundings
        self.steps = Steps()
        self._keys: dict[int, ContextKeys] = {}

    def keys(self, exchange: Exchange) -> ContextKeys:
        """The exchange's keys."""
        found = self._keys.get(exchange.context)
        if found is None:
            found = self._in.pairs[exchange.pair].keys.context(exchange.context)
            self._keys[exchange.context] = found
        return found

    def forget(self, exchange: Exchange) -> None:
        """The exchange is over."""
        self.steps.forget(exchange)
        self._keys.pop(exchange.context, None)

    # what is sent

    def send_pending(self, hop: Hop, exchange: Exchange, now: int) -> None:
        """Send what was not sent yet; and, where that is due, all again that is not answered."""
        again = exchange.next_send is None or exchange.next_send <= now
        exchange.fresh = False
        sent = self._send_requests(hop, exchange, now, again)
        sent += self._send_backups(hop, exchange, now, again)
        sent += self._send_switches(hop, exchange, now, again)
        sent += self._send_close(hop, exchange, now)
        if not again and not sent:
            return
        if not sent:
            exchange.next_send = None
            return
        settings = self._in.settings
        chance = self._in.random.randint(settings.retry_least, settings.retry_most)
        slow = self._in.pairs[exchange.pair].round_trip.timeout + chance - settings.retry_least
        wait = max(chance + (sent - 1) * _EACH, min(slow, settings.retry_slow))
        if exchange.tries > _QUICK_TRIES:
            wait = min(wait << min(exchange.tries - _QUICK_TRIES, 16), settings.retry_slow)
        exchange.tries += 1
        exchange.next_send = now + wait

    def _send_requests(self, hop: Hop, exchange: Exchange, now: int, again: bool) -> int:
        if exchange.failed is not None or exchange.closing is not None:
            return 0
        groups = self._grouped(exchange, self._due(exchange, Step.ASKING, again), None)
        if not groups and exchange.answered is None and (again or exchange.asked is None):
            groups = self._to_pair(exchange, hop.first)
        sent = 0
        ports = Capability.PORTS if self._in.settings.move_ports else Capability.NONE
        for (source, destination), items in groups.items():
            for portion in portions(items, MOST_SERVICES) or [[]]:
                self._send(
                    exchange,
                    Leg.FIRST,
                    (source, destination),
                    now,
                    Kind.UPDATE_REQUEST,
                    flags=capability(source, hop.second) | ports,
                    services=tuple(filter(None, map(self._listed, portion))),
                    sealed=exchange.sealed,
                    lifetimes=Lifetimes(_ms(hop.due - now), _ms(hop.duration)),
                )
                sent += 1
        if sent and exchange.asked is None:
            exchange.asked = now
        return sent

    def _send_backups(self, hop: Hop, exchange: Exchange, now: int, again: bool) -> int:
        if exchange.failed is not None or exchange.closing is not None or exchange.answered is None:
            return 0
        by_proof: dict[IPv6Address, list[Item]] = defaultdict(list)
        for item in self._due(exchange, Step.SUPPORTED, again):
            if item.asked_from is not None:
                by_proof[item.asked_from].append(item)
        alone = not self.steps.any(exchange, Step.ASKING, Step.SUPPORTED)
        if alone and exchange.prepared is None and exchange.proofs:
            by_proof[exchange.proofs[-1].address] = []
        sent = 0
        for asked_from, items in by_proof.items():
            cookie = next((one.cookie for one in exchange.proofs if one.address == asked_from), None)
            if cookie is None:
                continue
            cookies = (cookie,) if exchange.proof is None else (cookie, exchange.proof)
            groups = (
                self._grouped(exchange, items, hop.second) if items else self._to_pair(exchange, hop.second)
            )
            for addresses, group in groups.items():
                for portion in portions(group, MOST_IDS) or [[]]:
                    self._send(
                        exchange,
                        Leg.SECOND,
                        addresses,
                        now,
                        Kind.BACKUP_REQUEST,
                        lifetimes=Lifetimes(_ms(hop.due - now), _ms(hop.duration)),
                        cookies=cookies,
                        ids=tuple(item.id for item in portion),
                    )
                    sent += 1
        if sent and exchange.lease is None:
            exchange.lease = now + max(hop.due - now, 0) + self._in.settings.hold // 2
        return sent

    def _send_switches(self, hop: Hop, exchange: Exchange, now: int, again: bool) -> int:
        if exchange.failed is not None or exchange.closing is not None:
            return 0
        groups = self._grouped(exchange, self._due(exchange, Step.SWITCHING, again), hop.second)
        alone = not self.steps.any(exchange, Step.SWITCHING)
        if alone and exchange.switched is not None and exchange.acknowledged is None:
            groups = self._to_pair(exchange, hop.second)
        sent = 0
        for addresses, group in groups.items():
            for portion in portions(group, MOST_IDS) or [[]]:
                ids = tuple(item.id for item in portion)
                self._send(exchange, Leg.SECOND, addresses, now, Kind.SWITCH, ids=ids)
                sent += 1
        return sent

    def _send_close(self, hop: Hop, exchange: Exchange, now: int) -> int:
        if exchange.closing is None or exchange.settling is not None:
            return 0
        groups = self._to_pair(exchange, hop.second)
        for addresses in groups:
            self._send(exchange, Leg.SECOND, addresses, now, Kind.CLOSE)
        return len(groups)

    def _due(self, exchange: Exchange, step: Step, again: bool) -> list[Item]:
        """The services of a step whose message is to be sent now."""
        items = [item for item in self.steps.at(exchange, step) if again or not item.sent]
        for item in items:
            item.sent = True
        return items

    def _grouped(
        self, exchange: Exchange, items: Iterable[Item], from_second: IPv6Address | None
    ) -> dict[Addresses, list[Item]]:
        """Services by their messages' addresses: from where they are now, or from the second address."""
        groups: dict[Addresses, list[Item]] = defaultdict(list)
        elsewhere = self._elsewhere(exchange) if from_second is not None else None
        for item in items:
            tracked = self._in.services.get(item.flow)
            if tracked is not None:
                out = tracked.out
                groups[from_second or out.local.address, elsewhere or out.remote.address].append(item)
        return groups

    def _elsewhere(self, exchange: Exchange) -> IPv6Address | None:
        """Every other time where the partner is now: it may have left a service that it no longer has."""
        return self._in.pairs[exchange.pair].address if exchange.tries % 2 else None

    def _to_pair(self, exchange: Exchange, source: IPv6Address) -> dict[Addresses, list[Item]]:
        """A message that is about no service: to where the partner is now."""
        address = self._elsewhere(exchange)
        if address is None:
            address = self._in.pairs[exchange.pair].address
            for item in exchange.items[-8:]:  # a service knows better
                tracked = self._in.services.get(item.flow)
                if tracked is not None and tracked.ended is None:
                    address = tracked.remote.current.address
        return {} if address is None else {(source, address): []}

    def _listed(self, item: Item) -> Listed | None:
        tracked = self._in.services.get(item.flow)
        if tracked is None:
            return None
        out = tracked.out
        return Listed(item.id, item.flow.protocol, out.local.port, out.remote.port)

    def _send(
        self, exchange: Exchange, leg: Leg, addresses: Addresses, now: int, kind: Kind, **fields: Any
    ) -> None:
        keys = self.keys(exchange)
        numbering = exchange.numbering[leg - 1]
        if numbering.began < 0:
            numbering.began = now
        message = Message(kind=kind, context=keys.on(leg), sequence=numbering.next(now), **fields)
        octets = encode(message)
        whole = octets + keys.mac(leg, Direction.FORWARD, *addresses, octets)
        for carriage in self._carriages(exchange, now):
            self._in.outbox.act(
                Send(source=addresses[0], destination=addresses[1], message=whole, carriage=carriage)
            )

    def _carriages(self, exchange: Exchange, now: int) -> Iterator[Carriage]:
        """By the one that works; by both while none has and the first had its time."""
        yield exchange.carriage
        if (
            self._in.settings.fallback
            and exchange.carriage is Carriage.OPTION
            and exchange.answered is None
            and (
                exchange.option_unknown is not None
                or now - exchange.waiting >= self._in.settings.fallback_after
            )
        ):
            yield Carriage.UDP

    # how far an exchange has come

    def grace(self, exchange: Exchange) -> int:
        """How long something of the partner may still be under way, ns."""
        return max(self._in.settings.grace, 2 * (exchange.rtt or 0))

    def settle(self, exchange: Exchange, item: Item, outcome: Outcome, reason: str, now: int) -> None:
        """Decide what becomes of a service; nothing more is done for it in this hop."""
        self.steps.move(exchange, item, Step.OVER, now)
        item.outcome = outcome
        item.reason = reason

    def progress(self, exchange: Exchange, now: int) -> None:
        """The exchange came further: what is new goes out at once, and has all its tries before it."""
        exchange.waiting = now
        exchange.tries = 0
        exchange.fresh = True

    def asked_enough(self, exchange: Exchange) -> bool:
        """Whether silence is the partner's: what is pending was repeated, or cannot be sent at all.

        Time alone does not say so: this terminal may have had no processor, and the answer may wait for it.
        """
        return exchange.tries >= _LEAST_TRIES or exchange.next_send is None

    def close_tried(self, exchange: Exchange) -> bool:
        """Whether the close was sent often enough."""
        return exchange.tries > _CLOSE_TRIES


def _ms(duration: int | None) -> int:
    return MOST_MS if duration is None else min(max(duration, 0) // NS_PER_MS, MOST_MS)
