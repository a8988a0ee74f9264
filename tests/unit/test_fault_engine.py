"""What becomes of messages that real charons sent, with an engine at each end of the tunnel."""

import dataclasses
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded_ike import INITIATOR, RESPONDER, addresses, recorded

from nodes.faults import datagrams
from nodes.faults.engine import APPLIED, MISSED, RELEASED, SEEN, Alter, Drop, Engine, Pass, Say, Send
from nodes.faults.grammar import parse, parse_all
from nodes.faults.matching import NumberedRule
from orchestrator.faults.rules import acts_at

ENDS = (INITIATOR, RESPONDER)
ALIASES = {"INITIATOR": INITIATOR, "RESPONDER": RESPONDER}
MS = 1_000_000
ROUND = 10 * MS


@dataclasses.dataclass
class Wire:
    """Both ends of a recording: each packet goes through its sender's engine, and then its receiver's."""

    name: str
    rules: list[str]
    seed: int = 1
    now_ns: int = 0
    events: list = dataclasses.field(default_factory=list)
    effects: list = dataclasses.field(default_factory=list)

    def __post_init__(self):
        self.engines = {end: Engine(self.seed, addresses(self.name)) for end in ENDS}
        for number, rule in enumerate(parse_all(self.rules, nodes=ENDS, aliases=ALIASES)):
            for end in acts_at(rule, ENDS):
                self.engines[end].add(NumberedRule(id=number, rule=rule))

    def play(self):
        for number, one in enumerate(recorded(self.name)):
            self.now_ns += ROUND
            self.send(number, one.packet, one.sender)
        return self

    def send(self, number, packet, sender):
        receiver = ENDS[sender == INITIATOR]
        effects = self.engines[sender].packet(number, packet, outgoing=True, now_ns=self.now_ns)
        self.take(sender, effects)
        if Pass(number) in effects:
            found = self.engines[receiver].packet(number, packet, outgoing=False, now_ns=self.now_ns)
            assert found == [Pass(number)]

    def take(self, node, effects):
        for effect in effects:
            if not isinstance(effect, Say):
                self.effects.append((node, effect))
            elif effect.event.kind == SEEN:
                octets, destination = effect.event.data["octets"], effect.event.data["destination"]
                self.engines[ENDS[node == INITIATOR]].seen(bytes.fromhex(octets), destination)
            else:
                self.events.append((node, effect.event))

    def wait(self, ns):
        self.now_ns += ns
        for node, engine in self.engines.items():
            self.take(node, engine.due(self.now_ns))

    def applied(self):
        """Node, message and occurrence of every fault."""
        return [
            (node, event.data["message"], event.data["occurrence"])
            for node, event in self.events
            if event.kind == APPLIED
        ]

    def touched(self):
        """The numbers, in the recording, of the packets that did not just pass."""
        passed = {effect.packet_id for _, effect in self.effects if isinstance(effect, Pass)}
        return sorted(set(range(len(recorded(self.name)))) - passed)


# packets of the recordings, by their number from 0
MM3, QM3, REKEY_BY_B, ITS_RETRANSMISSION = 2, 8, 12, 13
ITS_QM3, ITS_QM3_AGAIN = 16, 17

DROPPED = {
    "without an occurrence the first match, once": ("ikev1-psk", "drop quick-mode 3", [QM3]),
    "in the second exchange": ("ikev1-psk", "drop quick-mode 3 occurrence 2", [11]),
    "in every exchange, but no retransmissions": ("ikev1-psk", "drop quick-mode 3 always", [8, 11, 16, 20]),
    "with them": (
        "ikev1-psk",
        "drop quick-mode 3 occurrence 3 with retransmissions",
        [ITS_QM3, ITS_QM3_AGAIN],
    ),
    "from a node: the first that it sends": (
        "ikev1-psk",
        "drop quick-mode 1 from RESPONDER",
        [REKEY_BY_B],
    ),
    "to a node": ("ikev1-psk", "drop quick-mode 1 to INITIATOR", [REKEY_BY_B]),
    "any message of the exchange": ("ikev1-psk", "drop main-mode", [0]),
    "any message, always": ("ikev1-psk", "drop main-mode from RESPONDER always", [1, 3, 5]),
    "a message of the phase 1": ("ikev1-psk", "drop main-mode 3", [MM3]),
    "any version": ("ikev1-psk", "drop informational", [21]),
    "the right version": ("ikev1-psk", "drop ikev1 informational occurrence 5", [25]),
    "the other version": ("ikev1-psk", "drop ikev2 informational", []),
    "a response of IKEv2": ("ikev2-cert", "drop create-child-sa 2", [5]),
    "a request of IKEv2 in all its transmissions": (
        "ikev2-cert",
        "drop create-child-sa 1 occurrence 2 with retransmissions",
        [8, 9],
    ),
    "requests of one side": ("ikev2-cert", "drop informational 1 from RESPONDER always", [11]),
    "the first exchange": ("ikev2-cert", "drop ike-sa-init 2", [1]),
    "an exchange that does not happen": ("ikev2-cert", "drop quick-mode always", []),
}


@pytest.mark.parametrize(("name", "rule", "dropped"), DROPPED.values(), ids=DROPPED.keys())
def test_a_rule_drops(name, rule, dropped):
    wire = Wire(name, [rule]).play()
    assert wire.touched() == dropped
    assert [effect.packet_id for _, effect in wire.effects if isinstance(effect, Drop)] == dropped


def test_without_a_rule_every_packet_passes_at_once():
    for name in ("ikev1-psk", "ikev2-cert"):
        wire = Wire(name, []).play()
        assert wire.touched() == []
        assert wire.events == []


def test_two_ends_with_the_same_rule_apply_it_once():
    """The dropped message never comes to the other end, which would otherwise go on waiting for its first."""
    wire = Wire("ikev1-psk", ["drop quick-mode 1"]).play()
    assert wire.applied() == [(INITIATOR, 1, 1)]


def test_each_of_several_rules_counts_what_another_took():
    wire = Wire(
        "ikev1-psk",
        ["drop quick-mode 3", "delay quick-mode 3 occurrence 2 by 1s", "drop quick-mode 1 occurrence 3"],
    ).play()
    assert wire.applied() == [(INITIATOR, 3, 1), (INITIATOR, 3, 2), (RESPONDER, 1, 3)]


def test_a_fault_is_an_event_that_names_the_message():
    ((node, event),) = Wire("ikev1-psk", ["drop quick-mode 3"]).play().events
    message = recorded("ikev1-psk")[QM3].message
    assert (node, event.kind, event.time_ns) == (INITIATOR, APPLIED, (QM3 + 1) * ROUND)
    assert event.data == {
        "id": 0,
        "rule": "drop quick-mode 3",
        "action": "drop",
        "version": 1,
        "exchange": "quick-mode",
        "message": 3,
        "occurrence": 1,
        "retransmission": False,
        "initiator_spi": message.initiator_spi.hex(),
        "responder_spi": message.responder_spi.hex(),
        "message_id": f"{message.message_id:08x}",
        "source": addresses("ikev1-psk")[INITIATOR][0],
        "destination": addresses("ikev1-psk")[RESPONDER][0],
        "octets": 76,
    }


def test_a_delayed_packet_goes_on_when_its_time_has_come():
    wire = Wire("ikev1-psk", ["delay informational always by 500ms"]).play()
    assert len(wire.touched()) == 5
    due = wire.engines[INITIATOR].next_due_ns
    assert due == (21 + 1) * ROUND + 500 * MS
    wire.wait(due - wire.now_ns - 1)
    assert len(wire.touched()) == 5
    wire.wait(1)
    assert len(wire.touched()) == 4
    wire.wait(1000 * MS)
    assert wire.touched() == []
    assert [event.kind for _, event in wire.events] == [APPLIED] * 5 + [RELEASED] * 5
    assert wire.engines[INITIATOR].next_due_ns is None


def test_a_duplicate_goes_out_beside_the_packet():
    wire = Wire("ikev1-psk", ["duplicate quick-mode 3"]).play()
    assert wire.touched() == []
    copies = [(node, effect.packet) for node, effect in wire.effects if isinstance(effect, Send)]
    assert copies == [(INITIATOR, recorded("ikev1-psk")[QM3].packet)]


def test_a_replayed_packet_comes_again_later():
    wire = Wire("ikev2-cert", ["replay ike-auth 1 by 2s"]).play()
    assert wire.touched() == []
    assert not [effect for _, effect in wire.effects if isinstance(effect, Send)]
    wire.wait(2000 * MS)
    copies = [(node, effect.packet) for node, effect in wire.effects if isinstance(effect, Send)]
    assert copies == [(INITIATOR, recorded("ikev2-cert")[2].packet)]


def test_a_held_packet_waits_for_an_event_that_comes_after_it():
    wire = Wire("ikev2-cert", ["hold create-child-sa 2 until child-sa.installed"]).play()
    held = wire.engines[RESPONDER]
    assert wire.touched() == [5]
    since = (5 + 1) * ROUND
    assert held.heard("child-sa.installed", since - 1, wire.now_ns) == []
    assert held.heard("child-sa.deleted", wire.now_ns, wire.now_ns) == []
    wire.take(RESPONDER, held.heard("child-sa.installed", since, wire.now_ns))
    assert wire.touched() == []
    assert wire.events[-1][1].kind == RELEASED
    assert held.heard("child-sa.installed", since, wire.now_ns) == []


def test_what_waits_goes_on_when_the_engine_ends_but_no_copy_is_sent():
    rules = ["delay quick-mode 3 by 9s", "hold quick-mode 2 until never", "replay main-mode 1 by 9s"]
    wire = Wire("ikev1-psk", rules).play()
    assert len(wire.touched()) == 2
    for node, engine in wire.engines.items():
        wire.take(node, engine.end(wire.now_ns))
    assert wire.touched() == []
    assert not [effect for _, effect in wire.effects if isinstance(effect, Send)]


def changes(wire):
    """By packet, the octets of the UDP payload that are not what they were."""
    found = {}
    for _, effect in wire.effects:
        if isinstance(effect, Alter):
            packet = recorded(wire.name)[effect.packet_id].packet
            datagram = datagrams.read(packet)
            assert len(effect.packet) == len(packet)
            assert datagrams.checksum_is_right(effect.packet, datagram)
            found[effect.packet_id] = [
                at - datagram.begin
                for at in range(datagram.begin, datagram.end)
                if effect.packet[at] != packet[at]
            ]
    return found


def test_corrupt_changes_the_octet_of_the_ike_message_that_it_names():
    assert changes(Wire("ikev1-psk", ["corrupt main-mode 1 octet 40"]).play()) == {0: [40]}
    # behind the non-ESP marker
    assert changes(Wire("ikev1-psk", ["corrupt main-mode 5 octet 40"]).play()) == {4: [44]}


def test_corrupt_changes_the_field_that_it_names():
    assert changes(Wire("ikev2-cert", ["corrupt ike-sa-init 1 field version"]).play()) == {0: [17]}
    assert changes(Wire("ikev2-cert", ["corrupt ike-sa-init 2 field responder-spi"]).play()) == {
        1: list(range(8, 16))
    }


def test_corrupt_of_an_octet_that_the_message_has_not_is_said():
    wire = Wire("ikev1-psk", ["corrupt main-mode 5 octet 4000"]).play()
    ((_, event),) = wire.events
    assert (event.kind, event.data["reason"]) == (MISSED, "there is no octet 4000 in a message of 124 octets")
    assert wire.touched() == []


def test_the_same_seed_corrupts_the_same_octets_50_of_50():
    rules = ["corrupt quick-mode always", "corrupt main-mode 5"]
    found = Counter(str(changes(Wire("ikev1-psk", rules, seed=7).play())) for _ in range(50))
    assert list(found.values()) == [50]
    others = {str(changes(Wire("ikev1-psk", rules, seed=seed).play())) for seed in range(20)}
    assert len(others) == 20


def test_corrupt_without_a_place_spares_the_header():
    for seed in range(50):
        for number, octets in changes(
            Wire("ikev1-psk", ["corrupt quick-mode always"], seed=seed).play()
        ).items():
            assert len(octets) == 1
            assert octets[0] >= 4 + 28, number


def test_a_rule_that_is_added_later_counts_from_then_on_and_knows_retransmissions():
    wire = Wire("ikev1-psk", [])
    for number, one in enumerate(recorded("ikev1-psk")):
        wire.send(number, one.packet, one.sender)
        if number == REKEY_BY_B:
            wire.engines[RESPONDER].add(NumberedRule(id=0, rule=parse("drop quick-mode 1 from peer-b")))
    assert wire.touched() == []
    assert wire.applied() == []


def test_a_packet_that_is_no_ike_passes_and_is_counted():
    engine = Engine(1, {})
    assert engine.packet(3, b"\x60" + bytes(60), outgoing=True, now_ns=0) == [Pass(3)]
    assert engine.foreign == 1


@given(
    st.lists(st.tuples(st.integers(0, 25), st.sampled_from(["once", "twice", "never"])), max_size=60),
    st.sampled_from(
        ["drop quick-mode 3", "drop quick-mode 2 occurrence 2", "drop quick-mode 1 always", "drop main-mode"]
    ),
)
def test_whatever_the_wire_does_a_rule_acts_at_most_once_in_an_exchange(steps, text):
    """Packets in any order, lost and repeated: a rule acts in its own exchange only, on no retransmission."""
    wire = Wire("ikev1-psk", [text])
    for number, how in steps:
        one = recorded("ikev1-psk")[number]
        for _ in range({"once": 1, "twice": 2, "never": 0}[how]):
            wire.send(number, one.packet, one.sender)
    acted = [(event.data["message_id"], event.data["message"]) for _, event in wire.events]
    occurrences = [event.data["occurrence"] for _, event in wire.events]
    if "always" not in text:
        assert len(acted) <= 1
        assert occurrences == [2 if "occurrence 2" in text else 1] * len(acted)
    assert not [event for _, event in wire.events if event.data["retransmission"]]
