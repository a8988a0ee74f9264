"""Whatever the path does to messages, and whenever agents die: all ends, and nothing bad happens."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from terminal_network import MS, Data, Network, Node, S, Sent, address, hop

from nodes.terminal.actions import Flow
from nodes.terminal.message import Kind, decode
from nodes.terminal.plan import Kind as What
from nodes.terminal.settings import Settings

NODES = st.sampled_from(["a", "b"])
TWO_PREFIXES = (IPv6Network("fd00:2::/64"), IPv6Network("fd00:3::/64"))
UNPROVEN = {Kind.ERROR, Kind.UPDATE_RESPONSE}
"""What may go to an address where nobody showed to receive; each is smaller than what caused it."""


class AnyLoss(RuleBasedStateMachine):
    """Two terminals, services between them, and a path that does what it likes to their messages."""

    network: Network

    @initialize(
        seed=st.integers(0, 1 << 30),
        rtt=st.sampled_from([1, 7, 40, 150]),
        ports=st.booleans(),
        what=st.sampled_from([{}, {"kind": What.PREFIX, "prefixes": TWO_PREFIXES}]),
    )
    def begin(self, seed: int, rtt: int, ports: bool, what: dict[str, Any]) -> None:
        self.what = what
        self.network = Network(seed, rtt * MS)
        given = Settings(move_ports=ports, flow_labels=ports, keep_most=20 * S)
        self.a = self.network.add("a", "a", settings=given)
        self.b = self.network.add("b", "b", settings=given)
        self.a.pair("b", "b")
        self.b.pair("a", "a")
        self.validated: dict[str, set[IPv6Address]] = {"a": {address("b")}, "b": {address("a")}}
        self.network.on_send = self.check_message
        self.port = 5000
        self.services: list[tuple[Flow, Flow]] = []
        self.unproven: list[str] = []

    def other(self, node: Node) -> Node:
        return self.b if node is self.a else self.a

    # what must never happen

    def note_validated(self) -> None:
        for node in (self.a, self.b):
            for context in node.core._second.contexts:
                if context.validated:
                    self.validated[node.name].add(context.second)

    def check_message(self, node: Node, sent: Sent) -> None:
        self.note_validated()
        kind = decode(sent.message).kind
        if sent.destination not in self.validated[node.name] and kind not in UNPROVEN:
            self.unproven.append(f"{node.name} sent {kind.name} to {sent.destination}")

    @invariant()
    def nothing_goes_where_nobody_proved_to_be(self) -> None:
        assert not self.unproven
        self.note_validated()
        for node in (self.a, self.b):
            for rewriting in node.rewritings.values():
                assert rewriting.out.remote.address in self.validated[node.name]

    @invariant()
    def no_service_is_half_switched(self) -> None:
        """No packet of a service that lives at both ends was lost."""
        lost: list[Data] = self.network.lost
        assert not lost, f"{len(lost)} packets, the first {lost[0]}"

    @invariant()
    def what_either_end_sends_the_other_accepts(self) -> None:
        for one, two in self.services:
            if one in self.a.flows and two in self.b.flows:
                for node, flow in ((self.a, one), (self.b, two)):
                    path = node.out(flow)
                    data = Data(flow, flow.protocol, path.local, path.remote, node.name, 0)
                    assert self.other(node).takes(data), f"{node.name} sends {path}"

    @invariant()
    def state_is_bounded(self) -> None:
        for node in (self.a, self.b):
            assert len(node.core._first.hops) <= 64
            assert len(node.core._second.contexts) <= 64 + 1024

    # what may happen

    @rule(who=NODES)
    def hops(self, who: str) -> None:
        node = self.network.nodes[who]
        if node.alive and len(node.core._first.hops) < 8:
            hop(node, first=node.core._schedule._at.current or node.current, **self.what)

    @rule(who=NODES)
    def service_begins(self, who: str) -> None:
        self.port += 1
        node = self.network.nodes[who]
        if not (self.a.alive and self.b.alive):
            return
        there = list(node.addresses)[-1]
        one, two = self.network.service_on(node, there, self.other(node), self.port)
        self.validated[node.name].add(one.remote.address)  # an application chose it
        self.validated[self.other(node).name].add(two.remote.address)
        self.services.append((one, two) if node is self.a else (two, one))
        self.network.stream(node, one, 11 * MS, self.network.now + 100 * S)
        self.network.stream(self.other(node), two, 13 * MS, self.network.now + 100 * S)

    @precondition(lambda self: bool(self.services))
    @rule(data=st.data(), both=st.booleans())
    def service_ends(self, data: st.DataObject, both: bool) -> None:
        one, two = data.draw(st.sampled_from(self.services))
        self.services.remove((one, two))
        self.a.flows.pop(one, None)
        self.b.flows.pop(two, None)
        for node, flow in ((self.a, one), (self.b, two)):
            if node is self.a or both:
                node.tell(lambda now, node=node, flow=flow: node.core.flows_changed([], [flow], now))

    @rule(
        loss=st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]),
        duplication=st.sampled_from([0.0, 0.3, 1.0]),
        jitter=st.sampled_from([0, 5 * MS, 100 * MS]),
    )
    def the_path_changes(self, loss: float, duplication: float, jitter: int) -> None:
        self.network.loss, self.network.duplication, self.network.jitter = loss, duplication, jitter

    @rule(ms=st.sampled_from([1, 5, 20, 60, 200, 1500]))
    def time_passes(self, ms: int) -> None:
        self.network.run(ms * MS)

    @rule(who=NODES, ms=st.sampled_from([1, 30, 300]))
    def an_agent_dies_and_comes_back(self, who: str, ms: int) -> None:
        node = self.network.nodes[who]
        node.kill()
        self.network.run(ms * MS)
        node.restart()

    def teardown(self) -> None:
        if not hasattr(self, "network"):
            return
        self.network.loss = self.network.duplication = 0.0
        self.network.jitter = 0
        self.network.run(3 * S)
        self.network.quiet = True
        self.network.run(35 * S)  # the lease of a switch that nobody acknowledges is 30 s
        self.no_service_is_half_switched()
        for node in (self.a, self.b):
            assert not node.core._first.hops, node.core.status()
            ended = len(node.of("hop.closed")) + len(node.of("hop.failed"))
            assert ended >= len(node.of("hop.started")), "a hop never ended"
        for one, two in self.services:
            near, far = self.a.out(one), self.b.out(two)
            if one in self.a.flows and two in self.b.flows:
                assert near.local == far.remote
                assert near.remote == far.local
        self.network.run(80 * S)
        for node in (self.a, self.b):
            assert not node.core._second.contexts, "a context never ended"
            assert len(node.addresses) == 1, "an address never ended"


AnyLoss.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),  # the network's own events tell more than a shrunk example
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestAnyLoss = AnyLoss.TestCase
