"""A plan that another process reads is the plan that was written."""

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes import errors
from orchestrator.runtimes.plan_json import plan_from_json, plan_to_json
from orchestrator.topology.plan import Dad, Dataplane, NodePlan, RoleName, RunPlan

WORDS = st.text(min_size=1, max_size=20)
networks = st.builds(
    lambda bits, length: ipaddress.IPv6Network((bits, length), strict=False),
    st.integers(0, 2**128 - 1),
    st.integers(0, 126),
)
interfaces = st.builds(
    lambda bits, length: ipaddress.IPv6Interface((bits, length)),
    st.integers(0, 2**128 - 1),
    st.integers(0, 128),
)
node_plans = st.builds(
    NodePlan,
    name=WORDS,
    role=st.sampled_from(RoleName),
    address=interfaces,
    inner=st.none() | networks,
    image=WORDS,
    cap_add=st.lists(WORDS, max_size=3).map(tuple),
    devices=st.lists(WORDS, max_size=3).map(tuple),
    sysctls=st.dictionaries(WORDS, WORDS, max_size=3),
    init=st.booleans(),
    settings=st.dictionaries(WORDS, st.booleans() | WORDS | st.integers(0, 9), max_size=3),
)
run_plans = st.builds(
    RunPlan,
    run_id=st.text("0123456789abcdef", min_size=8, max_size=8),
    network=networks,
    nodes=st.lists(node_plans, max_size=4).map(tuple),
    owner=st.integers(0, 2**31),
    log_dir=st.none() | st.just(Path("/home/user/evidence: two/nodes")),
    compose_file=st.just(Path("/home/user/bed/compose.yaml")),
    dad=st.sampled_from(Dad),
    dataplane=st.sampled_from(Dataplane),
)


@given(run_plans)
def test_a_plan_comes_back_as_it_was(plan):
    again = plan_from_json(plan_to_json(plan))
    assert again == plan
    assert [node.options(again) for node in again.nodes] == [node.options(plan) for node in plan.nodes]


@pytest.mark.parametrize("document", ["", "[]", "{}", '{"run_id": 1}', "not JSON"])
def test_what_is_no_plan_is_a_protocol_error(document):
    with pytest.raises(errors.ProtocolError, match="not the plan of a run"):
        plan_from_json(document)
