"""A hop from its beginning to its end, between two terminals on a link in memory."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv6Network
from random import Random

import pytest
from terminal_network import (
    MS,
    SECRET,
    Network,
    Node,
    S,
    address,
    closed,
    hop,
    terminals,
)

from nodes import errors
from nodes.terminal import actions as do
from nodes.terminal.actions import Carriage, Endpoint, Flow, RefusedAddress, Unrecognised
from nodes.terminal.core import Terminal
from nodes.terminal.header import destination_options
from nodes.terminal.message import Kind, decode
from nodes.terminal.plan import Dad, HopPlan, plan_of
from nodes.terminal.plan import Kind as What
from nodes.terminal.policy import Policy, PolicyRule
from nodes.terminal.settings import Settings


def outcomes(node: Node) -> Counter[str]:
    return Counter(data["outcome"] for data in node.of("hop.service"))


def traffic(network: Network, a: Node, b: Node, flows: tuple[Flow, Flow], duration: int = S) -> None:
    """1,000 packets a second each way."""
    network.stream(a, flows[0], MS, network.now + duration)
    network.stream(b, flows[1], MS, network.now + duration)


def kinds(network: Network, source: Node | None = None) -> list[Kind]:
    return [
        decode(sent.message).kind
        for sent in network.sent
        if source is None or sent.source in source.addresses or sent.source in source.identities
    ]


def quote(sent: object) -> bytes:
    """The packet of a message, as an ICMPv6 error quotes it."""
    header = destination_options(sent.message)
    return (
        bytes([0x60, 0, 0, 0]) + len(header).to_bytes(2, "big") + bytes([60, 64])
        + sent.source.packed + sent.destination.packed + header
    )  # fmt: skip


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


# the outcomes


def test_a_service_that_the_partners_policy_does_not_support_is_refused_and_stays():
    policy = Policy(rules=(PolicyRule(supported=False, protocol="tcp"),))
    network, a, b = terminals(policies=(None, policy))
    stays = network.service(a, b, 5000, do.TCP)
    moves = network.service(a, b, 5001, do.UDP)
    for flows in (stays, moves):
        traffic(network, a, b, flows)
    first = a.current
    hop(a)
    network.run(2 * S)
    assert outcomes(a) == {"hopped": 1, "refused": 1}
    assert a.out(stays[0]).local.address == first
    assert first in a.addresses
    assert first in a.kept
    assert not network.lost


def test_a_service_that_its_own_terminal_does_not_support_is_not_asked_about():
    policy = Policy(rules=(PolicyRule(supported=False, process="app"),))
    network, a, b = terminals(policies=(policy, None))
    network.service(a, b, 5000)
    hop(a)
    network.run(S)
    assert not any(decode(sent.message).services for sent in network.sent)
    assert a.of("hop.service")[0]["reason"] == "policy of this terminal"


def test_a_service_with_somebody_without_a_secret_stays():
    network, a, _ = terminals(settings=Settings(keep_most=10 * S))
    stranger = network.add("c", "c")
    flows = network.service(a, stranger, 5000)
    hop(a)
    network.run(S)
    assert a.of("hop.service")[0]["reason"] == "no shared secret"
    assert a.out(flows[0]).local == flows[0].local


def test_an_echo_with_a_stranger_keeps_no_address():
    network, a, _ = terminals()
    stranger = network.add("c", "c")
    echo = Flow(do.ICMPV6, Endpoint(a.current, 7), Endpoint(stranger.current, 7))
    a.core.flows_changed([do.Service(flow=echo)], [], network.now)
    hop(a)
    network.run(S)
    assert a.of("hop.closed")[0]["retired"] is True
    assert not a.core.concerned(echo)


def test_a_partner_that_does_not_know_the_flow_refuses_it():
    network, a, b = terminals()
    flows = network.service(a, b, 5000)
    network.end(b, flows[1])
    network.run(3 * S)
    hop(a)
    network.run(2 * S)
    assert [(data["outcome"], data["reason"]) for data in a.of("hop.service")] == [
        ("refused", "no such flow")
    ]


def test_a_flow_that_the_partners_inventory_shows_a_little_later_hops():
    network, a, b = terminals()
    flows = network.service(a, b, 5000, tell=False)
    a.tell(lambda now: a.core.flows_changed([a.flows[flows[0]]], [], now))
    hop(a)
    network.after(20 * MS, lambda: b.tell(lambda now: b.core.flows_changed([b.flows[flows[1]]], [], now)))
    network.run(2 * S)
    assert outcomes(a) == {"hopped": 1}


def test_a_silent_partner_gives_no_answer_and_the_service_stays():
    network, a, b = terminals()
    flows = network.service(a, b, 5000)
    traffic(network, a, b, flows, 3 * S)
    network.lose = lambda sent: True
    first = a.current
    hop(a)
    network.run(5 * S)
    assert outcomes(a) == {"no-answer": 1}
    assert first in a.addresses
    assert [data["retired"] for data in a.of("hop.closed")] == [False]
    assert not network.lost


def test_a_partner_whose_kernel_answers_parameter_problem_does_not_recognise():
    network, a, b = terminals()
    flows = network.service(a, b, 5000)
    traffic(network, a, b, flows)

    def legacy(node: Node, sent: object) -> None:
        network.after(
            network.rtt,
            lambda: a.tell(
                lambda now: a.core.unrecognised(
                    Unrecognised.PARAMETER_PROBLEM, sent.destination, quote(sent), now
                )
            ),
        )

    network.lose = lambda sent: True
    network.on_send = legacy
    hop(a)
    network.run(3 * S)
    assert outcomes(a) == {"not-recognised": 1}
    assert a.out(flows[0]).local == flows[0].local
    assert not network.lost
    assert a.of("hop.closed")[0]["phases_ms"]["closed"] < 300


def test_the_kept_address_is_retired_when_its_last_service_ends():
    network, a, b = terminals()
    flows = network.service(a, b, 5000)
    network.lose = lambda sent: True
    first = a.current
    hop(a)
    network.run(5 * S)
    network.end(a, flows[0])
    network.run(5 * S)
    assert first not in a.addresses
    assert first in a.retired or first not in a.identities


def test_a_kept_service_is_closed_after_the_longest_time():
    network, a, b = terminals(settings=Settings(keep_most=10 * S))
    flows = network.service(a, b, 5000)
    network.lose = lambda sent: True
    first = a.current
    hop(a)
    network.run(15 * S)
    assert a.closed == [flows[0]]
    assert first not in a.addresses


def test_a_kept_service_is_not_asked_about_again():
    network, a, b = terminals()
    network.service(a, b, 5000)
    network.lose = lambda sent: True
    hop(a)
    network.run(5 * S)
    network.lose = lambda sent: False
    hop(a)
    network.run(5 * S)
    assert outcomes(a) == {"no-answer": 1}


def test_a_partner_that_never_acknowledges_the_switch_has_the_sockets_closed_in_the_end():
    network, a, b = terminals()
    flows = network.service(a, b, 5000)
    network.lose = lambda sent: decode(sent.message).kind in (Kind.SWITCH, Kind.CLOSE)
    hop(a)
    network.run(200 * S)
    assert outcomes(a) == {"no-answer": 1}
    assert a.closed == [flows[0]]
    assert not a.core.status()["hops"]


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


# addresses


def test_a_second_address_in_use_already_gives_way_to_the_next():
    network, a, b = terminals()
    network.service(a, b, 5000)
    refused = []

    def refuse(wanted: object) -> RefusedAddress | None:
        refused.append(wanted)
        return RefusedAddress.DUPLICATE if len(refused) == 1 else None

    a.refuse = refuse
    hop(a)
    network.run(S)
    assert len(refused) == 2
    assert outcomes(a) == {"hopped": 1}
    assert a.of("hop.address-refused")[0]["reason"] == "duplicate"


def test_second_addresses_that_are_all_in_use_fail_the_hop_and_the_service_stays():
    network, a, b = terminals()
    flows = network.service(a, b, 5000)
    a.refuse = lambda wanted: RefusedAddress.DUPLICATE
    first = a.current
    hop(a)
    network.run(S)
    assert "in use already" in a.of("hop.failed")[0]["reason"]
    assert a.out(flows[0]).local.address == first == a.current


def test_a_prefix_that_is_not_on_the_link_fails_the_hop_at_once():
    network, a, b = terminals()
    network.service(a, b, 5000)
    a.refuse = lambda wanted: RefusedAddress.NOT_ON_LINK
    plan = plan_of({"first": str(a.current), "kind": "prefix", "prefixes": ["fd00:9::/64"]})
    a.tell(lambda now: a.core.hop(now, plan)[1])
    network.run(S)
    assert "not on the link" in a.of("hop.failed")[0]["reason"]


def test_an_exhausted_pool_is_told_and_the_service_stays():
    network, a, b = terminals()
    flows = network.service(a, b, 5000)
    plan = plan_of({"first": str(a.current), "period": 50 * MS, "pool": 2})
    a.tell(lambda now: a.core.schedule(plan, now))
    network.run(3 * S)
    assert len(a.of("hop.closed")) == 2
    assert [data["reason"] for data in a.of("hop.failed")] == ["the pool of second addresses is exhausted"]
    assert a.out(flows[0]).local.address == a.current


def test_a_second_address_that_disappears_leaves_the_service_on_the_first():
    network, a, b = terminals(rtt=40 * MS)
    flows = network.service(a, b, 5000)
    first = a.current
    hop(a)
    network.run(50 * MS)
    second = a.current
    a.addresses.pop(second)
    a.tell(lambda now: a.core.address_expired(second, now))
    network.run(5 * S)
    assert a.out(flows[0]).local.address == first
    assert outcomes(a) == {"refused": 1}


@pytest.mark.parametrize("kind", ["prefix", "both"])
def test_prefixes_hop(kind):
    network, a, b = terminals()
    flows = network.service(a, b, 5000)
    traffic(network, a, b, flows, 2 * S)
    prefixes = {"kind": kind, "prefixes": ["fd00:2::/60"]}
    plan = plan_of({"first": str(a.current), "period": 100 * MS, "hops": 10, **prefixes})
    a.tell(lambda now: a.core.schedule(plan, now))
    network.run(5 * S)
    assert outcomes(a) == {"hopped": 10}
    assert not network.lost
    assert a.current in IPv6Network("fd00:2::/60")


# lifetimes


def test_the_kernels_lifetimes_drive_the_hops():
    network, a, b = terminals()
    flows = network.service(a, b, 5000)
    traffic(network, a, b, flows, 15 * S)
    plan = plan_of({"first": str(a.current), "preferred": 2, "valid": 4, "hops": 4})
    began = network.now
    a.tell(lambda now: a.core.schedule(plan, now))
    network.run(25 * S)
    assert outcomes(a) == {"hopped": 4}
    assert not network.lost
    asked = [(time - began) / S for time, kind, _ in a.events if kind == "hop.asked"]
    switched = [(time - began) / S for time, kind, _ in a.events if kind == "hop.switched"]
    assert asked == pytest.approx([2, 4, 6, 8], abs=0.1)
    assert switched == pytest.approx([4, 6, 8, 10], abs=0.1)
    assert a.of("hops.done")


def test_a_service_is_not_switched_before_the_first_address_expires():
    network, a, b = terminals()
    flows = network.service(a, b, 5000)
    first = a.current
    plan = plan_of({"first": str(first), "preferred": 2, "valid": 4, "hops": 1})
    a.tell(lambda now: a.core.schedule(plan, now))
    network.run(3900 * MS)
    assert a.of("hop.prepared")
    assert a.out(flows[0]).local.address == first
    network.run(S)
    assert a.out(flows[0]).local.address != first


def test_an_address_that_expires_before_the_partner_answers_is_kept_until_it_does():
    network, a, b = terminals()
    flows = network.service(a, b, 5000)
    traffic(network, a, b, flows, 8 * S)
    plan = plan_of({"first": str(a.current), "preferred": 2, "valid": 3, "hops": 1})
    first = a.current
    network.lose = lambda sent: network.now < 1_000 * S + 2_800 * MS
    a.tell(lambda now: a.core.schedule(plan, now))
    network.run(10 * S)
    assert outcomes(a) == {"hopped": 1}
    assert not network.lost
    assert first in a.retired


def test_a_router_that_changes_its_prefix_drives_the_hops():
    network, a, b = terminals()
    flows = network.service(a, b, 5000)
    traffic(network, a, b, flows, 5 * S)
    first = a.current
    a.tell(lambda now: a.core.schedule(HopPlan(first=first, kind=What.RA), now))

    def offer(wanted: str) -> None:
        a.addresses[address(wanted)] = {}
        a.tell(
            lambda now: a.core.address_added(
                address(wanted), now, preferred=1800 * S, valid=3600 * S, advertised=True
            )
        )

    a.tell(lambda now: a.core.address_deprecated(first, now))  # the new prefix's address is still tentative
    network.run(S)
    offer("fd00:7::a")
    network.run(S)
    assert a.out(flows[0]).local.address == address("fd00:7::a")
    offer("fd00:8::a")
    network.run(S)
    assert a.out(flows[0]).local.address == address("fd00:7::a")
    a.tell(lambda now: a.core.address_deprecated(address("fd00:7::a"), now))
    network.run(S)
    assert a.out(flows[0]).local.address == address("fd00:8::a")
    assert outcomes(a) == {"hopped": 2}
    assert not network.lost


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"period": 5 * MS}, "shorter than a hop can take"),
        ({"period": S, "dad": "full"}, "shorter than a hop can take"),
        ({"preferred": 4, "valid": 4}, "leave 0 s for a hop"),
        ({"preferred": 2, "valid": 4, "dad": "full"}, "leave 2 s for a hop"),
        ({"preferred": 2}, "go together"),
        ({"period": S, "preferred": 2, "valid": 4}, "not both"),
        ({"period": S, "kind": "ra"}, "advertisements drive"),
        ({"period": 100 * MS, "jitter": 100 * MS}, "jitter"),
        ({"kind": "prefix"}, "needs prefixes"),
        ({"prefixes": ["fd00:2::/64"]}, "takes no prefixes"),
        ({"kind": "prefix", "prefixes": ["fd00:2::/65"]}, "longer than 64"),
        ({"kind": "prefix", "prefixes": ["fe80::/64"]}, "no prefix of unicast"),
        ({"first": "ff02::1"}, "no unicast address"),
        ({"first": "nonsense"}, "nonsense"),
        ({"colour": "red"}, "colour"),
        ({"hops": 0}, "hops"),
    ],
)
def test_a_plan_that_cannot_be_is_one_clear_error(settings, said):
    with pytest.raises(errors.ParameterError, match=said):
        plan_of({"first": "fd00:1::a", **settings})


def test_a_schedule_that_nothing_drives_is_refused():
    _, a, _ = terminals()
    with pytest.raises(errors.ParameterError, match="nothing drives them"):
        a.core.schedule(HopPlan(first=a.current), 0)


def test_a_hop_by_hand_without_a_plan_is_refused():
    _, a, _ = terminals()
    with pytest.raises(errors.ParameterError, match="no schedule to hop by"):
        a.core.hop(0)


def test_a_secret_that_is_too_short_is_refused():
    _, a, _ = terminals()
    with pytest.raises(errors.ParameterError, match="at least 16 octets"):
        a.core.pair("c", b"short", [])


def test_stop_lets_the_hop_under_way_end_and_begins_no_other():
    network, a, b = terminals()
    network.service(a, b, 5000)
    plan = plan_of({"first": str(a.current), "period": 50 * MS})
    a.tell(lambda now: a.core.schedule(plan, now))
    network.run(55 * MS)
    a.tell(a.core.stop)
    network.run(S)
    assert len(a.of("hop.started")) == len(a.of("hop.closed")) == 1


def test_a_stop_while_the_second_address_is_being_added_ends_the_hop_all_the_same():
    network, a, b = terminals()
    flows = network.service(a, b, 5000)
    a.add_delay = 500 * MS
    plan = plan_of({"first": str(a.current), "period": 50 * MS, "dad": Dad.OPTIMISTIC})
    a.tell(lambda now: a.core.schedule(plan, now))
    network.run(100 * MS)
    a.tell(a.core.stop)
    network.run(3 * S)
    assert len(a.of("hop.closed")) == 1
    assert a.out(flows[0]).local.address == a.current


# the data plane


def test_a_rewriting_that_fails_when_prepared_leaves_the_service_where_it_is():
    network, a, b = terminals()
    flows = network.service(a, b, 5000)
    a.fail_rewrite = lambda rewrite: True
    first = a.current
    hop(a)
    network.run(3 * S)
    assert a.of("rewriting.failed")
    assert outcomes(a) == {"refused": 1}
    assert first in a.addresses
    assert a.out(flows[0]).local.address == first


def test_a_switch_that_the_data_plane_refuses_once_is_made_again():
    network, a, b = terminals()
    flows = network.service(a, b, 5000)
    traffic(network, a, b, flows)
    failed = []

    def fail(rewrite: do.Rewrite) -> bool:
        switches = any(one.out.local.address != one.flow.local.address for one in rewrite.rewritings)
        failed.append(switches)
        return switches and failed.count(True) == 1

    a.fail_rewrite = fail
    hop(a)
    network.run(3 * S)
    assert outcomes(a) == {"hopped": 1}
    assert not network.lost


def test_a_partner_whose_data_plane_refuses_is_asked_again():
    network, a, b = terminals()
    flows = network.service(a, b, 5000)
    traffic(network, a, b, flows)
    left = [2]

    def fail(rewrite: do.Rewrite) -> bool:
        left[0] -= 1
        return left[0] >= 0

    b.fail_rewrite = fail
    hop(a)
    network.run(3 * S)
    assert outcomes(a) == {"hopped": 1}
    assert not network.lost


# restart


@pytest.mark.parametrize("after_ms", range(0, 60, 4))
@pytest.mark.parametrize("who", ["a", "b"])
def test_an_agent_that_is_killed_in_the_middle_of_a_hop_takes_it_up_again(who, after_ms):
    network, a, b = terminals(rtt=10 * MS)
    flows = network.service(a, b, 5000)
    traffic(network, a, b, flows, 2 * S)
    node = network.nodes[who]
    hop(a)
    network.run(after_ms * MS)
    node.kill()
    network.run(100 * MS)
    node.restart()
    network.run(5 * S)
    assert not network.lost
    assert outcomes(a) == {"hopped": 1}
    assert a.out(flows[0]).local.address == b.out(flows[1]).remote.address == a.current
    assert len(a.addresses) == 1


def test_after_a_restart_no_sequence_number_comes_again():
    network, a, b = terminals(rtt=100 * MS)
    network.service(a, b, 5000)
    hop(a)
    network.run(30 * MS)
    old = a.on_snapshot
    network.run(30 * MS)
    a.kill()
    a.on_snapshot = old  # what was written last was lost
    a.restart()
    network.run(3 * S)
    messages = [(sent.source, decode(sent.message)) for sent in network.sent]
    numbers = [(source, message.context, message.sequence) for source, message in messages]
    assert len(numbers) == len(set(numbers))


def test_a_schedule_goes_on_after_a_restart():
    network, a, b = terminals()
    flows = network.service(a, b, 5000)
    traffic(network, a, b, flows, 4 * S)
    plan = plan_of({"first": str(a.current), "period": 50 * MS, "hops": 20})
    a.tell(lambda now: a.core.schedule(plan, now))
    network.run(310 * MS)
    a.kill()
    network.run(200 * MS)
    a.restart()
    network.run(5 * S)
    assert sum(kind == "hop.closed" for _, kind, _ in a.events) == 20
    assert not network.lost


def test_a_snapshot_holds_no_secret():
    network, a, b = terminals()
    network.service(a, b, 5000)
    hop(a)
    network.run(5 * MS)
    assert SECRET not in a.core.snapshot()
    keys = a.core._first.asking.keys(a.core._first.hops[0].exchanges[0])
    assert keys._root not in a.core.snapshot()


@pytest.mark.parametrize("octets", [b"", b"nonsense", b"\x81\xa7version\x02"])
def test_octets_that_are_no_snapshot_are_one_clear_error(octets):
    core = Terminal(octets=Random(1).randbytes, random=Random(1))
    with pytest.raises(errors.ParameterError, match="snapshot"):
        core.restore(octets, 0)


def test_a_snapshot_of_a_partner_that_is_no_longer_known_is_taken_back():
    network, a, b = terminals(rtt=20 * MS)
    flows = network.service(a, b, 5000)
    hop(a)
    network.run(70 * MS)
    a.kill()
    a.pairs.clear()
    a.restart()
    network.run(5 * S)
    assert not a.core.status()["hops"]
    assert flows[0] in a.flows
