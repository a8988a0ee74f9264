"""The first terminal's side of an exchange: what it sends, and what answers change. No I/O.

Nothing is sent once: what is pending is repeated until it is answered or its time is over, and every answer
may come twice, late, or in another order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from ipaddress import IPv6Address
from typing import Any

from nodes.terminal.actions import Carriage, Outcome, Send
from nodes.terminal.hops import Exchange, Hop, Item, Proof, Step, Steps
from nodes.terminal.keys import ContextKeys, Direction, Leg
from nodes.terminal.message import (
    MOST_IDS,
    MOST_SERVICES,
    Capability,
    Code,
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
_SETTLING = 3000 * NS_PER_MS
"""How long an answered close waits for the answers to its repetitions: a partner without a processor for
this long gives them all at once, then. What is lost on the way costs an address that lives so much longer."""
_EACH = NS_PER_MS // 2
"""What the interval of repetition grows by for each message beyond the first: a partner reads them all."""

Addresses = tuple[IPv6Address, IPv6Address]


class Asking:
    """Sends an exchange's messages and takes their answers."""

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

    # what answers change

    def take_answer(
        self, exchange: Exchange, destination: IPv6Address, message: Message, carriage: Carriage, now: int
    ) -> None:
        """Take a message of the partner that is authentic and new."""
        pair = self._in.pairs[exchange.pair]
        pair.carriage = exchange.carriage = carriage
        pair.silent = False
        leg = Leg.FIRST if message.kind is Kind.UPDATE_RESPONSE else Leg.SECOND
        taken = exchange.measure(leg, message.answered, now)
        if taken is not None:
            pair.round_trip.measured(taken)
        if message.kind is Kind.UPDATE_RESPONSE:
            self._take_response(exchange, destination, message, now)
        elif message.kind is Kind.BACKUP_RESPONSE:
            self._take_backup_response(exchange, message, now)
        elif message.kind is Kind.SWITCH_ACK:
            self._take_switch_ack(exchange, message, now)
        elif message.kind is Kind.CLOSE:
            self._take_close(exchange, message, now)
        elif message.kind is Kind.ERROR:
            self._take_error(exchange, message, now)

    def _take_close(self, exchange: Exchange, message: Message, now: int) -> None:
        """The partner knows; the second address may be retired once no repetition is left to be answered."""
        if exchange.closing is None or exchange.closed is not None:
            return
        last = exchange.numbering[Leg.SECOND - 1].last
        if message.answered is None or message.answered >= last:
            exchange.closed = now
        elif exchange.settling is None:
            exchange.settling = exchange.next_send = now + max(self.grace(exchange), _SETTLING)

    def grace(self, exchange: Exchange) -> int:
        """How long something of the partner may still be under way, ns."""
        return max(self._in.settings.grace, 2 * (exchange.rtt or 0))

    def _take_response(
        self, exchange: Exchange, destination: IPv6Address, message: Message, now: int
    ) -> None:
        if exchange.answered is None:
            exchange.answered = now
        exchange.unrecognised = None
        for cookie in message.cookies[:1]:
            if not message.results and message.answered is None:  # the proof that was shown was too old
                for supported in self.steps.at(exchange, Step.SUPPORTED):
                    supported.sent = False
            exchange.proofs = [one for one in exchange.proofs if one.address != destination]
            exchange.proofs.append(Proof(address=destination, cookie=cookie))
            del exchange.proofs[:-8]
        for result in message.results:
            if result.id == 0:
                self._refuse_all(exchange, result.code, now)
                return
            item = exchange.item(result.id)
            if item is None or item.step is not Step.ASKING:
                continue
            if result.code == Code.SUPPORTED:
                item.asked_from = destination
                self.steps.move(exchange, item, Step.SUPPORTED, now)
            else:
                self.settle(exchange, item, Outcome.REFUSED, _reason(result.code), now)
        self.progress(exchange, now)

    def _take_backup_response(self, exchange: Exchange, message: Message, now: int) -> None:
        if exchange.closing is not None:
            return
        if exchange.prepared is None:
            exchange.prepared = now
        for result in message.results:
            item = exchange.item(result.id)
            if item is None or item.step is not Step.SUPPORTED:
                continue
            if result.code == Code.SUPPORTED:
                self.steps.move(exchange, item, Step.PREPARED, now)
            else:
                self.settle(exchange, item, Outcome.REFUSED, _reason(result.code), now)
        self.progress(exchange, now)

    def _take_switch_ack(self, exchange: Exchange, message: Message, now: int) -> None:
        news = exchange.switched is not None and exchange.acknowledged is None
        for number in message.ids:
            item = exchange.item(number)
            if item is not None and item.step is Step.SWITCHING:
                self.steps.move(exchange, item, Step.SWITCHED, now)
                item.outcome = Outcome.HOPPED
                news = True
        if news and exchange.switched is not None and not self.steps.any(exchange, Step.SWITCHING):
            exchange.acknowledged = now
        if news:
            self.progress(exchange, now)

    def _take_error(self, exchange: Exchange, message: Message, now: int) -> None:
        code = next((result.code for result in message.results if result.id == 0), None)
        if code == Code.COOKIE_NEEDED and message.cookies and exchange.prepared is None:
            if exchange.proof != message.cookies[0]:
                exchange.proof = message.cookies[0]
                for item in self.steps.at(exchange, Step.SUPPORTED):
                    item.sent = False
                self.progress(exchange, now)
        elif code is not None and code != Code.COOKIE_NEEDED:
            self._refuse_all(exchange, code, now)

    def _refuse_all(self, exchange: Exchange, code: int, now: int) -> None:
        for item in self.steps.at(exchange, Step.ASKING, Step.SUPPORTED):
            self.settle(exchange, item, Outcome.REFUSED, _reason(code), now)
        if exchange.prepared is None:
            exchange.failed = Outcome.REFUSED

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


def _reason(code: int) -> str:
    try:
        return Code(code).name.lower().replace("_", " ")
    except ValueError:
        return f"code {code}"
