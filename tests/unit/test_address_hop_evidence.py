"""What the events of a run tell of its hops, and the judgement of gaps."""

import types

import pytest

from nodes.events import event
from orchestrator.continuity.result import Interruption
from orchestrator.evidence.verdict import Outcome
from orchestrator.flows import Transport
from orchestrator.scenarios import address_hop_evidence as evidence
from orchestrator.scenarios import address_hop_flows as probes

FIRST, SECOND, THIRD = "fd00::1", "fd00::2", "fd00::3"
MS = 1_000_000


def closed(number, first, second, at=100, node="a", retired=True, **phases):
    return event(
        "hop.closed",
        node=node,
        time_ns=at,
        hop=number,
        first=first,
        second=second,
        retired=retired,
        phases_ms=phases,
    )


def service(outcome, port=80, node="a", partner="b"):
    named = {"protocol": "tcp", "local": f"[{FIRST}]:{port}", "remote": "[fd00::b]:9"}
    return event("hop.service", node=node, hop=1, partner=partner, service=named, outcome=outcome)


def test_phases_have_their_median_p95_and_maximum():
    events = [closed(number, FIRST, SECOND, answered=float(number)) for number in range(1, 101)]
    figures = evidence.phases(events)["answered"]
    assert figures["median"] == pytest.approx(50.5)
    assert figures["p95"] == pytest.approx(95.05)
    assert (figures["max"], figures["hops"]) == (100, 100)


def test_a_phase_that_few_hops_came_to_is_of_those():
    figures = evidence.phases([closed(1, FIRST, SECOND, asked=1.0), closed(2, SECOND, THIRD)])
    assert figures["asked"]["hops"] == 1


def test_outcomes_are_counted_by_service_with_the_partner_alone():
    events = [service("hopped"), service("hopped"), service("refused", port=81)]
    events += [service("refused", partner=None), service("hopped", node="b")]
    assert evidence.outcomes_by_service(events, "a", "b") == {
        f"tcp [{FIRST}]:80 > [fd00::b]:9": {"hopped": 2},
        f"tcp [{FIRST}]:81 > [fd00::b]:9": {"refused": 1},
    }


def test_an_address_is_retired_from_the_close_of_its_hop_or_from_its_removal_where_it_was_kept():
    events = [
        closed(1, FIRST, SECOND, at=100, retired=False),
        closed(2, SECOND, THIRD, at=200),
        event("address.removed", node="b", time_ns=250, address=FIRST),
        event("address.removed", node="a", time_ns=300, address=FIRST),
        event("address.removed", node="a", time_ns=400, address=SECOND),
    ]
    found = {str(one.address): one.since_ns for one in evidence.retired(events)}
    assert found == {SECOND: 200, FIRST: 300}


def test_an_address_that_is_still_there_is_not_retired():
    assert evidence.retired([closed(1, FIRST, SECOND, retired=False)]) == []


def flow(name, *outages_ms, lost=0, identical=True, transport=Transport.UDP):
    """What the judgement looks at: a flow with interruptions that begin at these ms and last so long."""
    interruptions = tuple(
        Interruption(start_ns=at * MS, end_ns=(at + lasts) * MS, lost=lost) for at, lasts in outages_ms
    )
    found = types.SimpleNamespace(
        interruptions=interruptions,
        longest_gap_ms=max((o for _, o in outages_ms), default=0.0),
        lost=lost,
        sent=9,
    )
    spec = types.SimpleNamespace(name=name, transport=transport)
    return types.SimpleNamespace(
        spec=spec, continuity=found, identical=identical, octets_received=1, octets_sent=1, broken=None
    )


def test_a_gap_that_undisturbed_traffic_does_not_have_fails():
    check = probes.gap_check([flow("udp-a-b", (100, 15)), flow("steady-udp-a-b")])
    assert check.outcome is Outcome.FAIL
    assert check.measured["udp-a-b"] == [15.0]


def test_a_gap_at_the_same_time_as_in_undisturbed_traffic_is_the_machines():
    check = probes.gap_check([flow("udp-a-b", (100, 15)), flow("steady-udp-a-b", (98, 30))])
    assert check.outcome is Outcome.PASS
    assert check.measured["interruptions of the machine"] == 1


def test_short_gaps_and_those_of_plain_sockets_do_not_count():
    assert (
        probes.gap_check([flow("udp-a-b", (100, 9)), flow("plain-tcp-a-b", (1, 900))]).outcome is Outcome.PASS
    )


def test_a_lost_probe_fails_and_a_plain_socket_that_lives_fails_too():
    checks = {check.name: check.outcome for check in probes.loss_checks([flow("udp-a-b", lost=1)])}
    assert checks == {"lost on udp-a-b": Outcome.FAIL}
    assert probes.loss_checks([flow("plain-tcp-a-b")])[0].outcome is Outcome.FAIL
    assert probes.loss_checks([flow("plain-tcp-a-b", lost=3)])[0].outcome is Outcome.PASS


def test_a_stream_that_is_not_identical_fails():
    checks = probes.loss_checks([flow("tcp-a-b", transport=Transport.TCP, identical=None)])
    assert [check.outcome for check in checks] == [Outcome.PASS, Outcome.FAIL]
