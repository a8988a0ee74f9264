"""A beside B: medians and differences of what the runs measured."""

import msgspec
import pytest
from verdict_examples import some_verdict

from orchestrator.evidence.verdict import Check, FlowVerdict, Outcome
from orchestrator.scenarios.comparison import compare, figures_of


def of(lost, gap=1.0, outcome=Outcome.PASS):
    flow = FlowVerdict(
        name="udp-a-b",
        source="peer-a",
        destination="peer-b",
        transport="udp",
        sent=1000,
        received=1000 - lost,
        lost=lost,
        duplicated=0,
        reordered=0,
        longest_gap_ms=gap,
    )
    rekeys = Check.of("rekeys", expected=5, measured=5, passed=True)
    words = Check.of("tunnel established", expected="a CHILD_SA", measured="AES", passed=True)
    return msgspec.structs.replace(some_verdict(), flows=(flow,), checks=(rekeys, words), outcome=outcome)


def compared(**sides):
    runs = {side: [f"{side}-{i}" for i in range(len(those))] for side, those in sides.items()}
    return compare("rekey", "pfs", sides, runs)


def test_a_figure_is_each_flows_and_each_number_that_was_checked():
    assert figures_of(of(3)) == {
        ("lost on udp-a-b", "packets"): 3,
        ("longest gap on udp-a-b", "ms"): 1.0,
        ("interruptions on udp-a-b", ""): 0,
        ("rekeys", ""): 5,
    }


def test_sides_are_compared_by_their_medians_against_the_first():
    found = compared(false=[of(1), of(9), of(2)], true=[of(5), of(7)])
    lost = found.figures[0]
    assert lost.values == {"false": [1, 9, 2], "true": [5, 7]}
    assert lost.medians == {"false": 2, "true": 6}
    assert lost.differences == {"false": 0, "true": 4}


def test_a_figure_that_only_one_side_has_is_shown_for_that_side():
    other = msgspec.structs.replace(of(1), flows=())
    found = {figure.name: figure for figure in compared(a=[other], b=[of(2)]).figures}
    assert found["lost on udp-a-b"].medians == {"b": 2}


@pytest.mark.parametrize(("outcome", "conclusive"), [("pass", True), ("fail", True), ("error", False)])
def test_a_run_that_did_not_get_to_its_end_makes_it_inconclusive(outcome, conclusive):
    assert compared(a=[of(1)], b=[of(1, outcome=Outcome(outcome))]).is_conclusive is conclusive
