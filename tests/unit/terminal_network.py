"""Two or more terminals' cores on a link in memory: addresses, data planes and a clock, and loss.

The data plane here does what the rewritings say and nothing else; every packet of a service is looked at,
so that a test can say that none was lost, and that none bore an address that it should not.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv6Address
from random import Random
from typing import Any

from nodes.terminal import actions as do
from nodes.terminal.actions import Carriage, Endpoint, Flow, Path, Rewriting, Service
from nodes.terminal.core import Terminal
from nodes.terminal.plan import HopPlan, Kind
from nodes.terminal.policy import Policy
from nodes.terminal.settings import Settings

MS = 1_000_000
S = 1_000_000_000
PREFIX = "fd00:1::"
SECRET = b"a secret of at least sixteen octets"


def address(text: str) -> IPv6Address:
    return IPv6Address(text if ":" in text else PREFIX + text)


@dataclasses.dataclass
class Sent:
    """A message on the wire."""

    time: int
    source: IPv6Address
    destination: IPv6Address
    message: bytes
    carriage: Carriage


@dataclasses.dataclass
class Data:
    """A packet of a service on the wire."""

    flow: Flow
    protocol: int
    source: Endpoint
    destination: Endpoint
    sender: str
    number: int


class Node:
    """A terminal with the kernel around it."""

    def __init__(self, network: Network, name: str, first: str, **given: Any) -> None:
        self.network = network
        self.name = name
        self.random = Random(f"{name} {network.seed}")
        self.given = given
        self.addresses: dict[IPv6Address, dict[str, Any]] = {address(first): {}}
        self.identities: set[IPv6Address] = set()
        self.retired: set[IPv6Address] = set()
        self.deprecated: list[IPv6Address] = []
        self.rewritings: dict[Flow, Rewriting] = {}
        self.flows: dict[Flow, Service] = {}
        self.events: list[tuple[int, str, dict[str, Any]]] = []
        self.closed: list[Flow] = []
        self.kept: dict[IPv6Address, int] = {}
        self.retired_remotes: list[IPv6Address] = []
        self.add_delay = MS
        self.refuse: Callable[[IPv6Address], do.RefusedAddress | None] = lambda _: None
        self.fail_rewrite: Callable[[do.Rewrite], bool] = lambda _: False
        self.dies: Callable[[do.Action], bool] = lambda _: False
        self.stalled = 0
        self.alive = True
        self.on_snapshot = b""
        self.pairs: list[tuple[str, bytes, list[IPv6Address]]] = []
        self.core = self._core()
        self._numbers = itertools.count()

    def _core(self) -> Terminal:
        return Terminal(octets=self.random.randbytes, random=self.random, **self.given)

    @property
    def current(self) -> IPv6Address:
        return list(self.addresses)[-1]

    def pair(self, name: str, where: str | IPv6Address, secret: bytes = SECRET) -> None:
        at = where if isinstance(where, IPv6Address) else address(where)
        self.pairs.append((name, secret, [at]))
        self.core.pair(name, secret, [at])

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [data for _, one, data in self.events if one == kind]

    # the kernel

    def tell(self, call: Callable[[int], list[do.Action]]) -> None:
        """Give the core an input and carry out what it asks for."""
        if not self.alive:
            return
        if self.network.now < self.stalled:
            self.network.after(self.stalled - self.network.now, lambda: self.tell(call))
            return
        actions = call(self.network.now)
        self.on_snapshot = self.core.snapshot()
        self.carry_out(actions)
        if self.alive:
            self.core.carried_out()
            self.on_snapshot = self.core.snapshot()
            self.network.wake(self)

    def carry_out(self, actions: list[do.Action]) -> None:
        failed = False
        for action in actions:
            if isinstance(action, do.Rewrite) and self.fail_rewrite(action):
                failed = True
                self.carry_out(self.core.rewrite_failed(action.rewritings, "no room", self.network.now))
            elif isinstance(action, do.Send) and failed:
                continue
            elif self.dies(action) or not self.alive:
                self.kill()
            else:
                self._do(action)

    def _do(self, action: do.Action) -> None:
        now = self.network.now
        if isinstance(action, do.Send):
            self.network.send(
                self, Sent(now, action.source, action.destination, action.message, action.carriage)
            )
        elif isinstance(action, do.AddAddress):
            self._add(action)
        elif isinstance(action, do.Rewrite):
            for rewriting in action.rewritings:
                if rewriting.over:
                    self.rewritings.pop(rewriting.flow, None)
                else:
                    self.rewritings[rewriting.flow] = rewriting
        elif isinstance(action, do.HoldIdentity):
            self.identities.add(action.address)
        elif isinstance(action, do.ReleaseIdentity):
            self.identities.discard(action.address)
            self.retired.discard(action.address)
        elif isinstance(action, do.KeepAddress):
            self.kept[action.address] = max(action.until, self.kept.get(action.address, 0))
            self.addresses = {action.address: {}} | self.addresses
        elif isinstance(action, do.RetireAddress):
            self.addresses.pop(action.address, None)
            self.retired.add(action.address)
        elif isinstance(action, do.Deprecate):
            self.deprecated.append(action.address)
        elif isinstance(action, do.RetireRemote):
            self.retired_remotes.append(action.address)
        elif isinstance(action, do.CloseSockets):
            self.closed.append(action.flow)
            self.flows.pop(action.flow, None)
        elif isinstance(action, do.RefreshFlows):
            self.network.after(MS // 5, lambda: self.tell(lambda now: self.core.flows_changed([], [], now)))
        elif isinstance(action, do.Report):
            self.events.append((now, action.kind, action.data))

    def _add(self, action: do.AddAddress) -> None:
        refused = self.refuse(action.address)

        def later() -> None:
            if refused is not None:
                self.tell(
                    lambda now: self.core.address_refused(action.address, refused, "said the test", now)
                )
                return
            self.addresses.pop(action.address, None)
            self.addresses[action.address] = {}
            self.tell(
                lambda now: self.core.address_added(
                    action.address, now, preferred=action.preferred, valid=action.valid, advertised=False
                )
            )
            if action.preferred is not None and action.valid is not None:
                self.network.after(action.preferred, lambda: self._deprecated(action.address))
                self.network.after(action.valid, lambda: self._expired(action.address))

        self.network.after(self.add_delay, later)

    def _deprecated(self, gone: IPv6Address) -> None:
        if gone in self.addresses:
            self.addresses[gone]["deprecated"] = True
            self.tell(lambda now: self.core.address_deprecated(gone, now))

    def _expired(self, gone: IPv6Address) -> None:
        if self.kept.get(gone, 0) > self.network.now:
            return
        if self.addresses.pop(gone, None) is not None:
            self.tell(lambda now: self.core.address_expired(gone, now))

    # no processor, a restart

    def stall(self, duration: int) -> None:
        """Do nothing for so long; what comes meanwhile waits, and the clock is looked at before it."""
        self.stalled = self.network.now + duration
        self.network.after(duration, lambda: self.tell(self.core.tick))

    def kill(self) -> None:
        self.alive = False

    def restart(self) -> None:
        self.alive = True
        self.core = self._core()
        for pair in self.pairs:
            self.core.pair(*pair)
        if self.on_snapshot:
            self.tell(lambda now: self.core.restore(self.on_snapshot, now))
            there = {one: state.get("deprecated", False) for one, state in self.addresses.items()}
            self.tell(lambda now: self.core.present(there, now))
        self.tell(lambda now: self.core.flows_changed(list(self.flows.values()), [], now))

    # services

    def out(self, flow: Flow) -> Path:
        rewriting = self.rewritings.get(flow)
        return rewriting.out if rewriting is not None else Path(flow.local, flow.remote)

    def send_data(self, flow: Flow) -> Data:
        path = self.out(flow)
        data = Data(flow, flow.protocol, path.local, path.remote, self.name, next(self._numbers))
        self.network.send_data(self, data)
        return data

    def takes(self, data: Data) -> bool:
        """Whether a packet from the wire gets to a socket here."""
        here = data.destination.address
        if here in self.retired or (here not in self.addresses and here not in self.identities):
            return False
        path = Path(data.destination, data.source)
        for rewriting in self.rewritings.values():
            if rewriting.flow.protocol == data.protocol and path in rewriting.accepted:
                return rewriting.flow in self.flows
        flow = Flow(data.protocol, path.local, path.remote)
        rewriting = self.rewritings.get(flow)
        return flow in self.flows and (rewriting is None or not rewriting.dropped)


class Network:
    """A link, a clock, and the events to come."""

    def __init__(self, seed: int = 0, rtt: int = 2 * MS) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.now = 1_000 * S
        self.rtt = rtt
        self.nodes: dict[str, Node] = {}
        self.sent: list[Sent] = []
        self.lost: list[Data] = []
        self.delivered = 0
        self.ends: dict[Flow, tuple[Flow, Flow]] = {}
        self.loss = 0.0
        self.duplication = 0.0
        self.jitter = 0
        self.quiet = False
        self.lose: Callable[[Sent], bool] = lambda _: False
        self.on_send: Callable[[Node, Sent], None] = lambda *_: None
        self.extra: dict[IPv6Address, Callable[[Sent], None]] = {}
        self.legacy: dict[IPv6Address, Node] = {}
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._wakes: dict[str, int] = {}

    def add(self, name: str, first: str, **given: Any) -> Node:
        node = self.nodes[name] = Node(self, name, first, **given)
        return node

    def after(self, delay: int, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + delay, next(self._order), what))

    def wake(self, node: Node) -> None:
        at = node.core.next_wake()
        if at is None:
            return
        assert at > self.now, "a wake-up that is not in the future would spin"
        if self._wakes.get(node.name, 0) <= self.now or at < self._wakes[node.name]:
            self._wakes[node.name] = at

            def ring() -> None:
                if self._wakes.get(node.name) == self.now:
                    self._wakes[node.name] = 0
                    node.tell(node.core.tick)

            self.after(at - self.now, ring)

    def run(self, duration: int) -> None:
        end = self.now + duration
        while self._events and self._events[0][0] <= end:
            self.now, _, what = heapq.heappop(self._events)
            what()
        self.now = end

    def run_until(self, done: Callable[[], bool], most: int = 60 * S) -> None:
        end = self.now + most
        while not done():
            assert self._events, "nothing more happens"
            assert self._events[0][0] <= end, "it takes too long"
            self.now, _, what = heapq.heappop(self._events)
            what()

    # the wire

    def send(self, node: Node, sent: Sent) -> None:
        self.sent.append(sent)
        self.on_send(node, sent)
        if self.lose(sent):
            return
        copies = 0 if self.random.random() < self.loss else 1
        copies += self.random.random() < self.duplication
        for _ in range(copies):
            delay = self.rtt // 2 + (self.random.randrange(self.jitter) if self.jitter else 0)
            self.after(delay, lambda: self.arrive(sent))

    def arrive(self, sent: Sent) -> None:
        if sent.destination in self.extra:
            self.extra[sent.destination](sent)
        for node in self.nodes.values():
            there = sent.destination in node.addresses or (
                sent.destination in node.identities and sent.destination not in node.retired
            )
            if there:
                node.tell(
                    lambda now, node=node: node.core.receive(
                        sent.source, sent.destination, sent.message, sent.carriage, now
                    )
                )

    def send_data(self, node: Node, data: Data) -> None:
        self.after(self.rtt // 2, lambda: self._arrive_data(data))

    def _arrive_data(self, data: Data) -> None:
        if any(node.takes(data) for node in self.nodes.values() if node.name != data.sender):
            self.delivered += 1
        elif all(any(end in node.flows for node in self.nodes.values()) for end in self.ends[data.flow]):
            self.lost.append(data)  # both ends still had their sockets

    # services between two nodes

    def service(
        self, one: Node, other: Node, port: int, protocol: int = do.UDP, tell: bool = True
    ) -> tuple[Flow, Flow]:
        """A service between their newest addresses."""
        return self.service_on(one, one.current, other, port, protocol, tell)

    def service_on(
        self, one: Node, on: IPv6Address, other: Node, port: int, protocol: int = do.UDP, tell: bool = True
    ) -> tuple[Flow, Flow]:
        """A service from this address to the other's newest one; the two names of it."""
        near = Endpoint(on, port)
        far = Endpoint(other.current, port if protocol == do.ICMPV6 else 80)
        flows = Flow(protocol, near, far), Flow(protocol, far, near)
        self.ends |= dict.fromkeys(flows, flows)
        for node, flow in zip((other, one), reversed(flows), strict=True):
            node.flows[flow] = Service(flow=flow, uid=1000, process="app")
            if tell:
                node.tell(
                    lambda now, node=node, flow=flow: node.core.flows_changed([node.flows[flow]], [], now)
                )
        return flows

    def end(self, node: Node, flow: Flow) -> None:
        node.flows.pop(flow, None)
        node.tell(lambda now: node.core.flows_changed([], [flow], now))

    def stream(self, node: Node, flow: Flow, every: int, until: int) -> None:
        """Packets at a fixed rate while the service lasts."""

        def one() -> None:
            if flow in node.flows and self.now <= until and not self.quiet:
                node.send_data(flow)
                self.after(every, one)

        one()


def terminals(
    seed: int = 0,
    *,
    rtt: int = 2 * MS,
    settings: Settings | None = None,
    policies: tuple[Policy | None, Policy | None] = (None, None),
) -> tuple[Network, Node, Node]:
    """Two terminals that share a secret."""
    network = Network(seed, rtt)
    a = network.add("a", "a", settings=settings, policy=policies[0])
    b = network.add("b", "b", settings=settings, policy=policies[1])
    a.pair("b", "b")
    b.pair("a", "a")
    return network, a, b


def hop(node: Node, **given: Any) -> int:
    """One hop by hand; its number."""
    plan = HopPlan(first=given.pop("first", node.current), kind=given.pop("kind", Kind.INTERFACE_ID), **given)
    number = 0

    def order(now: int) -> list[do.Action]:
        nonlocal number
        number, actions = node.core.hop(now, plan)
        return actions

    node.tell(order)
    return number


def closed(node: Node, count: int = 1) -> Callable[[], bool]:
    """Whether so many hops of the node are closed or failed."""
    return lambda: len(node.of("hop.closed")) + len(node.of("hop.failed")) >= count


def outcomes(node: Node) -> Counter[str]:
    """What became of services in the node's hops, counted."""
    return Counter(data["outcome"] for data in node.of("hop.service"))


def traffic(network: Network, a: Node, b: Node, flows: tuple[Flow, Flow], duration: int = S) -> None:
    """1,000 packets a second each way."""
    network.stream(a, flows[0], MS, network.now + duration)
    network.stream(b, flows[1], MS, network.now + duration)
