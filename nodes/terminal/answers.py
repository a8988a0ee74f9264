"""The first terminal's side of an exchange: what the partner's answers change. No I/O.

Every answer may come twice, late, or in another order.
"""

from __future__ import annotations

from ipaddress import IPv6Address

from nodes.terminal.actions import Outcome
from nodes.terminal.arrival import Arrival
from nodes.terminal.asking import Asking
from nodes.terminal.hops import Exchange, Proof, Step
from nodes.terminal.keys import Leg
from nodes.terminal.message import Code, Kind, Message
from nodes.terminal.plan import NS_PER_MS
from nodes.terminal.surroundings import Surroundings

_SETTLING = 3000 * NS_PER_MS
"""How long an answered close waits for the answers to its repetitions: a partner without a processor for
this long gives them all at once, then. What is lost on the way costs an address that lives so much longer."""


class Answers:
    """Takes the answers to an exchange's messages."""

    def __init__(self, surroundings: Surroundings, asking: Asking) -> None:
        self._in = surroundings
        self._asking = asking
        self._steps = asking.steps

    def take(self, exchange: Exchange, message: Message, arrival: Arrival) -> None:
        """Take a message of the partner that is authentic and new."""
        now = arrival.now
        pair = self._in.pairs[exchange.pair]
        pair.carriage = exchange.carriage = arrival.carriage
        pair.silent = False
        leg = Leg.FIRST if message.kind is Kind.UPDATE_RESPONSE else Leg.SECOND
        taken = exchange.measure(leg, message.answered, now)
        if taken is not None:
            pair.round_trip.measured(taken)
        if message.kind is Kind.UPDATE_RESPONSE:
            self._take_response(exchange, arrival.destination, message, now)
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
            exchange.settling = exchange.next_send = now + max(self._asking.grace(exchange), _SETTLING)

    def _take_response(
        self, exchange: Exchange, destination: IPv6Address, message: Message, now: int
    ) -> None:
        if exchange.answered is None:
            exchange.answered = now
        exchange.unrecognised = None
        for cookie in message.cookies[:1]:
            if not message.results and message.answered is None:  # the proof that was shown was too old
                for supported in self._steps.at(exchange, Step.SUPPORTED):
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
                self._steps.move(exchange, item, Step.SUPPORTED, now)
            else:
                self._asking.settle(exchange, item, Outcome.REFUSED, _reason(result.code), now)
        self._asking.progress(exchange, now)

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
                self._steps.move(exchange, item, Step.PREPARED, now)
            else:
                self._asking.settle(exchange, item, Outcome.REFUSED, _reason(result.code), now)
        self._asking.progress(exchange, now)

    def _take_switch_ack(self, exchange: Exchange, message: Message, now: int) -> None:
        news = exchange.switched is not None and exchange.acknowledged is None
        for number in message.ids:
            item = exchange.item(number)
            if item is not None and item.step is Step.SWITCHING:
                self._steps.move(exchange, item, Step.SWITCHED, now)
                item.outcome = Outcome.HOPPED
                news = True
        if news and exchange.switched is not None and not self._steps.any(exchange, Step.SWITCHING):
            exchange.acknowledged = now
        if news:
            self._asking.progress(exchange, now)

    def _take_error(self, exchange: Exchange, message: Message, now: int) -> None:
        code = next((result.code for result in message.results if result.id == 0), None)
        if code == Code.COOKIE_NEEDED and message.cookies and exchange.prepared is None:
            if exchange.proof != message.cookies[0]:
                exchange.proof = message.cookies[0]
                for item in self._steps.at(exchange, Step.SUPPORTED):
                    item.sent = False
                self._asking.progress(exchange, now)
        elif code is not None and code != Code.COOKIE_NEEDED:
            self._refuse_all(exchange, code, now)

    def _refuse_all(self, exchange: Exchange, code: int, now: int) -> None:
        for item in self._steps.at(exchange, Step.ASKING, Step.SUPPORTED):
            self._asking.settle(exchange, item, Outcome.REFUSED, _reason(code), now)
        if exchange.prepared is None:
            exchange.failed = Outcome.REFUSED


def _reason(code: int) -> str:
    try:
        return Code(code).name.lower().replace("_", " ")
    except ValueError:
        return f"code {code}"
