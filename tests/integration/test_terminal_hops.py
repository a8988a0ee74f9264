"""Addresses hop under live flows, and nothing is lost."""

import anyio
import pytest
from two_terminals import (
    A,
    B,
    HEARD,
    assert_whole,
    daemon,
    hops_done,
    kill_daemon,
    outcomes,
    pair,
    said,
    sh,
    terminals,
    traffic,
)

from nodes import errors
from nodes.terminal import model

pytestmark = pytest.mark.anyio


async def test_one_hop_takes_live_flows_along_and_tells_its_phases(runtime):
    async with terminals(runtime=runtime) as bed:
        first = bed.node(A).address
        async with traffic(bed) as flows:
            hopped = await bed.node(A).terminal.hop()
            await anyio.sleep(0.2)
            status = await bed.node(A).terminal.status()
        assert_whole(flows)
        assert hopped.first == first
        assert hopped.outcomes == {"hopped": 3}
        assert hopped.retired
        phases = [hopped.phases_ms[one] for one in ("answered", "prepared", "switched", "acknowledged", "closed")]
        assert phases == sorted(phases)
        assert [one.address for one in status.addresses] == [hopped.second]
        assert {one.wire.split(" > ")[0] for one in status.flows} == {hopped.second}
        assert {one.service.split("[")[1].split("]")[0] for one in status.flows} == {first}


async def test_both_ends_hop_at_once():
    async with terminals() as bed, traffic(bed) as flows:
        schedule = model.Schedule(hops=15, period=0.1, jitter=0.03)
        for node in (A, B):
            await bed.node(node).terminal.schedule(schedule)
        for node in (A, B):
            await hops_done(bed, node)
    assert_whole(flows)
    for node in (A, B):
        assert set(outcomes(bed, node)) == {"hopped"}
        assert len(said(bed, "hop.closed", node)) == 15


async def test_a_hop_with_other_ports_and_flow_labels_on_the_wire_keeps_the_flows():
    async with terminals() as bed, traffic(bed) as flows:
        for node in (A, B, A):
            await bed.node(node).terminal.hop(model.Hop(move_ports=True, flow_labels=True))
    assert_whole(flows)
    assert set(outcomes(bed, A)) == set(outcomes(bed, B)) == {"hopped"}


@pytest.mark.parametrize("phase", ["hop.started", "hop.answered", "hop.prepared", "hop.switched"])
async def test_the_first_terminals_daemon_killed_in_the_middle_of_a_hop_goes_on_with_it(phase):
    async with terminals() as bed:
        async with traffic(bed) as flows:
            await bed.node(A).terminal.schedule(model.Schedule(hops=3, period=0.2))
            await bed.events.wait_for(phase, node=A, timeout=HEARD)
            since = await kill_daemon(bed, A)
            await bed.events.wait_for("terminal.restarted", node=A, since=since, timeout=HEARD)
            await hops_done(bed)
            status = await bed.node(A).terminal.status()
        assert_whole(flows)
        assert set(outcomes(bed)) == {"hopped"}
        assert len(status.addresses) == 1


@pytest.mark.parametrize("phase", ["hop.asked", "hop.answered", "hop.prepared"])
async def test_the_second_terminals_daemon_killed_in_the_middle_of_a_hop_costs_no_packet(phase):
    """While it is dead its kernel does not recognise requests: a service may stay where it is, and goes on."""
    async with terminals() as bed:
        async with traffic(bed) as flows:
            await bed.node(A).terminal.schedule(model.Schedule(hops=3, period=0.2))
            await bed.events.wait_for(phase, node=A, timeout=HEARD)
            since = await kill_daemon(bed, B)
            await bed.events.wait_for("terminal.restarted", node=B, since=since, timeout=HEARD)
            await hops_done(bed)
        assert_whole(flows)
        assert set(outcomes(bed)) <= {"hopped", "not-recognised", "no-answer"}
