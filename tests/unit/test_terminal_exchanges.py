"""A hop from its beginning to its end, and hops that overlap, between two terminals on a link in memory."""

from __future__ import annotations

import pytest
from terminal_network import (
    MS,
    Network,
    Node,
    S,
    Sent,
    closed,
    hop,
    outcomes,
    terminals,
    traffic,
)

from nodes.terminal import actions as do
from nodes.terminal.actions import Carriage, Endpoint
from nodes.terminal.message import Kind, decode
from nodes.terminal.plan import plan_of
from nodes.terminal.settings import Settings


def kinds(network: Network, source: Node | None = None) -> list[Kind]:
    return [
        decode(sent.message).kind
        for sent in network.sent
        if source is None or sent.source in source.addresses or sent.source in source.identities
    ]


# the method


def test_a_service_goes_on_over_the_second_address_without_losing_a_packet():
    network, a, b = terminals()
    flows = network.service(a, b, 5000)
    traffic(network, a, b, flows)
    first = a.current
    hop(a)
    network.run(2 * S)
    assert not network.lost
    assert outcomes(a) == {"hopped": 1}
    assert a.out(flows[0]).local.address == b.out(flows[1]).remote.address == a.current != first


def test_the_messages_come_in_the_order_of_the_seed():
    network, a, b = terminals()
    network.service(a, b, 5000)
    hop(a)
    network.run(S)
    assert kinds(network) == [
        Kind.UPDATE_REQUEST,
        Kind.UPDATE_RESPONSE,
        Kind.BACKUP_REQUEST,
        Kind.ERROR,
        Kind.BACKUP_REQUEST,
        Kind.BACKUP_RESPONSE,
        Kind.SWITCH,
        Kind.SWITCH_ACK,
        Kind.CLOSE,
        Kind.CLOSE,
    ]


def test_the_first_address_is_retired_at_both_ends():
    network, a, b = terminals()
    flows = network.service(a, b, 5000)
    first = a.current
    hop(a)
    network.run(S)
    assert first not in a.addresses
    assert first in a.retired
    assert b.retired_remotes == [first]
    assert all(path.local.address != first for path in a.rewritings[flows[0]].accepted)
    assert a.rewritings[flows[0]].dropped
    assert b.rewritings[flows[1]].dropped


def test_the_identity_stands_until_the_last_socket_of_the_first_address_is_gone():
    network, a, b = terminals()
    flows = network.service(a, b, 5000)
    first = a.current
    hop(a)
    network.run(S)
    assert first in a.identities
    network.end(a, flows[0])
    network.run(5 * S)
    assert first not in a.identities
    assert not a.rewritings


def test_a_hop_without_services_tells_the_partner_the_new_address():
    network, a, b = terminals()
    hop(a)
    network.run(S)
    assert [data["retired"] for data in a.of("hop.closed")] == [True]
    assert b.core.status()["partners"]["a"]["addresses"] == [str(a.current)]


def test_a_hop_without_services_asks_nobody_where_nothing_is_announced():
    network, a, _ = terminals(settings=Settings(announce=False))
    hop(a)
    network.run(S)
    assert not network.sent
    assert [data["retired"] for data in a.of("hop.closed")] == [True]


def test_a_service_that_ended_before_is_never_asked_about():
    network, a, b = terminals()
    flows = network.service(a, b, 5000)
    plan = plan_of({"first": str(a.current), "period": 100 * MS, "hops": 1})
    a.tell(lambda now: a.core.schedule(plan, now))
    network.run(50 * MS)
    network.end(a, flows[0])
    network.run(S)
    requests = [decode(sent.message) for sent in network.sent]
    assert not any(message.services for message in requests)
    assert a.of("hop.closed")[0]["outcomes"] == {"ended-before": 1}


def test_a_service_that_ends_during_the_hop_ended_before():
    network, a, b = terminals(rtt=20 * MS)
    flows = network.service(a, b, 5000)
    hop(a)
    network.run(25 * MS)
    network.end(a, flows[0])
    network.run(2 * S)
    assert outcomes(a) == {"ended-before": 1}
    assert a.of("hop.closed")


def test_a_service_that_begins_during_the_hop_is_taken_along():
    network, a, b = terminals(rtt=20 * MS)
    network.service(a, b, 5000)
    first = a.current
    hop(a)
    network.run(50 * MS)
    late = network.service_on(a, first, b, 5001)
    traffic(network, a, b, late)
    network.run(2 * S)
    assert outcomes(a) == {"hopped": 2}
    assert not network.lost


def test_a_service_that_begins_between_the_switch_and_the_close_is_taken_along():
    network, a, b = terminals(rtt=20 * MS)
    network.service(a, b, 5000)
    first = a.current
    hop(a)
    network.run_until(lambda: bool(a.of("hop.switched")))
    late = network.service_on(a, first, b, 5001)
    traffic(network, a, b, late)
    network.run(3 * S)
    assert outcomes(a) == {"hopped": 2}
    assert not network.lost


def test_a_socket_that_begins_on_a_retired_address_is_closed():
    network, a, b = terminals()
    network.service(a, b, 5000)
    first = a.current
    hop(a)
    network.run(S)
    late = network.service_on(a, first, b, 5001)
    assert a.closed == [late[0]]
    assert a.of("service.closed")


@pytest.mark.parametrize("protocol", [do.TCP, do.UDP, do.ICMPV6])
def test_services_of_each_protocol_hop(protocol):
    network, a, b = terminals()
    flows = network.service(a, b, 5000, protocol)
    traffic(network, a, b, flows)
    hop(a)
    network.run(2 * S)
    assert outcomes(a) == {"hopped": 1}
    assert not network.lost


def test_many_services_hop_with_several_messages_of_at_most_one_option():
    network, a, b = terminals()
    flows = [network.service(a, b, 5000 + number) for number in range(300)]
    hop(a)
    network.run(2 * S)
    assert outcomes(a) == {"hopped": 300}
    assert max(len(sent.message) for sent in network.sent) <= 255
    assert all(a.out(one).local == Endpoint(a.current, one.local.port) for one, _ in flows)


def test_services_with_several_partners_leave_one_address_together():
    network, a, b = terminals()
    c = network.add("c", "c")
    a.pair("c", "c", b"another secret of sixteen octets")
    c.pair("a", "a", b"another secret of sixteen octets")
    for number, partner in enumerate((b, c)):
        traffic(network, a, partner, network.service(a, partner, 5000 + number))
    hop(a)
    network.run(2 * S)
    assert a.of("hop.closed")[0]["partners"] == {"b": "told", "c": "told"}
    assert outcomes(a) == {"hopped": 2}
    assert not network.lost


def test_the_grace_is_two_round_trips():
    network, a, b = terminals(rtt=60 * MS)
    network.service(a, b, 5000)
    hop(a)
    network.run(3 * S)
    (told,) = a.of("hop.closed")
    phases = told["phases_ms"]
    assert told["rtt_ms"] == pytest.approx(60, abs=0.1)
    assert phases["closing"] - phases["acknowledged"] >= 2 * 60


def test_a_slow_partner_is_not_asked_more_often_than_it_answers():
    network, a, b = terminals(rtt=200 * MS)
    network.service(a, b, 5000)
    messages = []
    for _ in range(2):
        before = len(network.sent)
        hop(a)
        network.run(20 * S)
        messages.append(len(network.sent) - before)
    assert outcomes(a) == {"hopped": 2}
    assert messages[0] > 2 * 10  # nothing was known of the partner
    assert messages[1] == 10  # request, two backup requests for the cookie, switch, close: each answered


def test_packets_of_both_ends_bear_the_first_address_until_the_switch():
    network, a, b = terminals(rtt=20 * MS)
    flows = network.service(a, b, 5000)
    first = a.current
    hop(a)
    network.run_until(lambda: bool(a.of("hop.prepared")))
    switched = a.of("hop.switched")
    assert switched or a.out(flows[0]).local.address == first
    assert b.out(flows[1]).remote.address == first


def test_ports_move_with_the_address_where_that_is_wanted():
    network, a, b = terminals(settings=Settings(move_ports=True))
    pairs = [network.service(a, b, 5000 + number) for number in range(20)]
    for flows in pairs:
        traffic(network, a, b, flows)
    hop(a)
    network.run(2 * S)
    ports = {a.out(one).local.port for one, _ in pairs}
    assert len(ports) == 20
    assert ports.isdisjoint(range(5000, 5020))
    assert all(a.out(one).local == b.out(other).remote for one, other in pairs)
    assert not network.lost


def test_an_echo_keeps_its_identifier_where_ports_move():
    network, a, b = terminals(settings=Settings(move_ports=True))
    flows = network.service(a, b, 77, do.ICMPV6)
    hop(a)
    network.run(S)
    assert a.out(flows[0]).local == Endpoint(a.current, 77)


def test_each_hop_has_a_flow_label_of_its_own_at_both_ends_where_that_is_wanted():
    network, a, b = terminals(settings=Settings(flow_labels=True))
    flows = network.service(a, b, 5000)
    labels = []
    for count in (1, 2):
        hop(a)
        network.run_until(closed(a, count))
        labels += [a.rewritings[flows[0]].flow_label, b.rewritings[flows[1]].flow_label]
    assert len(set(labels)) == 4
    assert all(0 < label < 1 << 20 for label in labels)


# many hops


def test_a_third_and_a_fourth_hop_begin_while_the_first_still_drains():
    network, a, b = terminals(rtt=200 * MS)
    flows = network.service(a, b, 5000)
    traffic(network, a, b, flows, 4 * S)
    plan = plan_of({"first": str(a.current), "period": 100 * MS, "hops": 8})
    a.tell(lambda now: a.core.schedule(plan, now))
    network.run_until(lambda: len(a.of("hop.started")) == 4)
    assert not a.of("hop.closed")
    network.run(10 * S)
    assert not network.lost
    assert outcomes(a) == {"hopped": 8}
    assert len(a.addresses) == 1


def test_both_ends_hop_at_once():
    network, a, b = terminals(rtt=20 * MS)
    flows = network.service(a, b, 5000)
    traffic(network, a, b, flows)
    hop(a)
    hop(b)
    network.run(3 * S)
    assert not network.lost
    assert a.out(flows[0]).local == b.out(flows[1]).remote == Endpoint(a.current, 5000)
    assert a.out(flows[0]).remote == b.out(flows[1]).local == Endpoint(b.current, 80)


def test_both_ends_hop_twenty_times_a_second():
    network, a, b = terminals()
    flows = [network.service(a, b, 5000 + number) for number in range(3)]
    traffic(network, a, b, flows[0], 3 * S)
    for node in (a, b):
        plan = plan_of({"first": str(node.current), "period": 50 * MS, "jitter": 10 * MS, "hops": 40})
        node.tell(lambda now, node=node, plan=plan: node.core.schedule(plan, now))
    network.run(5 * S)
    assert not network.lost
    for node in (a, b):
        assert node.of("hops.done") == [{"hops": 40}]
        assert outcomes(node) == {"hopped": 120}
        assert len(node.addresses) == 1


def test_a_service_that_begins_after_many_hops_finds_its_partner():
    network, a, b = terminals()
    for count in (1, 2, 3):
        hop(b)
        network.run_until(closed(b, count))
    flows = network.service(a, b, 5000)
    hop(a)
    network.run(S)
    assert outcomes(a) == {"hopped": 1}
    assert b.out(flows[1]).remote.address == a.current


def test_no_more_hops_are_under_way_than_are_allowed():
    network, a, b = terminals(rtt=400 * MS, settings=Settings(most_hops=2))
    network.service(a, b, 5000)
    plan = plan_of({"first": str(a.current), "period": 50 * MS, "hops": 4})
    a.tell(lambda now: a.core.schedule(plan, now))
    most = 0
    for _ in range(100):
        network.run(100 * MS)
        most = max(most, len(a.core.status()["hops"]))
    assert most == 2
    assert a.of("hop.late")
    assert len(a.of("hop.closed")) == 4


# carriage


def test_where_the_option_is_lost_on_the_path_udp_takes_over():
    network, a, b = terminals(settings=Settings(fallback=True))
    flows = network.service(a, b, 5000)
    traffic(network, a, b, flows)
    network.lose = lambda sent: sent.carriage is Carriage.OPTION
    hop(a)
    network.run(3 * S)
    assert outcomes(a) == {"hopped": 1}
    before = len(network.sent)
    hop(a)
    network.run(3 * S)
    assert all(sent.carriage is Carriage.UDP for sent in network.sent[before:])
    assert outcomes(a) == {"hopped": 2}


def test_without_the_fallback_nothing_goes_by_udp():
    network, a, b = terminals()
    network.service(a, b, 5000)
    network.lose = lambda sent: True
    hop(a)
    network.run(3 * S)
    assert all(sent.carriage is Carriage.OPTION for sent in network.sent)


def test_udp_alone_carries_the_same_messages():
    network, a, b = terminals(settings=Settings(carriage=Carriage.UDP))
    network.service(a, b, 5000)
    hop(a)
    network.run(S)
    assert outcomes(a) == {"hopped": 1}
    assert all(sent.carriage is Carriage.UDP for sent in network.sent)


@pytest.mark.parametrize("seed", range(5))
def test_no_answer_comes_to_an_address_that_is_retired(seed):
    """A partner that answers late answers each repetition, after hops that were quicker have closed too."""
    network, a, b = terminals(seed)
    network.service(a, b, 5000)
    late: list[Kind] = []
    arrive = network.arrive

    def slow(sent: Sent) -> None:
        gone = {data["first"] for data in a.of("hop.closed") if data["retired"]}
        if str(sent.destination) in gone:
            late.append(decode(sent.message).kind)
        answers_close = sent.destination in b.addresses and decode(sent.message).kind is Kind.CLOSE
        network.after(70 * MS if answers_close else 0, lambda: arrive(sent))

    network.arrive = slow  # type: ignore[method-assign]
    for count in range(4):
        hop(a)
        network.run(40 * MS)
        assert len(a.of("hop.started")) == count + 1
    network.run_until(closed(a, 4))
    network.run(S)
    assert outcomes(a) == {"hopped": 4}
    assert kinds(network).count(Kind.CLOSE) > 16, "the closes were repeated"
    assert not late
