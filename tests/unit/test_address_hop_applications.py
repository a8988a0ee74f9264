"""What is said of unmodified applications that lived through hops."""

import pytest

from orchestrator.applications.application import Finding
from orchestrator.evidence.verdict import Outcome
from orchestrator.scenarios.address_hop_applications import application_checks, chance_of_as_many
from orchestrator.scenarios.address_hop_parameters import AddressHopScenario


def test_the_chance_of_as_many_is_that_of_so_many_heads_at_least():
    assert chance_of_as_many(0, 0) == 1
    assert chance_of_as_many(0, 7) == 1
    assert chance_of_as_many(2, 0) == 0.25
    assert chance_of_as_many(6, 4) == pytest.approx(386 / 1024)
    assert chance_of_as_many(100, 2) < 1e-20


@pytest.mark.parametrize(
    ("own", "beside", "outcome"),
    [
        (0, 0, Outcome.PASS),
        (2, 0, Outcome.PASS),
        (6, 4, Outcome.PASS),
        (0, 50, Outcome.PASS),
        (10, 0, Outcome.FAIL),
        (100, 30, Outcome.FAIL),
        (None, 0, Outcome.FAIL),
        (0, None, Outcome.FAIL),
    ],
)
def test_hops_cost_segments_where_more_are_sent_again_than_chance_explains(own, beside, outcome):
    findings = [
        Finding(
            name=name,
            passed=True,
            expected="",
            measured="",
            start_ns=0,
            end_ns=1,
            figures={} if count is None else {"retransmitted": count},
        )
        for name, count in (("iperf3", own), ("steady-iperf3", beside))
    ]
    (check,) = [
        one
        for one in application_checks(findings, AddressHopScenario(), [])
        if one.name == "iperf3: retransmissions caused by hops"
    ]
    assert check.outcome is outcome
