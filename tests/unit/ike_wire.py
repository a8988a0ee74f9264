"""Two cores of the IKEv1 endpoint, face to face on a wire that loses, delays and repeats as it is told.

Time is simulated; ESP is a packet with an SPI. What is lost is counted, so that each case has its figure.
"""

from __future__ import annotations

import heapq
import ipaddress
import itertools
from collections.abc import Callable

from nodes.ike.context import Happened, Order, Path, Result, Send
from nodes.ike.dataplane.base import FirstPacket, Usage
from nodes.ike.endpoint import Endpoint
from nodes.ike.messages.header import ExchangeType, parse_header
from nodes.ike.model import IkeChild, IkeConnection
from nodes.ike.profile import profile
from nodes.ike.settings import IkeOptions
from nodes.peer.model import End, Psk

A, B = ipaddress.IPv6Address("fd00::a"), ipaddress.IPv6Address("fd00::b")
INNER_A, INNER_B = "fd00:a::/64", "fd00:b::/64"
LATENCY = 0.001
SECRET = "what-both-ends-know"
MM, QM, INFO = ExchangeType.MAIN_MODE, ExchangeType.QUICK_MODE, ExchangeType.INFORMATIONAL


class Plane:
    """A data plane that does what it is told at once, and remembers."""

    def __init__(self):
        self.inbound, self.outbound = {}, {}
        self.heard, self.received, self.sent, self.lost, self.held = {}, 0, 0, 0, []
        self.policies = {}
        self.refuse = set()
        self.orders = []

    def carry_out(self, order):
        self.orders.append(order)
        if order.verb in self.refuse:
            return Result(error="refused")
        match order.verb, order.argument:
            case "install_inbound", sa:
                assert sa.spi not in self.inbound
                self.inbound[sa.spi] = sa
            case "install_outbound", sa:
                self.outbound[sa.spi] = sa
            case "remove_inbound", spi:
                self.inbound.pop(spi, None)
            case "remove_outbound", spi:
                self.outbound.pop(spi, None)
            case "usage", _:
                return Result(usage={("in", spi): self.usage(spi) for spi in self.inbound})
        return Result()

    def usage(self, spi):
        packets, last_ns = self.heard.get(spi, (0, 0))
        return Usage(packets=packets, last_ns=last_ns)


class Side:
    """One endpoint with its plane."""

    def __init__(self, name, address, options):
        self.name, self.address = name, address
        self.endpoint = Endpoint(options)
        self.plane = Plane()
        self.events = []
        self.deaf = False

    def kinds(self, *kinds):
        return [event for event in self.events if event.kind in kinds]

    def reasons(self, kind):
        return [event.data.get("reason") for event in self.events if event.kind == kind]


class Wire:
    """The wire; ``faults`` are asked of every message: sender, exchange, number, octets; they give delays.

    The number counts the different messages of an exchange, from 1. No delay at all loses the message.
    """

    def __init__(self, *, a=None, b=None, connection=None):
        self.now = 1000.0
        self._queue = []
        self._order = itertools.count()
        self.a = Side("a", A, IkeOptions(**(a or {})))
        self.b = Side("b", B, IkeOptions(**(b or {})))
        self.sides = (self.a, self.b)
        self.faults = []
        self.seen = {}
        self.messages = []
        self._traffic = None
        self.load(**(connection or {}))

    def load(self, child=None, a=None, b=None, only=None, **settings):
        """Load a connection at both ends, or at ``only`` one; ``a`` and ``b`` are of that end alone."""
        for side, own, here, there, ts in (
            (self.a, a or {}, A, B, (INNER_A, INNER_B)),
            (self.b, b or {}, B, A, (INNER_B, INNER_A)),
        ):
            if only not in (None, side):
                continue
            own = dict(own)
            children = {"name": "inner", "local_ts": (ts[0],), "remote_ts": (ts[1],), "rekey_time": 0}
            children |= (child or {}) | own.pop("child", {})
            arguments = {
                "name": "tunnel",
                "local": End(address=str(here)),
                "remote": End(address=str(there)),
                "auth": Psk(secret=SECRET),
                "rekey_time": 0,
            }
            config = IkeConnection(children=(IkeChild(**children),), **(arguments | settings | own))
            side.endpoint.load(profile(config, {"inner": side.endpoint.reqid("tunnel", "inner")}), self.now)
            self.drain(side)

    def other(self, side):
        return self.b if side is self.a else self.a

    # ---------------------------------------------------------------- running

    def at(self, when, action):
        heapq.heappush(self._queue, (when, next(self._order), action))

    def drain(self, side):
        outputs = side.endpoint.outputs
        while outputs:
            match outputs.popleft():
                case Send(path, datagram):
                    self._carry(side, path, datagram)
                case Happened() as event:
                    side.events.append(event)
                case Order() as order:
                    result = side.plane.carry_out(order)
                    side.endpoint.completed(order.number, result, self.now)

    def _carry(self, side, path, datagram):
        try:
            header = parse_header(datagram)
        except Exception:  # a misbehaving end may say anything
            header = None
        number, exchange = 0, None
        if header is not None:
            exchange = header.exchange
            key = (header.initiator_cookie, exchange, header.message_id)
            known = self.seen.setdefault(key, [])
            if datagram not in known:
                known.append(datagram)
            number = known.index(datagram) + 1
        self.messages.append((self.now, side.name, exchange, number, datagram))
        delays = [LATENCY]
        for fault in self.faults:
            found = fault(side, exchange, number, datagram)
            if found is not None:
                delays = found
                break
        back = Path(path.remote, path.remote_port, path.local, path.local_port)
        for delay in delays:
            self.at(self.now + delay, lambda: self._arrive(self.other(side), datagram, back))

    def _arrive(self, side, datagram, path):
        if not side.deaf:
            side.endpoint.receive(datagram, path, self.now)
            self.drain(side)

    def inject(self, side, datagram, *, port=500, source=None):
        """Have a datagram arrive at a side, from its partner's address or another."""
        remote = source or self.other(side).address
        self._arrive(side, datagram, Path(side.address, port, remote, port))

    def run(self, seconds):
        """Let time pass."""
        end = self.now + seconds
        while True:
            wakes = [(w, side) for side in self.sides if (w := side.endpoint.next_wake()) is not None]
            due = min([w for w, _ in wakes] + [when for when, _, _ in self._queue[:1]], default=None)
            if due is None or due > end:
                self.now = end
                return
            self.now = max(self.now, due)
            while self._queue and self._queue[0][0] <= self.now:
                heapq.heappop(self._queue)[2]()
            for side in self.sides:
                wake = side.endpoint.next_wake()
                if wake is not None and wake <= self.now:
                    side.endpoint.tick(self.now)
                    self.drain(side)

    # ---------------------------------------------------------------- traffic

    def traffic(self, *, interval=0.002, senders=None):
        """Begin to send ESP both ways; stopped by :meth:`quiet`."""
        self._traffic = token = object()
        for side in senders or self.sides:
            self._probe(side, interval, token)

    def quiet(self):
        """Stop the traffic."""
        self._traffic = None

    def _probe(self, side, interval, token):
        if self._traffic is not token:
            return
        self.send_esp(side)
        self.at(self.now + interval, lambda: self._probe(side, interval, token))

    def send_esp(self, side):
        """Send one ESP packet under the newest outbound SA; without one it is lost, or held."""
        plane, other = side.plane, self.other(side)
        plane.sent += 1
        if not plane.outbound:
            plane.lost += 1
            return
        spi = next(reversed(plane.outbound))
        self.at(self.now + LATENCY, lambda: self._esp_arrives(other, spi, plane))

    def _esp_arrives(self, side, spi, sender):
        if spi not in side.plane.inbound:
            sender.lost += 1
            return
        side.plane.received += 1
        heard = side.plane.heard.setdefault(spi, [0, 0])
        heard[0] += 1
        heard[1] = int(self.now * 1e9)
        if heard[0] == 1:
            side.endpoint.told(FirstPacket(spi, int(self.now * 1e9)), self.now)
            self.drain(side)

    # ---------------------------------------------------------------- commands

    def initiate(self, side=None):
        """Have a side negotiate; the list gets the outcome."""
        side = side or self.a
        outcome: list = []
        side.endpoint.initiate(
            "tunnel", "inner", lambda pair, reason: outcome.append((pair, reason)), self.now
        )
        self.drain(side)
        return outcome

    def up(self):
        """Bring the tunnel up."""
        outcome = self.initiate()
        self.run(1)
        assert outcome
        assert outcome[0][0] is not None, outcome
        assert len(self.b.endpoint.lifecycle.pairs) == 1
        return outcome[0][0]

    def rekey(self, side=None):
        side = side or self.a
        outcome: list = []
        pair = side.endpoint.lifecycle.current(*self.meant(side))
        side.endpoint.rekey_pair(pair, lambda new, reason: outcome.append((new, reason)), self.now)
        self.drain(side)
        return outcome

    def meant(self, side):
        loaded = side.endpoint.profiles["tunnel"]
        return loaded, loaded.children[0]

    def current(self, side):
        return side.endpoint.lifecycle.current(*self.meant(side))


def fault(exchange, number, delays, *, times=1, sender=None) -> Callable:
    """A fault on the n-th message of an exchange, the first ``times`` times that it goes over the wire."""
    left = [times]

    def apply(side, its_exchange, its_number, _datagram):
        if (its_exchange, its_number) != (exchange, number) or not left[0]:
            return None
        if sender is not None and side.name != sender:
            return None
        left[0] -= 1
        return delays

    return apply


FOR_EVER = 10**9
LOST: list[float] = []
TWICE = [LATENCY, LATENCY]


def late(seconds):
    return [seconds]


def replayed(seconds):
    return [LATENCY, seconds]
