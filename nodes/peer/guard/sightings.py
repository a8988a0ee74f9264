"""What the guard has seen of negotiations: with whom, who began them, and under which cookies. No I/O."""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import NamedTuple

from nodes.peer.guard.wire import Endpoints, Header

MOST = 1024
FLIGHT_NS = 300_000_000_000
"""How long after its last message a negotiation may still be in flight: beyond charon's last
retransmission."""
_PACKET = re.compile(
    r"^(?P<way>sending|received) packet: from (?P<source>[^\s\[]+)\[(?P<sport>\d+)\] "
    r"to (?P<destination>[^\s\[]+)\[(?P<dport>\d+)\]"
)
_FIRST_EXCHANGES = (2, 4, 34)
_RESPONSE = 0x20


class Sighting(NamedTuple):
    """With whom an IKE SA is being negotiated, and whether this node began it."""

    ends: Endpoints
    began: bool


class Sightings:
    """The IKE SAs that charon's log speaks of, by their unique id; under a flood the oldest are forgotten."""

    def __init__(self) -> None:
        self._seen: OrderedDict[int, Sighting] = OrderedDict()

    def read(self, text: str, ike_id: int) -> None:
        """Take a log line: those about packets say who they are exchanged with."""
        found = _PACKET.match(text)
        if found is None:
            return
        sending = found["way"] == "sending"
        source = (found["source"], int(found["sport"]))
        destination = (found["destination"], int(found["dport"]))
        local, partner = (source, destination) if sending else (destination, source)
        before = self._seen.pop(ike_id, None)
        began = sending if before is None else before.began
        self._seen[ike_id] = Sighting(Endpoints(*local, *partner), began)
        if len(self._seen) > MOST:
            self._seen.popitem(last=False)

    def of(self, ike_id: int | None) -> Sighting | None:
        """What was seen of an IKE SA."""
        return None if ike_id is None else self._seen.get(ike_id)


class Flight(NamedTuple):
    """A negotiation that this node began; ``responder_cookie`` is 0 until the partner's is known."""

    partner: str
    initiator_cookie: bytes
    responder_cookie: bytes
    last_ns: int


class Flights:
    """The negotiations in flight, by what this node sent: the only one whose word is believed here."""

    def __init__(self) -> None:
        self._flights: OrderedDict[bytes, Flight] = OrderedDict()

    def sent(self, header: Header, now_ns: int) -> None:
        """A message went out."""
        cookie = header.initiator_cookie
        first = not any(header.responder_cookie) and header.exchange in _FIRST_EXCHANGES
        if cookie not in self._flights and (not first or header.flags & _RESPONSE):
            return
        self._flights.pop(cookie, None)
        self._flights[cookie] = Flight(header.ends.partner, cookie, header.responder_cookie, now_ns)
        if len(self._flights) > MOST:
            self._flights.popitem(last=False)

    def landed(self, initiator_cookie: bytes) -> None:
        """A negotiation is over, one way or the other."""
        self._flights.pop(initiator_cookie, None)

    def has(self, initiator_cookie: bytes) -> bool:
        """Whether this node began a negotiation with this cookie."""
        return initiator_cookie in self._flights

    def find(self, partner: str, initiator: bytes, responder: bytes, now_ns: int) -> Flight | None:
        """The negotiation in flight with exactly these cookies, with this partner."""
        flight = self._flights.get(initiator)
        if flight is None or (flight.partner, flight.responder_cookie) != (partner, responder):
            return None
        return flight if now_ns - flight.last_ns <= FLIGHT_NS else None
