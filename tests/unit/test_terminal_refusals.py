"""What becomes of services that cannot hop: refusals, silence, legacy hosts, a data plane without room."""

from __future__ import annotations

from terminal_network import (
    MS,
    Node,
    S,
    hop,
    outcomes,
    terminals,
    traffic,
)

from nodes.terminal import actions as do
from nodes.terminal.actions import Endpoint, Flow, Unrecognised
from nodes.terminal.header import destination_options
from nodes.terminal.message import Kind, decode
from nodes.terminal.policy import Policy, PolicyRule
from nodes.terminal.settings import Settings


def quote(sent: object) -> bytes:
    """The packet of a message, as an ICMPv6 error quotes it."""
    header = destination_options(sent.message)
    return (
        bytes([0x60, 0, 0, 0]) + len(header).to_bytes(2, "big") + bytes([60, 64])
        + sent.source.packed + sent.destination.packed + header
    )  # fmt: skip


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
