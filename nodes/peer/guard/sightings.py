"""What the guard has seen of negotiations: with whom, who began them, and under which cookies. No I/O."""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import NamedTuple

from nodes.abnormality.remembered import remember
from nodes.peer.guard.bpf import EXCHANGES
from nodes.peer.guard.wire import Endpoints, Header
from nodes.peer.model import IkeSa

FLIGHT_NS = 300_000_000_000
"""How long after its last message a negotiation may still be in flight: beyond charon's last
retransmission."""
JUST_NS = 1_000_000_000
"""For how long after its end a failed negotiation is still known: charon may read a message first."""
_PACKET = re.compile(
    r"^(?P<way>sending|received) packet: from (?P<source>[^\s\[]+)\[(?P<sport>\d+)\] "
    r"to (?P<destination>[^\s\[]+)\[(?P<dport>\d+)\]"
)
_ASKED_FOR_A_CHILD = re.compile(r"^generating QUICK_MODE request \d+ \[ HASH SA ")
_FIRST_EXCHANGES = (2, 4, 34)
_RESPONSE = 0x20


class Sighting(NamedTuple):
    """An IKE SA that is being negotiated.

    Attributes:
        ends: between whom.
        began: whether this node began it.
        header: what its messages begin with; None until its cookies are known.
        asked: in IKEv1, this node began to negotiate a CHILD_SA in it.
        carried: it has had a CHILD_SA.
    """

    ends: Endpoints
    began: bool
    header: Header | None = None
    asked: bool = False
    carried: bool = False

    @property
    def awaits_child(self) -> bool:
        """Whether this node began it for a CHILD_SA that has not come yet."""
        return self.began and self.asked and not self.carried


class Sightings:
    """The IKE SAs that charon speaks of, by their unique id; under a flood the oldest are forgotten."""

    def __init__(self) -> None:
        self._seen: OrderedDict[int, Sighting] = OrderedDict()

    def read(self, text: str, ike_id: int) -> None:
        """Take a log line: those about packets say who they are exchanged with."""
        before = self._seen.get(ike_id)
        if before is not None and _ASKED_FOR_A_CHILD.match(text):
            self._keep(ike_id, before._replace(asked=True))
        found = _PACKET.match(text)
        if found is None:
            return
        sending = found["way"] == "sending"
        source = (found["source"], int(found["sport"]))
        destination = (found["destination"], int(found["dport"]))
        local, partner = (source, destination) if sending else (destination, source)
        ends = Endpoints(*local, *partner)
        self._keep(ike_id, before._replace(ends=ends) if before else Sighting(ends, sending))

    def told(self, sa: IkeSa) -> Sighting:
        """Take what VICI says of an IKE SA."""
        header, before = header_of(sa), self._seen.get(sa.unique_id)
        asked, carried = (False, False) if before is None else (before.asked, before.carried)
        carried = carried or bool(sa.children)
        return self._keep(sa.unique_id, Sighting(header.ends, sa.initiator, header, asked, carried))

    def of(self, ike_id: int | None) -> Sighting | None:
        """What was seen of an IKE SA."""
        return None if ike_id is None else self._seen.get(ike_id)

    def _keep(self, ike_id: int, sighting: Sighting) -> Sighting:
        remember(self._seen, ike_id, sighting)
        return sighting


def header_of(sa: IkeSa) -> Header:
    """What a message under an IKE SA begins with."""
    return Header(
        ends=Endpoints(sa.local_address, sa.local_port, sa.remote_address, sa.remote_port),
        initiator_cookie=bytes.fromhex(sa.initiator_spi),
        responder_cookie=bytes.fromhex(sa.responder_spi),
        version=sa.version << 4,
        exchange=0,
        flags=0,
        octets=b"",
    )


class Flight(NamedTuple):
    """A negotiation that this node began.

    Attributes:
        responder_cookie: 0 until the partner's is known.
        last_ns: when it was last heard of.
        failed: it is over.
    """

    partner: str
    initiator_cookie: bytes
    responder_cookie: bytes
    last_ns: int
    failed: bool = False


class Flights:
    """The negotiations in flight, by what this node sent and charon says: nobody else is believed here.

    What was sent and what charon says are heard of in any order: a negotiation that has succeeded is over,
    whatever of it is heard after that.
    """

    def __init__(self) -> None:
        self._flights: OrderedDict[bytes, Flight] = OrderedDict()
        self._succeeded: OrderedDict[bytes, None] = OrderedDict()

    def sent(self, header: Header, now_ns: int) -> bool:
        """A message went out; whether it is of a negotiation that this node began, of late."""
        cookie = header.initiator_cookie
        before = self._flights.get(cookie)
        if cookie in self._succeeded or (before is None and not _is_first(header)):
            return False
        if before is None or not before.failed:  # what goes out after the end is about the end
            self._keep(Flight(header.ends.partner, cookie, header.responder_cookie, now_ns))
        return True

    def began(self, sa: IkeSa, now_ns: int) -> None:
        """Charon says that it is negotiating."""
        cookie = bytes.fromhex(sa.initiator_spi)
        if cookie not in self._flights and cookie not in self._succeeded:
            self._keep(Flight(sa.remote_address, cookie, bytes.fromhex(sa.responder_spi), now_ns))

    def landed(self, initiator_cookie: bytes, now_ns: int, *, established: bool) -> None:
        """A negotiation is over."""
        flight = self._flights.pop(initiator_cookie, None)
        if established:
            remember(self._succeeded, initiator_cookie, None)
        elif flight is not None:
            self._keep(flight._replace(last_ns=now_ns, failed=True))

    def in_flight(self, initiator_cookie: bytes) -> bool:
        """Whether this node is negotiating with this cookie."""
        flight = self._flights.get(initiator_cookie)
        return flight is not None and not flight.failed

    def has(self, initiator_cookie: bytes) -> bool:
        """Whether this node began a negotiation with this cookie, of late."""
        return initiator_cookie in self._flights

    def find(self, partner: str, initiator: bytes, responder: bytes, now_ns: int) -> Flight | None:
        """The negotiation in flight with exactly these cookies, with this partner."""
        flight = self._flights.get(initiator)
        if flight is None or (flight.partner, flight.responder_cookie) != (partner, responder):
            return None
        return flight if now_ns - flight.last_ns <= (JUST_NS if flight.failed else FLIGHT_NS) else None

    def _keep(self, flight: Flight) -> None:
        remember(self._flights, flight.initiator_cookie, flight)


def _is_first(header: Header) -> bool:
    """Whether a message that goes out begins a negotiation; one that was damaged on its way out may too."""
    if any(header.responder_cookie):
        return False
    if header.exchange in _FIRST_EXCHANGES:
        return not header.flags & _RESPONSE
    return all(header.exchange not in known for known in EXCHANGES.values())
