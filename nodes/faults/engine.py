"""What becomes of each IKE packet of one node, under the rules that are in force. No I/O.

Packets and times go in, effects come out. A packet that waits stays in the kernel's queue and gets its
verdict later; only a copy is sent by the engine itself.
"""

from __future__ import annotations

import heapq
import ipaddress
import itertools
import random
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from nodes.events import Event, event
from nodes.faults import datagrams, messages
from nodes.faults.exchanges import Sighting, Tracker
from nodes.faults.matching import Match, Matcher, NumberedRule
from nodes.faults.messages import FIELDS, HEADER_OCTETS, IkeMessage
from nodes.faults.rule import Action, Rule, is_until

APPLIED = "fault.applied"
RELEASED = "fault.released"
MISSED = "fault.missed"
SEEN = "faults.seen"
"""For the engines of other nodes only: a message that a rule of theirs too would have counted."""


class Pass(NamedTuple):
    """The packet under this number goes on."""

    packet_id: int


class Drop(NamedTuple):
    """The packet under this number goes no further."""

    packet_id: int


class Alter(NamedTuple):
    """The packet under this number goes on as ``packet``."""

    packet_id: int
    packet: bytes


class Send(NamedTuple):
    """A copy goes out; ``about`` is what its events say of it."""

    packet: bytes
    about: Mapping[str, Any]


class Say(NamedTuple):
    """An event for the stream."""

    event: Event


Effect = Pass | Drop | Alter | Send | Say


class _Packet(NamedTuple):
    """A packet with a message that a rule acts on."""

    id: int
    octets: bytes
    datagram: datagrams.Datagram
    ike: tuple[int, int]
    about: dict[str, Any]
    match: Match


class _Held(NamedTuple):
    until: str
    since_ns: int
    packet_id: int
    about: dict[str, Any]


class Engine:
    """The fault engine of one node.

    Args:
        seed: where choices that a rule leaves open come from.
        addresses: of the nodes, by name.

    Attributes:
        foreign: packets that came although they are no IKE messages; the kernel's filter lets none come.
    """

    def __init__(self, seed: int, addresses: Mapping[str, tuple[str, ...]]) -> None:
        self.foreign = 0
        self._seed = seed
        self._names: dict[ipaddress.IPv6Address, set[str]] = {}
        for name, of_node in addresses.items():
            for address in of_node:
                self._names.setdefault(ipaddress.IPv6Address(address), set()).add(name)
        self._tracker = Tracker()
        self._matcher = Matcher()
        self._due: list[tuple[int, int, list[Effect], dict[str, Any]]] = []
        self._serial = itertools.count()
        self._held: list[_Held] = []
        self._actions: dict[Action, Callable[[_Packet, int], list[Effect]]] = {
            Action.DROP: self._drop,
            Action.DELAY: self._delay,
            Action.DUPLICATE: self._duplicate,
            Action.CORRUPT: self._corrupt,
            Action.REPLAY: self._replay,
            Action.HOLD: self._hold,
        }

    def add(self, rule: NumberedRule) -> None:
        """Put a rule in force, after those that are."""
        self._matcher.add(rule)

    def packet(self, packet_id: int, octets: bytes, *, outgoing: bool, now_ns: int) -> list[Effect]:
        """What becomes of a packet that is about to leave the node, or has come to it.

        Args:
            packet_id: the queue's number for it.
            octets: from the IPv6 header on.
            outgoing: whether it leaves the node; rules act on such packets only.
            now_ns: CLOCK_MONOTONIC.
        """
        datagram = datagrams.read(octets)
        ike = messages.ike_octets(octets, datagram) if datagram is not None else None
        if datagram is None or ike is None:
            self.foreign += 1
            return [Pass(packet_id)]
        message = messages.read(octets[slice(*ike)])
        if message is None:
            return [Pass(packet_id)]
        sighting = self._tracker.see(message, outgoing=outgoing)
        to = self._names.get(datagram.destination, set())
        match = self._matcher.match(message, sighting, outgoing=outgoing, to=to)
        if match is None or not outgoing:
            return [Pass(packet_id)]
        about = _about(message, sighting, match, datagram, octets=ike[1] - ike[0])
        packet = _Packet(packet_id, octets, datagram, ike, about, match)
        effects = self._actions[match.rule.rule.action](packet, now_ns)
        if match.rule.rule.source is None:
            seen = octets[slice(*ike)].hex()
            effects.append(_say(SEEN, now_ns, octets=seen, destination=str(datagram.destination)))
        return effects

    def seen(self, octets: bytes, destination: str) -> None:
        """Count a message on which another node's engine acted, as if it had come here."""
        message = messages.read(octets)
        if message is not None:
            sighting = self._tracker.see(message, outgoing=False)
            to = self._names.get(ipaddress.IPv6Address(destination), set())
            self._matcher.match(message, sighting, outgoing=False, to=to)

    def heard(self, kind: str, time_ns: int, now_ns: int) -> list[Effect]:
        """Let go what waits for an event that happened at ``time_ns``, after it began to wait."""
        effects: list[Effect] = []
        waiting: list[_Held] = []
        for held in self._held:
            if is_until(held.until, kind) and time_ns >= held.since_ns:
                effects += [Pass(held.packet_id), _say(RELEASED, now_ns, **held.about, event=kind)]
            else:
                waiting.append(held)
        self._held = waiting
        return effects

    @property
    def next_due_ns(self) -> int | None:
        """When :meth:`due` has something to do next."""
        return self._due[0][0] if self._due else None

    def due(self, now_ns: int) -> list[Effect]:
        """What has waited long enough."""
        effects: list[Effect] = []
        while self._due and self._due[0][0] <= now_ns:
            _, _, later, about = heapq.heappop(self._due)
            effects += [*later, _say(RELEASED, now_ns, **about)]
        return effects

    def end(self, now_ns: int) -> list[Effect]:
        """Let go every packet that waits; copies that were to come do not."""
        effects: list[Effect] = []
        for _, _, later, about in sorted(self._due, key=lambda entry: entry[:2]):
            if not any(isinstance(effect, Send) for effect in later):
                effects += [*later, _say(RELEASED, now_ns, **about, event="end")]
        for held in self._held:
            effects += [Pass(held.packet_id), _say(RELEASED, now_ns, **held.about, event="end")]
        self._due, self._held = [], []
        return effects

    def _drop(self, packet: _Packet, now_ns: int) -> list[Effect]:
        return [Drop(packet.id), _applied(packet, now_ns)]

    def _delay(self, packet: _Packet, now_ns: int) -> list[Effect]:
        delay = _by(packet)
        self._later(now_ns + delay, [Pass(packet.id)], packet.about)
        return [_applied(packet, now_ns, by_ms=delay / 1e6)]

    def _replay(self, packet: _Packet, now_ns: int) -> list[Effect]:
        delay = _by(packet)
        self._later(now_ns + delay, [Send(packet.octets, packet.about)], packet.about)
        return [Pass(packet.id), _applied(packet, now_ns, by_ms=delay / 1e6)]

    def _duplicate(self, packet: _Packet, now_ns: int) -> list[Effect]:
        return [Pass(packet.id), Send(packet.octets, packet.about), _applied(packet, now_ns)]

    def _hold(self, packet: _Packet, now_ns: int) -> list[Effect]:
        until = packet.match.rule.rule.until or ""
        self._held.append(_Held(until, now_ns, packet.id, packet.about))
        return [_applied(packet, now_ns, until=until)]

    def _corrupt(self, packet: _Packet, now_ns: int) -> list[Effect]:
        rule, occurrence = packet.match.rule.rule, packet.match.occurrence
        begin, end = packet.ike
        first, after = octets_to_change(rule, occurrence, self._seed, packet.about["message"], end - begin)
        if begin + after > end:
            reason = f"there is no octet {first} in a message of {end - begin} octets"
            return [Pass(packet.id), _say(MISSED, now_ns, **packet.about, reason=reason)]
        changed = bytes(octet ^ 0xFF for octet in packet.octets[begin + first : begin + after])
        at = begin + first - packet.datagram.begin
        whole = datagrams.altered(packet.octets, packet.datagram, at, changed)
        where = {"octet": first} if after - first == 1 else {"octet": first, "changed": after - first}
        return [Alter(packet.id, whole), _applied(packet, now_ns, **where)]

    def _later(self, due_ns: int, effects: list[Effect], about: dict[str, Any]) -> None:
        heapq.heappush(self._due, (due_ns, next(self._serial), effects, about))


def octets_to_change(rule: Rule, occurrence: int, seed: int, message: int, size: int) -> tuple[int, int]:
    """The octets of an IKE message that ``corrupt`` changes: the first one, and the one after the last.

    What the rule does not say comes from the seed, the rule and its occurrence alone, and lies behind the
    header.
    """
    if rule.field is not None:
        return FIELDS[rule.field]
    if rule.octet is not None:
        return rule.octet, rule.octet + 1
    if size <= HEADER_OCTETS:
        return size - 1, size
    choice = random.Random(f"{seed}/{rule}/{occurrence}/{message}").random()
    first = HEADER_OCTETS + int(choice * (size - HEADER_OCTETS))
    return first, first + 1


def _by(packet: _Packet) -> int:
    return packet.match.rule.rule.by_ns or 0


def _about(
    message: IkeMessage, sighting: Sighting, match: Match, datagram: datagrams.Datagram, *, octets: int
) -> dict[str, Any]:
    about: dict[str, Any] = {
        "id": match.rule.id,
        "rule": str(match.rule.rule),
        "action": match.rule.rule.action.value,
        "version": message.version,
        "exchange": message.exchange.value,
        "message": sighting.number,
        "occurrence": match.occurrence,
        "retransmission": sighting.retransmission,
        "initiator_spi": message.initiator_spi.hex(),
        "responder_spi": message.responder_spi.hex(),
        "message_id": f"{message.message_id:08x}",
        "source": str(datagram.source),
        "destination": str(datagram.destination),
        "octets": octets,
    }
    return about | ({"fragment": message.fragment} if message.fragment else {})


def _applied(packet: _Packet, now_ns: int, **more: Any) -> Say:
    return _say(APPLIED, now_ns, **packet.about, **more)


def _say(kind: str, now_ns: int, **data: Any) -> Say:
    return Say(event(kind, time_ns=now_ns, **data))
