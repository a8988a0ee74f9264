"""An agent that is killed: the flows of its node go on, and the next agent takes up what it did."""

import pytest
from two_terminals import HEARD, A, B, assert_whole, hops_done, kill_agent, outcomes, terminals, traffic

from nodes import errors
from nodes.keeper import MOST_DEATHS, RESTARTED
from nodes.terminal import model
from orchestrator.events import EventStream
from orchestrator.tasks import background

pytestmark = pytest.mark.anyio

HOPPED_OR_LATE = {"hopped", "no-answer"}
"""On a machine with much else to do a partner may take longer to answer than it is waited for."""
WITHOUT_END = {"hops": None, "period": 0.2}


async def killed(bed, node):
    """End a node's agent; returns once the next one's daemon has taken up what was."""
    since = await kill_agent(bed, node)
    await bed.events.wait_for("terminal.restarted", node=node, since=since, timeout=HEARD)


async def further_hops(bed, count=2):
    """So many more hops of A that begin and close; then none is under way.

    What the daemon said and the agent had not read when it was killed is not told again: so only later hops
    are looked for.
    """
    since = len(bed.events.past)
    for _ in range(count):
        started = await bed.events.wait_for("hop.started", node=A, since=since, timeout=HEARD)
        since = bed.events.past.index(started) + 1
    await bed.node(A).terminal.stop()
    since = len(bed.events.past)
    for hop in (await bed.node(A).terminal.status()).hops:  # hops overlap: the last one may be closed first
        await bed.events.wait_for(
            "hop.closed",
            node=A,
            where=lambda one, hop=hop: one.data["hop"] == hop.hop,
            since=since,
            timeout=HEARD,
        )


@pytest.mark.parametrize("phase", ["hop.started", "hop.answered", "hop.prepared", "hop.switched"])
async def test_the_first_terminals_agent_killed_in_the_middle_of_a_hop_goes_on_with_it(phase, runtime):
    async with terminals(runtime=runtime) as bed:
        async with traffic(bed) as flows:
            await bed.node(A).terminal.schedule(model.Schedule(**WITHOUT_END))
            await bed.events.wait_for(phase, node=A, timeout=HEARD)
            await killed(bed, A)
            await further_hops(bed)
            status = await bed.node(A).terminal.status()
        assert_whole(flows)
        assert "hopped" in outcomes(bed)
        assert set(outcomes(bed)) <= HOPPED_OR_LATE
        assert status.hops == ()
        assert [one.partner for one in status.pairs] == [B]
        wires = {one.wire.split(" > ")[0] for one in status.flows}
        addresses = {one.address: one.state for one in status.addresses}
        # A service without an answer, of which the agent that was killed may have told nobody, stays where it
        # was: the newest address may have none.
        left = {address for address, state in addresses.items() if state == "deprecated"}
        assert left <= wires <= set(addresses), addresses


@pytest.mark.parametrize("phase", ["hop.asked", "hop.prepared"])
async def test_the_second_terminals_agent_killed_in_the_middle_of_a_hop_costs_no_packet(phase, runtime):
    """While its daemon is dead its kernel does not recognise requests: a service may stay where it is."""
    async with terminals(runtime=runtime) as bed:
        async with traffic(bed) as flows:
            await bed.node(A).terminal.schedule(model.Schedule(**WITHOUT_END))
            await bed.events.wait_for(phase, node=A, timeout=HEARD)
            await killed(bed, B)
            await further_hops(bed)
        assert_whole(flows)
        assert set(outcomes(bed)) <= {"hopped", "not-recognised", "no-answer"}


async def test_an_agent_killed_while_a_lifetime_runs_out_costs_no_packet():
    async with terminals() as bed:
        async with traffic(bed) as flows:
            await bed.node(A).terminal.schedule(model.Schedule(hops=2, preferred=4, valid=7))
            await bed.events.wait_for("hop.prepared", node=A, timeout=HEARD)
            await killed(bed, A)
            await hops_done(bed)
            status = await bed.node(A).terminal.status()
        assert_whole(flows)
        assert "hopped" in outcomes(bed)
        assert set(outcomes(bed)) <= HOPPED_OR_LATE
        assert status.hops == ()


async def test_a_call_that_an_agent_dies_over_fails_and_the_next_one_is_answered_by_the_next_agent():
    async with terminals() as bed, traffic(bed) as flows:
        with pytest.raises(errors.ControlClosedError):
            async with background() as tasks:
                tasks.start_soon(kill_agent, bed, A)
                await bed.node(A).terminal.schedule(model.Schedule(period=0.1))
                while True:
                    await bed.node(A).terminal.hop()
        hopped = await bed.node(A).terminal.status()
        await bed.node(A).terminal.stop()
        assert [one.partner for one in hopped.pairs] == [B]
    assert_whole(flows)


async def test_messages_travel_by_udp_after_an_agents_death_too_where_that_was_asked_for():
    async with terminals() as bed:
        drop = "table ip6 path { chain c { type filter hook output priority 0; ip6 nexthdr 60 drop; }; }"
        await bed.node(A).exec(["nft", "-f", "-"], stdin=drop.encode())
        async with traffic(bed) as flows:
            await bed.node(A).terminal.schedule(model.Schedule(carriage="udp", **WITHOUT_END))
            await bed.events.wait_for("hop.closed", node=A, timeout=HEARD)
            await killed(bed, A)
            await further_hops(bed)
        assert_whole(flows)
        assert "hopped" in outcomes(bed)
        assert set(outcomes(bed)) <= HOPPED_OR_LATE


async def test_an_agent_that_dies_again_and_again_ends_its_node():
    events = EventStream()
    with pytest.raises(errors.NodeError, match="terminal-a died"):
        async with terminals(events=events) as bed:
            for _ in range(MOST_DEATHS - 1):
                since = await kill_agent(bed, A)
                await bed.events.wait_for(RESTARTED, node=A, since=since, timeout=HEARD)
            await kill_agent(bed, A)
            await bed.events.wait_for("node.died", node=A, timeout=HEARD)
