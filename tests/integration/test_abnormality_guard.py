"""Method 2 beside two real charons: after an abnormal negotiation both fall silent, and speak again."""

import re
import time

import anyio
import msgspec
import pytest
from abnormal_peers import (
    ACCEPTED,
    ACTIVE,
    INACTIVE,
    QUICK,
    SENT,
    becomes,
    ends_of,
    fails,
    guarded_peers,
    load_wrong_secret,
    seen,
    sides,
    table,
)
from two_peers import ENDS, HEARD, A, B, ping

from nodes import errors
from nodes.peer.events import LOG_KIND
from nodes.peer.guard.guard import CUT
from nodes.peer.model import End, Rekey, Terminate
from orchestrator.faults import faults
from orchestrator.flood import flood
from orchestrator.tunnel import CHILD, CONNECTION, Tunnel

pytestmark = pytest.mark.anyio

HOST = "host"
MORE_THAN_A_SOCKET_HOLDS = 20
"""Tunnels: what charon says of so many does not fit the socket of a guard that stands still."""


@pytest.mark.parametrize("version", [1, 2])
async def test_after_an_abnormal_negotiation_both_sides_are_inactive_and_nothing_is_half_open(
    runtime, version
):
    async with guarded_peers(runtime, t1=40, t2=50) as bed:
        await load_wrong_secret(bed, version)
        said = str(await fails(bed))
        assert f"the sender is inactive towards {bed.node(B).address} for another" in said
        receiver = await bed.events.wait_for(INACTIVE, node=B, timeout=HEARD)
        sender = await bed.events.wait_for(INACTIVE, node=A, timeout=HEARD)
        assert (receiver.data["side"], receiver.data["for_s"]) == ("receiver", 40)
        assert (sender.data["side"], sender.data["for_s"]) == ("sender", 50)
        assert receiver.data["partner"] == bed.node(A).address
        for end in (A, B):
            if version == 1:
                await bed.events.wait_for("abnormality.cut", node=end, timeout=HEARD)
            assert (await bed.node(end).peer.status()).half_open == 0
            assert await bed.node(end).peer.list_sas() == []
            (state,) = (await bed.node(end).abnormality.status()).partners
            assert (state.state, state.times) == ("inactive", 1)


@pytest.mark.parametrize("version", [1, 2])
async def test_an_inactive_sender_refuses_at_once_and_says_until_when(runtime, version):
    async with guarded_peers(runtime) as bed:
        await load_wrong_secret(bed, version)
        await fails(bed)
        before = (await bed.node(A).peer.counters(), await bed.node(B).peer.counters())
        for _ in range(50):
            with pytest.raises(
                errors.InactiveError, match="no negotiation is begun: .* for another \\d\\d\\.\\d s"
            ):
                await bed.node(A).peer.initiate(CONNECTION)
        assert (await bed.node(A).peer.counters(), await bed.node(B).peer.counters()) == before


async def test_where_the_sender_cannot_read_charons_notify_the_guard_tells_it(runtime):
    async with guarded_peers(runtime) as bed:
        await load_wrong_secret(bed, 1)
        await fails(bed)
        sent = await bed.events.wait_for(SENT, node=B, timeout=HEARD)
        accepted = await bed.events.wait_for(ACCEPTED, node=A, timeout=HEARD)
        for cookie in ("initiator_spi", "responder_spi"):
            assert sent.data[cookie] == accepted.data[cookie] != "0" * 16
        assert sent.data["reason"] == accepted.data["reason"] == "undecryptable"


async def test_when_its_time_is_over_a_side_is_active_and_the_sender_tries_again(runtime):
    async with guarded_peers(runtime, t1=1.0, t2=1.5) as bed:
        await load_wrong_secret(bed, 1)
        await fails(bed)
        for end in (A, B):
            active = await bed.events.wait_for(ACTIVE, node=end, timeout=HEARD)
            inactive = seen(bed, end, INACTIVE)[0]
            assert active.data["reason"] == "expired"
            assert active.time_ns >= inactive.data["until"]
        await fails(bed)
        assert [state for _, state, _ in sides(bed, A)] == ["inactive", "active", "inactive"]


@pytest.mark.parametrize("version", [1, 2])
async def test_a_sender_whose_configuration_is_mended_has_its_tunnel_at_once(runtime, version):
    async with guarded_peers(runtime) as bed:
        ends = await load_wrong_secret(bed, version)
        await fails(bed)
        await bed.node(A).peer.load(ends.initiator)
        await bed.node(A).peer.initiate(CONNECTION, timeout=10)
        assert await ping(bed, A, B)
        await becomes(bed, A, "sender", "active", "configured")
        await becomes(bed, B, "receiver", "active", "mended")


async def test_a_receiver_whose_configuration_is_mended_is_active_at_once(runtime):
    async with guarded_peers(runtime) as bed:
        ends = ends_of(bed, 2)
        await bed.node(A).peer.load(ends.initiator)  # the receiver knows nobody
        await fails(bed)
        await bed.events.wait_for(INACTIVE, node=B, timeout=HEARD)
        await bed.node(B).peer.load(ends.responder)
        await becomes(bed, B, "receiver", "active", "configured")


async def test_the_operators_word_at_the_sender_frees_both(runtime):
    async with guarded_peers(runtime) as bed:
        await load_wrong_secret(bed, 1)
        await fails(bed)
        assert await bed.node(A).abnormality.activate(bed.node(B).address) == 1
        await becomes(bed, A, "sender", "active", "operator")
        await bed.events.wait_for(ACTIVE, node=B, timeout=HEARD)
        await becomes(bed, B, "receiver", "active", "mended")
        assert "inactive towards" in str(await fails(bed))


async def test_repetition_grows_the_times_and_a_success_begins_anew(runtime):
    async with guarded_peers(runtime, t1=1, t2=1, growth=2, ceiling=3) as bed:
        ends = await load_wrong_secret(bed, 2)
        for _ in range(3):
            since = len(bed.events.past)
            await fails(bed)
            for end in (A, B):
                await bed.events.wait_for(ACTIVE, node=end, since=since, timeout=HEARD)
        for end in (A, B):
            assert [event.data["for_s"] for event in seen(bed, end, INACTIVE)] == [1, 2, 3]
            assert [event.data["times"] for event in seen(bed, end, INACTIVE)] == [1, 2, 3]
        await bed.node(A).peer.load(ends.initiator)
        await bed.node(A).peer.initiate(CONNECTION, timeout=10)
        for end in (A, B):
            assert (await bed.node(end).abnormality.status()).partners == ()


@pytest.mark.parametrize("version", [1, 2])
async def test_a_sender_that_is_mended_again_and_again_frees_its_receiver_each_time(runtime, version):
    async with guarded_peers(runtime) as bed:
        ends = ends_of(bed, version)
        await bed.node(B).peer.load(ends.responder)
        wrong = msgspec.structs.replace(ends.initiator, proposals=("aes256-sha384-ecp384",))
        for _ in range(3):
            since = len(bed.events.past)
            await bed.node(A).peer.load(wrong)
            await fails(bed)
            await bed.node(A).peer.load(ends.initiator)
            await bed.events.wait_for(ACTIVE, node=B, since=since, timeout=HEARD)
        assert [state for _, state, _ in sides(bed, B)] == ["inactive", "active"] * 3
        await bed.node(A).peer.initiate(CONNECTION, timeout=10)


async def test_a_receiver_may_still_begin_a_negotiation_itself(runtime):
    async with guarded_peers(runtime) as bed:
        ends = ends_of(bed, 2)
        stranger = msgspec.structs.replace(
            ends.initiator, name="stranger", proposals=("aes256-sha384-ecp384",)
        )
        await bed.node(B).peer.load(ends.responder)
        for connection in (ends.initiator, stranger):
            await bed.node(A).peer.load(connection)
        await fails(bed, "stranger")  # and nobody mends anything
        await bed.events.wait_for(INACTIVE, node=B, timeout=HEARD)
        (state,) = (await bed.node(B).abnormality.status()).partners
        assert (state.side, state.state) == ("receiver", "inactive")
        await bed.node(B).peer.initiate(CONNECTION, timeout=10)
        assert await ping(bed, B, A)
        assert sides(bed, B) == [
            ("receiver", "inactive", "ike-proposal"),
            ("receiver", "active", "succeeded"),
        ]


async def test_what_charon_would_have_tried_for_ever_goes_on_when_the_time_is_over(runtime):
    async with guarded_peers(runtime, t1=1, t2=1.5) as bed:
        ends = await load_wrong_secret(bed, 1, keyingtries=0)
        await fails(bed)
        since = len(bed.events.past)
        await bed.events.wait_for("abnormality.resumed", node=A, timeout=HEARD)
        await bed.events.wait_for(INACTIVE, node=A, since=since, timeout=HEARD)  # and failed again
        # mended at the receiver's end, so that nobody tells the sender
        wrong = msgspec.structs.replace(ends.initiator, auth=ends.initiator.auth)
        secret = msgspec.structs.replace(ends.responder.auth, secret="not the partner's")
        assert wrong == ends.initiator
        await bed.node(B).peer.load(msgspec.structs.replace(ends.responder, auth=secret))
        await bed.events.wait_for("child-sa.installed", node=A, timeout=HEARD)


async def good_sas(bed, end):
    return [sa for sa in await bed.node(end).peer.list_sas() if sa.children]


async def replaced(bed, version):
    """Wait until a rekeyed CHILD_SA is in place at both ends: before, charon refuses to rekey it again.

    With IKEv1 charon keeps the old one, as rekeyed, until its lifetime ends.
    """
    with anyio.fail_after(HEARD):
        for end in (A, B):
            states = []
            while "INSTALLED" not in states or (version == 2 and len(states) > 1):
                states = [child.state for sa in await good_sas(bed, end) for child in sa.children]


@pytest.mark.root
async def test_a_refusal_of_which_only_the_delete_arrives_makes_the_sender_inactive_as_well(runtime):
    """Nobody acknowledges IKEv1's notify. At the DELETE charon begins anew for the child that it awaits."""
    async with guarded_peers(runtime) as bed:
        ends = ends_of(bed, 1)
        bad = msgspec.structs.replace(ends.initiator.children[0], esp_proposals=("aes256-sha384",))
        await bed.node(B).peer.load(ends.responder)
        await bed.node(A).peer.load(msgspec.structs.replace(ends.initiator, children=(bad,)))
        async with faults(bed.runtime, ["drop informational from peer-b"], bed.events, ends=ENDS) as engine:
            await fails(bed)
        assert engine.totals[0].matched == 1
        await becomes(bed, A, "sender", "inactive", "refused")
        await becomes(bed, B, "receiver", "inactive", "esp-proposal")
        await bed.events.wait_for(
            CUT, node=A, where=lambda one: one.data["state"] == "CONNECTING", timeout=HEARD
        )
        assert await bed.node(A).peer.list_sas() == []


@pytest.mark.parametrize("version", [1, 2])
async def test_a_tunnel_from_the_same_address_keeps_its_sas_while_another_connection_fails(runtime, version):
    async with guarded_peers(runtime, t1=0.2, t2=0.2) as bed:
        ends = ends_of(bed, version, dpd_delay=1)
        for node, end in ((B, ends.responder), (A, ends.initiator)):
            await bed.node(node).peer.load(end)
        made = await bed.node(A).peer.initiate(CONNECTION)
        stranger = msgspec.structs.replace(
            ends.initiator, name="stranger", proposals=("aes256-sha384-ecp384",)
        )
        await bed.node(A).peer.load(stranger)
        failures = 0
        until = time.monotonic() + 5
        async with anyio.create_task_group() as tasks:

            async def keep_failing():
                nonlocal failures
                while time.monotonic() < until:
                    try:
                        await bed.node(A).peer.initiate("stranger", timeout=5)
                    except errors.InactiveError:
                        await anyio.sleep(0.02)
                    except errors.NegotiationError:
                        failures += 1

            tasks.start_soon(keep_failing)
            while time.monotonic() < until - 0.5:
                for end in (A, B):
                    await bed.node(end).peer.rekey(Rekey(child=CHILD, timeout=5))
                    await replaced(bed, version)
                if version == 2:
                    await bed.node(A).peer.rekey(Rekey(connection=CONNECTION, timeout=5))
                assert await ping(bed, A, B)
        assert failures >= 2
        assert (await bed.node(A).abnormality.status()).partners != ()
        (sa,) = await good_sas(bed, A)
        assert sa.state == "ESTABLISHED"
        if version == 1:
            assert sa.unique_id == made.ike.unique_id


def one_child_refused(bed, version=2):
    """A tunnel whose ends have a second CHILD_SA each, which the other refuses; and the name of these."""
    ends = ends_of(bed, version)
    name = "bad"

    def with_bad(end):
        good = end.children[0]
        bad = msgspec.structs.replace(good, name=name, esp_proposals=("aes256-sha384",))
        return msgspec.structs.replace(end, children=(good, bad))  # whoever is asked takes the first

    return Tunnel(initiator=with_bad(ends.initiator), responder=with_bad(ends.responder)), name


async def test_a_child_that_fails_leaves_the_ike_sa_that_carries_another_alone(runtime):
    async with guarded_peers(runtime) as bed:
        ends, bad = one_child_refused(bed)
        await bed.node(B).peer.load(ends.responder)
        await bed.node(A).peer.load(ends.initiator)
        made = await bed.node(A).peer.initiate(CONNECTION, CHILD)
        await fails(bed, CONNECTION, bad)
        await bed.events.wait_for(INACTIVE, node=B, timeout=HEARD)
        with pytest.raises(errors.InactiveError):
            await bed.node(A).peer.initiate(CONNECTION, bad)
        await bed.node(A).peer.rekey(Rekey(child=CHILD, timeout=5))
        assert await ping(bed, A, B)
        (sa,) = await bed.node(B).peer.list_sas()
        assert sa.initiator_spi == made.ike.initiator_spi
        assert {child.name for child in sa.children} == {CHILD}
        assert await bed.node(A).peer.terminate(Terminate(connection=CONNECTION)) == 1


@pytest.mark.parametrize("version", [1, 2])
async def test_who_begins_the_child_that_fails_is_its_sender_whoever_began_the_ike_sa(runtime, version):
    async with guarded_peers(runtime) as bed:
        ends, bad = one_child_refused(bed, version)
        await bed.node(B).peer.load(ends.responder)
        await bed.node(A).peer.load(ends.initiator)
        await bed.node(A).peer.initiate(CONNECTION, CHILD)
        with pytest.raises(errors.NegotiationError):
            await bed.node(B).peer.initiate(CONNECTION, bad, timeout=10)
        await becomes(bed, A, "receiver", "inactive", "esp-proposal")
        await becomes(bed, B, "sender", "inactive", "refused")
        assert await ping(bed, A, B)
        assert [len(sides(bed, end)) for end in (A, B)] == [1, 1]


async def test_a_success_that_the_guard_hears_of_late_does_not_undo_the_failure_after_it(runtime):
    async with guarded_peers(runtime, timers=QUICK | {"publish_log": 1}) as bed:
        ends, bad = one_child_refused(bed)
        await bed.node(B).peer.load(ends.responder)
        await bed.node(A).peer.load(ends.initiator)
        guard = str((await bed.node(A).abnormality.status()).pid)
        await bed.node(A).exec(["kill", "-STOP", guard])
        for _ in range(MORE_THAN_A_SOCKET_HOLDS):
            await bed.node(A).peer.initiate(CONNECTION, CHILD)
            assert await bed.node(A).peer.terminate(Terminate(connection=CONNECTION)) == 1
        await bed.node(A).peer.initiate(CONNECTION, CHILD)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fails, bed, CONNECTION, bad)
            await bed.events.wait_for(
                LOG_KIND, node=A, where=lambda one: "NO_PROPOSAL_CHOSEN" in one.data["text"], timeout=HEARD
            )
            await bed.node(A).exec(["kill", "-CONT", guard])
        assert await bed.node(A).abnormality.activate() == 1
        with pytest.raises(errors.NegotiationError):  # what A says of this one comes behind all that was late
            await bed.node(B).peer.initiate(CONNECTION, bad)
        await becomes(bed, A, "receiver", "inactive", "esp-proposal")
        assert sides(bed, A)[:-1] == [("sender", "inactive", "refused"), ("sender", "active", "operator")]


@pytest.mark.parametrize("version", [1, 2])
async def test_a_flood_of_one_version_does_not_hold_back_a_stranger_who_speaks_the_other(runtime, version):
    async with guarded_peers(runtime, nodes=(A, B, HOST)) as bed:
        ends = ends_of(bed, version)
        anybody = End(address="::", id=ends.responder.remote.id)
        await bed.node(B).peer.load(msgspec.structs.replace(ends.responder, remote=anybody))
        await bed.node(A).peer.load(ends.initiator)
        async with flood(bed, HOST, B, version=3 - version, rate=500, count=10**6, seed=1):
            await until_dropped(bed, B)
            await bed.node(A).peer.initiate(CONNECTION, timeout=20)


async def until_dropped(bed, end):
    """Return once an address that is no partner's has been held back."""
    while True:
        counted = re.findall(r"limit rate over .* counter packets (\d+)", await table(bed, end))
        assert counted
        if any(map(int, counted)):
            return


async def test_turned_off_all_are_active_and_the_kernel_is_as_without_it(runtime):
    async with guarded_peers(runtime) as bed:
        ends = await load_wrong_secret(bed, 1)
        await fails(bed)
        assert await table(bed, A)
        for end in (A, B):
            assert (await bed.node(end).abnormality.configure(handling="off")).handling == "off"
            assert await table(bed, end) == ""
            assert sides(bed, end)[-1][1:] == ("active", "handling-off")
            status = await bed.node(end).abnormality.status()
            assert (status.running, status.partners) == (False, ())
        await bed.node(A).peer.load(ends.initiator)
        await bed.node(A).peer.initiate(CONNECTION, timeout=10)
        await bed.node(A).abnormality.configure(handling="on")
        assert (await bed.node(A).abnormality.status()).partners == ()
