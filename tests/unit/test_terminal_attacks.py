"""What an enemy can do to a terminal: forged, replayed or borrowed messages, or a partner gone bad."""

from __future__ import annotations

from ipaddress import IPv6Address
from random import Random

import msgspec
from terminal_network import MS, SECRET, Network, Node, S, Sent, address, closed, hop, terminals

from nodes.terminal.actions import Carriage, Endpoint, Flow, Rewriting, Service, Unrecognised
from nodes.terminal.header import destination_options
from nodes.terminal.keys import ContextKeys, Direction, Leg, PairKeys
from nodes.terminal.message import Capability, Code, Kind, Lifetimes, Listed, Message, decode, encode
from nodes.terminal.reception import NEW_CONTEXT_BURST, NEW_CONTEXT_RATE

VICTIM = address("fd00:66::1")
BOTH = Capability.INTERFACE_ID | Capability.PREFIX


class Enemy:
    """Somebody who knows a secret, perhaps the right one, and sends what it likes from where it likes."""

    def __init__(self, network: Network, target: Node, secret: bytes) -> None:
        self.network = network
        self.target = target
        self.pair = PairKeys(secret)
        self.random = Random(7)
        self.keys: ContextKeys = self.pair.context(self.pair.new_context(self.random.randbytes))
        self.sequence = 0

    def message(
        self, kind: Kind, source: IPv6Address, destination: IPv6Address, leg: Leg, **fields: object
    ) -> bytes:
        self.sequence += 1
        octets = encode(
            Message(kind=kind, context=self.keys.on(leg), sequence=self.sequence, **fields)  # type: ignore[arg-type]
        )
        return octets + self.keys.mac(leg, Direction.FORWARD, source, destination, octets)

    def request(self, source: IPv6Address, listed: tuple[Listed, ...], second: IPv6Address) -> list[Message]:
        sealed = self.keys.seal(second, self.random.randbytes)
        fields = {"flags": BOTH, "services": listed, "sealed": sealed, "lifetimes": Lifetimes(0, 1000)}
        return self.send(Kind.UPDATE_REQUEST, source, Leg.FIRST, **fields)

    def send(self, kind: Kind, source: IPv6Address, leg: Leg, **fields: object) -> list[Message]:
        """Send; what the terminal answers, wherever that goes."""
        destination = self.target.current
        return self.give(self.message(kind, source, destination, leg, **fields), source)

    def give(self, octets: bytes, source: IPv6Address) -> list[Message]:
        before = len(self.network.sent)
        self.target.tell(
            lambda now: self.target.core.receive(source, self.target.current, octets, Carriage.OPTION, now)
        )
        return [decode(sent.message) for sent in self.network.sent[before:]]


def victim_of(network: Network, a: Node, b: Node) -> tuple[Flow, Flow]:
    return network.service(a, b, 5000)


def state(node: Node) -> tuple[int, int]:
    return len(node.core._second.contexts), len(node.rewritings)


def test_a_forged_request_makes_neither_an_answer_nor_state():
    network, a, b = terminals()
    victim_of(network, a, b)
    enemy = Enemy(network, b, b"not the secret that a and b share")
    assert enemy.request(a.current, (Listed(1, 17, 5000, 80),), address("f")) == []
    assert state(b) == (0, 0)


def test_a_request_with_one_changed_octet_anywhere_is_not_answered():
    network, a, b = terminals()
    victim_of(network, a, b)
    enemy = Enemy(network, b, SECRET)
    sealed = enemy.keys.seal(address("f"), enemy.random.randbytes)
    good = enemy.message(
        Kind.UPDATE_REQUEST,
        a.current,
        b.current,
        Leg.FIRST,
        services=(Listed(1, 17, 5000, 80),),
        sealed=sealed,
    )
    for at in range(len(good)):
        assert enemy.give(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :], a.current) == []
    assert state(b) == (0, 0)


def test_every_message_of_a_hop_that_is_replayed_changes_nothing():
    network, a, b = terminals()
    flows = victim_of(network, a, b)
    hop(a)
    network.run_until(closed(a))
    heard = list(network.sent)
    before = (dict(a.rewritings), dict(b.rewritings), len(network.sent))
    for sent in heard:
        node = b if sent.destination == b.current else a
        node.tell(
            lambda now, node=node, sent=sent: node.core.receive(
                sent.source, sent.destination, sent.message, sent.carriage, now
            )
        )
    network.run(S)
    assert (a.rewritings, b.rewritings, len(network.sent)) == before
    assert b.core.status()["dropped"]["replayed"] >= 4
    assert a.out(flows[0]).local.address == a.current


def test_a_hop_that_is_replayed_after_it_was_forgotten_moves_nothing():
    network, a, b = terminals()
    flows = victim_of(network, a, b)
    hop(a)
    network.run_until(closed(a))
    heard = [sent for sent in network.sent if sent.destination == b.current]
    network.run(120 * S)
    assert state(b)[0] == 0
    before = b.rewritings[flows[1]]
    for sent in heard:
        network.arrive(sent)
        network.run(MS)
    assert b.rewritings[flows[1]] == before


def test_a_message_sent_back_to_its_sender_is_not_taken():
    network, a, b = terminals()
    victim_of(network, a, b)
    hop(a)
    network.run_until(closed(a))
    for sent in list(network.sent):
        reflected = Sent(network.now, sent.destination, sent.source, sent.message, sent.carriage)
        network.arrive(reflected)
    assert len(a.core._second.contexts) == 0


def test_a_request_from_another_address_than_the_services_is_answered_no_such_flow():
    network, a, b = terminals()
    victim_of(network, a, b)
    enemy = Enemy(network, b, SECRET)
    enemy.request(address("bad"), (Listed(1, 17, 5000, 80),), address("f"))
    b.network.run(200 * MS)
    (answer,) = enemy.request(address("bad"), (Listed(1, 17, 5000, 80),), address("f"))
    assert [result.code for result in answer.results] == [Code.NO_SUCH_FLOW]


def test_a_partner_cannot_take_another_partners_service_though_it_borrows_the_address():
    network, a, b = terminals()
    flows = victim_of(network, a, b)
    b.pair("mallory", "bad", b"what mallory and b share")
    mallory = Enemy(network, b, b"what mallory and b share")
    (answer,) = mallory.request(a.current, (Listed(1, 17, 5000, 80),), address("bad"))
    assert [result.code for result in answer.results] == [Code.NO_SUCH_FLOW]
    assert b.out(flows[1]).remote.address == a.current


def test_a_partner_cannot_take_a_strangers_service_as_it_does_not_get_the_strangers_cookie():
    """Nobody is known at the service's address: the cookie that went there is missing later."""
    network, _, b = terminals()
    stranger = network.add("c", "c")
    flows = network.service(stranger, b, 6000)
    mallory = Enemy(network, b, SECRET)
    second = address("bad")
    (answer,) = mallory.request(stranger.current, (Listed(1, 17, 6000, 80),), second)
    assert [result.code for result in answer.results] == [Code.SUPPORTED]  # but it went to the stranger
    guess = b"\0" * 8
    (wants,) = mallory.send(Kind.BACKUP_REQUEST, second, Leg.SECOND, cookies=(guess,), ids=(1,))
    answers = mallory.send(
        Kind.BACKUP_REQUEST, second, Leg.SECOND, cookies=(guess, wants.cookies[0]), ids=(1,)
    )
    assert all(answer.kind is not Kind.BACKUP_RESPONSE for answer in answers)
    assert mallory.send(Kind.SWITCH, second, Leg.SECOND, ids=(1,)) == []
    assert b.out(flows[1]).remote.address == stranger.current


def test_a_backup_request_from_an_address_that_was_not_sealed_is_not_answered():
    network, a, b = terminals()
    flows = victim_of(network, a, b)
    partner = Enemy(network, b, SECRET)
    (answer,) = partner.request(a.current, (Listed(1, 17, 5000, 80),), address("f"))
    cookies = (answer.cookies[0],)
    assert partner.send(Kind.BACKUP_REQUEST, address("e"), Leg.SECOND, cookies=cookies, ids=(1,)) == []
    assert b.out(flows[1]).remote.address == a.current
    assert b.core.status()["dropped"]["backup request from an address that was not sealed"] == 1


def test_traffic_cannot_be_redirected_to_a_victim():
    """A partner gone bad seals the victim's address and sends from it; the cookie goes to the victim."""
    network, a, b = terminals()
    flows = victim_of(network, a, b)
    partner = Enemy(network, b, SECRET)
    (answer,) = partner.request(a.current, (Listed(1, 17, 5000, 80),), VICTIM)
    cookie = answer.cookies[0]
    for guess in range(200):
        cookies = (cookie, guess.to_bytes(8, "big"))
        (wants,) = partner.send(Kind.BACKUP_REQUEST, VICTIM, Leg.SECOND, cookies=cookies, ids=(1,))
        assert wants.kind is Kind.ERROR
    assert partner.send(Kind.SWITCH, VICTIM, Leg.SECOND, ids=(1,)) == []
    network.run(200 * S)
    assert b.out(flows[1]).remote.address == a.current
    rewriting: Rewriting | None = b.rewritings.get(flows[1])
    assert rewriting is None or all(path.remote.address != VICTIM for path in rewriting.accepted)


def test_what_goes_to_a_victim_is_smaller_than_what_caused_it():
    network, a, b = terminals()
    victim_of(network, a, b)
    partner = Enemy(network, b, SECRET)
    (answer,) = partner.request(a.current, (Listed(1, 17, 5000, 80),), VICTIM)
    sent = partner.message(
        Kind.BACKUP_REQUEST,
        VICTIM,
        b.current,
        Leg.SECOND,
        lifetimes=Lifetimes(0, 0),
        cookies=(answer.cookies[0],),
    )
    partner.give(sent, VICTIM)
    assert network.sent[-1].destination == VICTIM
    assert len(network.sent[-1].message) < len(sent)


def test_the_cookies_that_a_source_can_ask_for_are_limited():
    network, a, b = terminals()
    victim_of(network, a, b)
    partner = Enemy(network, b, SECRET)
    (answer,) = partner.request(a.current, (Listed(1, 17, 5000, 80),), VICTIM)
    answers = [
        partner.send(Kind.BACKUP_REQUEST, VICTIM, Leg.SECOND, cookies=(answer.cookies[0],), ids=(1,))
        for _ in range(2000)
    ]
    assert sum(map(len, answers)) <= 1000


def test_a_second_address_that_cannot_be_one_gets_no_answer():
    for second in ("ff02::1", "::1", "::", "fe80::1", "::ffff:192.0.2.1", "a"):
        network, a, b = terminals()
        victim_of(network, a, b)
        partner = Enemy(network, b, SECRET)
        assert partner.request(a.current, (Listed(1, 17, 5000, 80),), address(second)) == []
        assert state(b) == (0, 0)


def test_the_second_address_of_one_partner_cannot_be_that_of_another():
    network, a, b = terminals()
    victim_of(network, a, b)
    b.pair("c", "c", b"what c and b share, and nobody")
    partner = Enemy(network, b, SECRET)
    assert partner.request(a.current, (Listed(1, 17, 5000, 80),), address("c")) == []


def quoted(sent: Sent, message: bytes | None = None, destination: IPv6Address | None = None) -> bytes:
    header = destination_options(sent.message if message is None else message)
    addresses = sent.source.packed + (destination or sent.destination).packed
    return bytes([0x60, 0, 0, 0]) + len(header).to_bytes(2, "big") + bytes([60, 64]) + addresses + header


def test_a_forged_not_recognised_is_not_believed():
    network, a, b = terminals(rtt=40 * MS)
    victim_of(network, a, b)
    hop(a)
    network.run_until(lambda: bool(network.sent))
    sent = network.sent[0]
    forged = sent.message[:-1] + bytes([sent.message[-1] ^ 1])
    for octets in (quoted(sent, forged), quoted(sent, sent.message[:60]), b"", b"\x60" * 200):
        a.tell(lambda now, octets=octets: a.core.unrecognised(_PROBLEM, sent.destination, octets, now))
    a.tell(lambda now: a.core.unrecognised(_PROBLEM, address("bad"), quoted(sent), now))
    network.run(2 * S)
    assert [data["outcome"] for data in a.of("hop.service")] == ["hopped"]


def test_who_sees_the_request_cannot_force_not_recognised_on_a_partner_that_answers():
    network, a, b = terminals(rtt=40 * MS)
    victim_of(network, a, b)
    hop(a)
    network.run_until(lambda: bool(network.sent))
    sent = network.sent[0]
    a.tell(lambda now: a.core.unrecognised(_PROBLEM, sent.destination, quoted(sent), now))
    network.run(2 * S)
    assert [data["outcome"] for data in a.of("hop.service")] == ["hopped"]


def test_a_not_recognised_that_comes_after_an_answer_is_too_late():
    network, a, b = terminals(rtt=40 * MS)
    victim_of(network, a, b)
    hop(a)
    network.run_until(lambda: bool(a.of("hop.answered")))
    sent = network.sent[0]
    a.tell(lambda now: a.core.unrecognised(_PROBLEM, sent.destination, quoted(sent), now))
    network.run(2 * S)
    assert [data["outcome"] for data in a.of("hop.service")] == ["hopped"]


def test_a_flood_of_forged_messages_leaves_the_state_bounded_and_the_hop_undisturbed():
    network, a, b = terminals()
    flows = victim_of(network, a, b)
    network.stream(a, flows[0], MS, network.now + S)
    network.stream(b, flows[1], MS, network.now + S)
    random = Random(3)
    hop(a)
    for number in range(100):
        network.run(MS)
        for _ in range(100):
            octets = bytes([0x11]) + random.randbytes(random.randrange(35, 254))
            source = a.current if number % 2 else IPv6Address(random.getrandbits(128))
            assert b.core.receive(source, b.current, octets, Carriage.OPTION, network.now) == []
    network.run(2 * S)
    assert not network.lost
    assert [data["outcome"] for data in a.of("hop.service")] == ["hopped"]
    assert len(b.core._second.contexts) <= 1
    assert len(b.core._reception.limit) <= 4096


def test_forged_messages_of_a_context_that_is_known_change_nothing():
    network, a, b = terminals(rtt=20 * MS)
    flows = victim_of(network, a, b)
    hop(a)
    network.run(15 * MS)
    context = decode(network.sent[0].message).context
    for kind in range(16):
        octets = bytes([0x10 | kind, 0, 0, 0]) + context.to_bytes(8, "big") + b"\0" * 40
        for node, source in ((a, b.current), (b, a.current)):
            node.tell(
                lambda now, node=node, source=source, octets=octets: node.core.receive(
                    source, node.current, octets, Carriage.OPTION, now
                )
            )
    network.run(2 * S)
    assert [data["outcome"] for data in a.of("hop.service")] == ["hopped"]
    assert b.out(flows[1]).remote.address == a.current


def test_a_partner_gone_bad_can_open_only_so_many_contexts():
    network, a, b = terminals()
    victim_of(network, a, b)
    for number in range(500):
        partner = Enemy(network, b, SECRET)
        partner.random = Random(number)
        partner.keys = partner.pair.context(partner.pair.new_context(partner.random.randbytes))
        partner.request(a.current, (Listed(1, 17, 5000, 80),), IPv6Address(int(address("f000")) + number))
    assert len(b.core._second.contexts) == 64
    network.run(200 * S)
    assert not b.core._second.contexts


def test_the_macs_that_a_source_can_have_looked_at_are_limited():
    network, a, b = terminals()
    partner = Enemy(network, b, SECRET)
    looked = 0
    for _ in range(3000):
        partner.keys = partner.pair.context(partner.pair.new_context(partner.random.randbytes))
        octets = partner.message(Kind.UPDATE_REQUEST, a.current, b.current, Leg.FIRST)
        partner.give(octets[:-16] + b"\0" * 16, a.current)
    looked = b.core.status()["dropped"]["wrong MAC"]
    assert looked <= NEW_CONTEXT_BURST + NEW_CONTEXT_RATE
    assert b.core.status()["dropped"]["too many from one source"] >= 2000


def test_the_two_legs_of_a_hop_have_no_number_in_common():
    network, a, b = terminals()
    victim_of(network, a, b)
    hop(a)
    network.run_until(closed(a))
    first, second = set(), set()
    retired = next(iter(a.retired))
    for sent in network.sent:
        leg = first if retired in (sent.source, sent.destination) else second
        leg |= {sent.message[at : at + 8] for at in (4, 12)}  # context and sequence
    assert first
    assert second
    contexts = {octets for octets in first | second if octets[:2] != b"\0\0"}
    assert len(contexts) == 2
    assert not {octets for octets in first & second if octets[:2] != b"\0\0"}


def test_the_second_address_is_not_in_the_request_for_who_has_no_key():
    network, a, b = terminals()
    victim_of(network, a, b)
    hop(a)
    network.run_until(closed(a))
    for sent in network.sent:
        assert a.current.packed not in sent.message


def test_no_packet_goes_to_the_first_address_after_the_close():
    network, a, b = terminals()
    flows = victim_of(network, a, b)
    first = a.current
    hop(a)
    network.run_until(closed(a))
    count = len(network.sent)
    for node, flow in ((a, flows[0]), (b, flows[1])):
        data = node.send_data(flow)
        assert first not in (data.source.address, data.destination.address)
    hop(a)
    network.run(S)
    assert all(first not in (sent.source, sent.destination) for sent in network.sent[count:])


def test_services_beyond_the_bound_are_refused_and_told():
    _, a, b = terminals()
    most = a.core._in.services._most
    service = Service(flow=Flow(17, Endpoint(a.current, 1), Endpoint(b.current, 80)))
    flows = [
        msgspec.structs.replace(service, flow=service.flow._replace(local=Endpoint(a.current, port)))
        for port in range(1, most + 11)
    ]
    a.tell(lambda now: a.core.flows_changed(flows, [], now))
    assert len(a.core._in.services) == most
    assert len(a.of("service.refused")) == 10


_PROBLEM = Unrecognised.PARAMETER_PROBLEM
