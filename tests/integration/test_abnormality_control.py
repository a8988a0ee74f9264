"""What can be asked of the handling of abnormal negotiations, and what is refused before anything starts."""

import os

import pytest
from abnormal_peers import (
    DIED,
    INACTIVE,
    ends_of,
    fails,
    guarded_peers,
    load_wrong_secret,
    sides,
    table,
)
from two_peers import COMPOSE, ENDS, HEARD, A, B, ping

from nodes import errors
from nodes.peer.model import Terminate
from orchestrator.testbed import Testbed
from orchestrator.topology.addressing import plan_run
from orchestrator.topology.load import load
from orchestrator.tunnel import CONNECTION

pytestmark = pytest.mark.anyio

WARNING = "abnormality.warning"


async def test_without_being_asked_for_there_is_no_guard(runtime):
    async with Testbed.from_compose(COMPOSE, runtime=runtime, nodes=ENDS) as bed:
        status = await bed.node(A).abnormality.status()
        assert (status.handling, status.running, status.pid) == ("off", False, 0)
        assert await table(bed, A) == ""


async def test_times_are_refused_that_are_none_and_what_was_in_force_stays(runtime):
    async with guarded_peers(runtime, nodes=(A,)) as bed:
        asked = bed.node(A).abnormality
        for times, why in (
            ({"t1": 0}, "t1 is 0 s; it must be more than 0"),
            ({"t2": -1}, "t2 is -1 s"),
            ({"t1": 86_401}, "a day"),
            ({"growth": 0.5}, "growth is 0.5"),
            ({"ceiling": 1}, "ceiling is 1 s"),
        ):
            with pytest.raises(errors.ParameterError, match=why):
                await asked.configure(**times)
        assert (await asked.status()).timing.t1 == 60


async def test_a_t2_below_t1_is_warned_of_with_the_reason(runtime):
    async with guarded_peers(runtime, nodes=(A,), t1=30, t2=10) as bed:
        (from_the_start,) = (await bed.node(A).abnormality.status()).warnings
        assert "the sender tries again while the receiver is still inactive" in from_the_start
        (warning,) = (await bed.node(A).abnormality.configure(t2=5)).warnings
        assert "t2 (5 s) is shorter than t1 (30 s)" in warning
        said = await bed.events.wait_for(WARNING, node=A, timeout=HEARD)
        assert said.data["text"] == warning
        assert (await bed.node(A).abnormality.configure(t2=30)).warnings == ()


async def test_a_partner_to_whom_no_connection_is_loaded_is_refused(runtime):
    async with guarded_peers(runtime) as bed:
        await bed.node(A).peer.load(ends_of(bed, 2).initiator)
        there_is = f"the partners are: {bed.node(B).address}"
        with pytest.raises(errors.ParameterError, match=f"fd00::dead is no partner: .*{there_is}"):
            await bed.node(A).abnormality.configure(partner="fd00::dead", t1=5)
        with pytest.raises(errors.ParameterError, match="fd00::dead is no partner"):
            await bed.node(A).abnormality.activate("fd00::dead")
        with pytest.raises(errors.ParameterError, match="'peer-b' is no IPv6 address"):
            await bed.node(A).abnormality.activate("peer-b")


async def test_a_node_that_is_no_peer_is_refused(runtime):
    async with Testbed.from_compose(COMPOSE, runtime=runtime, nodes=("host",)) as bed:
        with pytest.raises(errors.UsageError, match="host is a host, not a peer"):
            _ = bed.node("host").abnormality


@pytest.mark.parametrize(
    ("times", "why"),
    [({"t1": 0}, "t1 is 0 s"), ({"t2": 1e9}, "a day"), ({"handling": "perhaps"}, "handling")],
)
async def test_a_setting_that_is_wrong_is_refused_before_anything_starts(times, why):
    with pytest.raises(errors.UsageError, match=why):
        plan_run(load(COMPOSE), owner=os.getuid(), nodes=ENDS, settings={A: {"abnormality": times}})


async def test_a_partner_can_have_times_of_its_own(runtime):
    async with guarded_peers(runtime) as bed:
        await load_wrong_secret(bed, 2)
        configured = await bed.node(A).abnormality.configure(partner=bed.node(B).address, t2=7)
        assert (configured.timing.t1, configured.timing.t2) == (60, 7)
        await fails(bed)
        inactive = await bed.events.wait_for(INACTIVE, node=A, timeout=HEARD)
        assert inactive.data["for_s"] == 7
        assert (await bed.node(A).abnormality.status()).timing.t2 == 60


async def kill_guard(bed, end):
    """Kill a node's guard, and return once its agent has noticed."""
    since = len(bed.events.past)
    pid = (await bed.node(end).abnormality.status()).pid
    await bed.node(end).exec(["kill", "-KILL", str(pid)])
    died = await bed.events.wait_for(DIED, node=end, since=since, timeout=HEARD)
    assert (died.data["pid"], died.data["status"]) == (pid, -9)


async def test_a_guard_that_is_killed_leaves_a_stock_charon(runtime):
    async with guarded_peers(runtime) as bed:
        ends = await load_wrong_secret(bed, 1)
        await fails(bed)
        for end in (A, B):
            await kill_guard(bed, end)
            assert await table(bed, end) == ""  # in that moment: nothing has to run out first
            assert sides(bed, end)[-1][1:] == ("active", "guard-died")
            status = await bed.node(end).abnormality.status()
            assert (status.handling, status.running, status.pid) == ("on", False, 0)
        with pytest.raises(errors.NegotiationError, match="not established after 1000ms") as error:
            await bed.node(A).peer.initiate(CONNECTION, timeout=1)  # as without a guard, it goes on and on
        assert not isinstance(error.value, errors.InactiveError)
        (sa,) = await bed.node(A).peer.list_sas()
        assert sa.state == "CONNECTING"
        await bed.node(A).peer.terminate(Terminate(ike_id=sa.unique_id, force=True))
        await bed.node(A).peer.load(ends.initiator)
        await bed.node(A).peer.initiate(CONNECTION, timeout=10)
        assert await ping(bed, A, B)


async def test_a_restarted_guard_takes_up_the_partners_that_are_still_inactive(runtime):
    async with guarded_peers(runtime) as bed:
        await load_wrong_secret(bed, 1)
        await fails(bed)
        before = {end: (await bed.node(end).abnormality.status()).partners[0] for end in (A, B)}
        for end in (A, B):
            await kill_guard(bed, end)
            assert (await bed.node(end).abnormality.configure(handling="on")).handling == "on"
            (after,) = (await bed.node(end).abnormality.status()).partners
            assert (after.until, after.side, after.reason) == (
                before[end].until,
                before[end].side,
                before[end].reason,
            )
            assert sides(bed, end)[-1][1:] == ("inactive", "restored")
            assert f"inactive_{after.side}" in await table(bed, end)
        with pytest.raises(errors.InactiveError):
            await bed.node(A).peer.initiate(CONNECTION)


async def test_a_restarted_guard_lets_an_established_tunnel_go_on(runtime):
    async with guarded_peers(runtime) as bed:
        ends = ends_of(bed, 2)
        for node, end in ((B, ends.responder), (A, ends.initiator)):
            await bed.node(node).peer.load(end)
        made = await bed.node(A).peer.initiate(CONNECTION)
        await kill_guard(bed, A)
        assert await ping(bed, A, B)
        await bed.node(A).abnormality.configure(handling="on")
        assert f"0x{made.ike.initiator_spi.lstrip('0')}" in await table(bed, A)
