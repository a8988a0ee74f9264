"""The core of the data plane, without I/O: which SA takes a packet, what waits for one, and what is told."""

from __future__ import annotations

import collections
import hashlib
from ipaddress import IPv6Address
from typing import Final

from nodes.esp.inbound import InboundSa, RefusedError
from nodes.esp.outbound import OutboundSa
from nodes.esp.sa import Direction, EspEvent, EspSa, FirstPacket, NoSa, Policy, Usage

MOST_POLICIES: Final = 256
MOST_SAS: Final = 1024
"""SAs of one direction that are installed at one time."""
HELD_PACKETS: Final = 256
"""Packets that one policy holds while its SA is installed and not yet effective; the oldest go first."""
KNOWN_FLOWS: Final = 1024
"""Pairs of inner addresses whose policy is remembered."""
REMEMBERED_KEYS: Final = 4096
"""Outbound keys that are never taken again: a key that came back would bring its nonces back."""
_ACQUIRE_EVERY_NS: Final = 1_000_000_000


class PlaneError(Exception):
    """What was asked for cannot be done; the text says why."""


class Route:
    """What is to become of the packets of a policy.

    Attributes:
        outbound: the SA in use, or None.
        lost: packets that nothing could be done with.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.outbound: OutboundSa | None = None
        self.lost = 0
        self.held: collections.deque[bytes] = collections.deque(maxlen=HELD_PACKETS)
        self.told_ns: int | None = None
        source, destination = policy.local_ts, policy.remote_ts
        self._source = int(source.network_address), int(source.netmask)
        self._destination = int(destination.network_address), int(destination.netmask)
        self.preference = destination.prefixlen, source.prefixlen

    def selects(self, source: int, destination: int) -> bool:
        """Whether these addresses are the policy's."""
        network, mask = self._source
        other_network, other_mask = self._destination
        return source & mask == network and destination & other_mask == other_network


class Plane:
    """Policies, SAs and the packets that wait.

    Attributes:
        inbound: inbound SAs by SPI.
        events: what is to be told, oldest first; whoever tells it takes it out.
        unprotected: packets that no policy selects, which are dropped.
        unknown_spi: packets with an SPI that is not installed.
    """

    def __init__(self) -> None:
        self.inbound: dict[int, InboundSa] = {}
        self.events: collections.deque[EspEvent] = collections.deque()
        self.unprotected = 0
        self.unknown_spi = 0
        self._outbound: dict[int, OutboundSa] = {}  # in the order of installation
        self._routes: dict[int, Route] = {}
        self._known: dict[bytes, Route] = {}
        self._keys: dict[bytes, None] = {}

    def install_policy(self, policy: Policy) -> None:
        """See :meth:`nodes.ike.dataplane.base.DataPlane.install_policy`.

        Raises:
            PlaneError: another policy has this reqid, or there are too many.
        """
        there = self._routes.get(policy.reqid)
        if there is not None:
            if there.policy == policy:
                return
            raise PlaneError(f"reqid {policy.reqid} is that of another policy")
        if len(self._routes) >= MOST_POLICIES:
            raise PlaneError(f"there are {MOST_POLICIES} policies already")
        self._routes[policy.reqid] = Route(policy)
        self._known.clear()
        self._choose(policy.reqid)

    def remove_policy(self, reqid: int) -> None:
        """Protect the traffic of this policy no longer; what it holds is lost."""
        self._routes.pop(reqid, None)
        self._known.clear()

    def install_inbound(self, sa: EspSa) -> None:
        """Accept packets under this SA.

        Raises:
            PlaneError: the SPI is taken, or there are too many SAs.
        """
        if sa.spi in self.inbound:
            raise PlaneError(f"an inbound SA with the SPI {sa.spi:08x} is installed already")
        if len(self.inbound) >= MOST_SAS:
            raise PlaneError(f"there are {MOST_SAS} inbound SAs already")
        self.inbound[sa.spi] = InboundSa(sa)

    def install_outbound(self, sa: EspSa) -> None:
        """Send under this SA from now on. What is held for its policy :meth:`release` gives.

        Raises:
            PlaneError: the SPI is taken, its key was used before, or there are too many SAs.
        """
        if sa.spi in self._outbound:
            raise PlaneError(f"an outbound SA with the SPI {sa.spi:08x} is installed already")
        if len(self._outbound) >= MOST_SAS:
            raise PlaneError(f"there are {MOST_SAS} outbound SAs already")
        key = hashlib.sha256(sa.encryption_key + sa.salt).digest()
        if key in self._keys:
            raise PlaneError(f"the key of the outbound SA {sa.spi:08x} was in use before")
        if len(self._keys) >= REMEMBERED_KEYS:
            del self._keys[next(iter(self._keys))]
        self._keys[key] = None
        self._outbound[sa.spi] = OutboundSa(sa)
        self._choose(sa.reqid)

    def remove_inbound(self, spi: int) -> None:
        """Forget an inbound SA; what waits for an outbound SA of it that never came is lost."""
        sa = self.inbound.pop(spi, None)
        if sa is not None and not self._awaited(sa.sa.reqid) and sa.sa.reqid in self._routes:
            route = self._routes[sa.sa.reqid]
            route.lost += len(route.held)
            route.held.clear()

    def remove_outbound(self, spi: int) -> None:
        """Forget an outbound SA; the newest that is left takes its place."""
        sa = self._outbound.pop(spi, None)
        if sa is not None:
            self._choose(sa.sa.reqid)

    def usage(self) -> dict[tuple[Direction, int], Usage]:
        """The usage of every SA."""
        used: dict[tuple[Direction, int], Usage] = {
            ("in", spi): inbound.lifetime.usage() for spi, inbound in self.inbound.items()
        }
        used.update({("out", spi): outbound.lifetime.usage() for spi, outbound in self._outbound.items()})
        return used

    @property
    def lost(self) -> int:
        """Packets that the policies there are could neither send nor hold."""
        return sum(route.lost for route in self._routes.values())

    def route(self, addresses: bytes) -> Route | None:
        """The policy of a packet with these 32 octets of addresses, or None: it must not leave."""
        known = self._known.get(addresses)
        if known is not None:
            return known
        source, destination = (int.from_bytes(half, "big") for half in (addresses[:16], addresses[16:]))
        fitting = [route for route in self._routes.values() if route.selects(source, destination)]
        if not fitting:
            self.unprotected += 1
            return None
        best = max(fitting, key=lambda route: route.preference)
        if len(self._known) >= KNOWN_FLOWS:
            self._known.clear()
        self._known[addresses] = best
        return best

    def unsent(self, route: Route, packet: memoryview, now_ns: int) -> None:
        """Take a packet whose policy has no SA to send it under: hold it, or tell of it and let it go."""
        if self._awaited(route.policy.reqid):
            route.lost += len(route.held) == HELD_PACKETS
            route.held.append(bytes(packet))
            return
        route.lost += 1
        if route.outbound is None and (route.told_ns is None or now_ns - route.told_ns >= _ACQUIRE_EVERY_NS):
            route.told_ns = now_ns
            source, destination = IPv6Address(bytes(packet[8:24])), IPv6Address(bytes(packet[24:40]))
            self.events.append(NoSa(route.policy.reqid, source, destination, now_ns))

    def release(self, reqid: int) -> list[bytes]:
        """The packets held for a policy that has an SA now, oldest first; they are held no more."""
        route = self._routes.get(reqid)
        if route is None or route.outbound is None:
            return []
        held = list(route.held)
        route.held.clear()
        return held

    def open(self, spi: int, buffer: memoryview, start: int, end: int, now_ns: int) -> tuple[int, int]:
        """Open the ESP packet ``[start, end)`` with this SPI in place.

        Returns where the inner packet stands and its octets: 0 where there is none to be delivered.
        """
        sa = self.inbound.get(spi)
        if sa is None:
            self.unknown_spi += 1
            return 0, 0
        try:
            octets = sa.open(buffer, start, end)
        except RefusedError:
            self._tell_first(sa, now_ns)
            return 0, 0
        if not sa.told:
            self._tell_first(sa, now_ns)
        if sa.lifetime.count(octets, now_ns):
            self.events.extend(sa.lifetime.reached(now_ns))
        return start + sa.header, octets

    def _tell_first(self, sa: InboundSa, now_ns: int) -> None:
        """Tell that the first authenticated packet came, whatever was in it."""
        if sa.authenticated and not sa.told:
            sa.told = True
            self.events.append(FirstPacket(sa.sa.spi, now_ns))

    def _awaited(self, reqid: int) -> bool:
        """Whether an SA of the policy is installed and not yet effective, with no older one to send under."""
        route = self._routes.get(reqid)
        return (
            route is not None
            and route.outbound is None
            and any(inbound.sa.reqid == reqid for inbound in self.inbound.values())
        )

    def _choose(self, reqid: int) -> None:
        """The newest outbound SA of a policy is in use."""
        route = self._routes.get(reqid)
        if route is not None:
            of_policy = [sa for sa in self._outbound.values() if sa.sa.reqid == reqid]
            route.outbound = of_policy[-1] if of_policy else None
