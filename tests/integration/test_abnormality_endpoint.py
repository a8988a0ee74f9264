"""Method 2 in the IKEv1 endpoint, natively, beside a charon with its guard, at either end."""

import os
from contextlib import asynccontextmanager

import msgspec
import pytest
from abnormal_peers import ACCEPTED, INACTIVE, PATIENT, becomes, sides
from two_peers import COMPOSE, HEARD, A

from nodes import errors
from nodes.peer.model import Psk, Rekey
from orchestrator.runtimes.choose import choose
from orchestrator.testbed import bring_up
from orchestrator.topology.addressing import plan_run
from orchestrator.topology.load import load
from orchestrator.tunnel import CHILD, CONNECTION, Settings, credentials, tunnel

pytestmark = pytest.mark.anyio

ENDPOINT = "endpoint"
BOTH = (A, ENDPOINT)


@asynccontextmanager
async def guarded(runtime):
    handled = {"abnormality": {"handling": "on", "t1": 60, "t2": 60}}
    settings = {A: PATIENT | handled, ENDPOINT: handled}
    plan = plan_run(load(COMPOSE), owner=os.getuid(), nodes=BOTH, settings=settings)
    async with bring_up(plan, await choose(runtime)) as bed:
        yield bed


def loaded(bed, sender, receiver):
    return tunnel(bed.plan, sender, receiver, credentials(bed.plan, BOTH, "psk"), Settings(version=1))


async def begin(bed, sender, receiver, *, secret=None):
    """Load both ends, the sender's with a secret of its own; what would do."""
    ends = loaded(bed, sender, receiver)
    await bed.node(receiver).tunnel_end.load(ends.responder)
    wrong = (
        ends.initiator if secret is None else msgspec.structs.replace(ends.initiator, auth=Psk(secret=secret))
    )
    await bed.node(sender).tunnel_end.load(wrong)
    return ends


@pytest.mark.parametrize(("sender", "receiver"), [(A, ENDPOINT), (ENDPOINT, A)])
async def test_both_are_inactive_after_an_abnormal_negotiation_and_mended_at_once(runtime, sender, receiver):
    async with guarded(runtime) as bed:
        ends = await begin(bed, sender, receiver, secret="not the partner's")
        with pytest.raises(errors.NegotiationError, match="the sender is inactive towards"):
            await bed.node(sender).tunnel_end.initiate(CONNECTION, timeout=20)
        await bed.events.wait_for(INACTIVE, node=receiver, timeout=HEARD)
        assert sides(bed, receiver) == [("receiver", "inactive", "undecryptable")]
        assert [side for side, *_ in sides(bed, sender)] == ["sender"]
        accepted = await bed.events.wait_for(ACCEPTED, node=sender, timeout=HEARD)
        assert accepted.data["reason"] == "undecryptable"
        with pytest.raises(errors.InactiveError, match="no negotiation is begun"):
            await bed.node(sender).tunnel_end.initiate(CONNECTION)
        for end in BOTH:
            (state,) = (await bed.node(end).abnormality.status()).partners
            assert state.state == "inactive"
        await bed.node(sender).tunnel_end.load(ends.initiator)
        await bed.node(sender).tunnel_end.initiate(CONNECTION, timeout=10)
        await becomes(bed, sender, "sender", "active", "configured")
        await becomes(bed, receiver, "receiver", "active", "mended")


@pytest.mark.parametrize(("sender", "receiver"), [(A, ENDPOINT), (ENDPOINT, A)])
async def test_a_sender_whose_first_message_was_refused_is_mended_at_once_too(runtime, sender, receiver):
    async with guarded(runtime) as bed:
        ends = loaded(bed, sender, receiver)
        wrong = msgspec.structs.replace(ends.initiator, proposals=("aes256-sha256-modp2048",))
        await bed.node(receiver).tunnel_end.load(ends.responder)
        await bed.node(sender).tunnel_end.load(wrong)
        with pytest.raises(errors.NegotiationError, match="the sender is inactive towards"):
            await bed.node(sender).tunnel_end.initiate(CONNECTION, timeout=20)
        await bed.node(sender).tunnel_end.load(ends.initiator)
        await bed.node(sender).tunnel_end.initiate(CONNECTION, timeout=10)
        await becomes(bed, receiver, "receiver", "active", "mended")


async def test_rekeys_of_what_is_up_go_on_while_the_endpoint_begins_nothing_new(runtime):
    async with guarded(runtime) as bed:
        ends = await begin(bed, ENDPOINT, A)
        endpoint = bed.node(ENDPOINT).tunnel_end
        await endpoint.initiate(CONNECTION, timeout=10)
        other = msgspec.structs.replace(
            ends.initiator,
            name="other",
            auth=Psk(secret="not the partner's"),
            proposals=("aes256-sha256-modp2048",),
        )
        await endpoint.load(other)
        with pytest.raises(errors.NegotiationError):
            await endpoint.initiate("other", timeout=20)
        with pytest.raises(errors.InactiveError):
            await endpoint.initiate("other")
        rekeyed = await endpoint.rekey(Rekey(child=CHILD, timeout=10))
        assert rekeyed.kind == "child"


async def test_the_endpoint_refuses_what_a_peer_refuses(runtime):
    async with guarded(runtime) as bed:
        asked = bed.node(ENDPOINT).abnormality
        with pytest.raises(errors.ParameterError, match="t1 is 0 s"):
            await asked.configure(t1=0)
        with pytest.raises(
            errors.ParameterError, match="fd00::dead is no partner: .* the partners are: none"
        ):
            await asked.activate("fd00::dead")
        (warning,) = (await asked.configure(t1=30, t2=5)).warnings
        assert "t2 (5 s) is shorter than t1 (30 s)" in warning
        assert (await asked.configure(handling="off")).handling == "off"
        assert not (await asked.status()).running
