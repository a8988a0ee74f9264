"""Two peers for tests of method 2: each with a guard, and a tunnel in which the sender's secret is wrong."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager

import msgspec
from two_peers import COMPOSE, ENDS, HEARD, A, B

from nodes import errors
from nodes.peer.model import Psk
from orchestrator.runtimes.choose import choose
from orchestrator.testbed import bring_up
from orchestrator.topology.addressing import plan_run
from orchestrator.topology.load import load
from orchestrator.tunnel import CONNECTION, Settings, credentials, tunnel

QUICK = {"retransmit_timeout": 1.0, "retransmit_base": 1.3, "retransmit_tries": 4}
PATIENT = {"retransmit_timeout": 120.0}
"""A sender that does not give up while a test lasts."""
INACTIVE, ACTIVE = "abnormality.inactive", "abnormality.active"
STATES = (INACTIVE, ACTIVE)
SENT, ACCEPTED, REFUSED = (f"abnormality.message.{what}" for what in ("sent", "accepted", "refused"))
DIED = "abnormality.guard.died"


@asynccontextmanager
async def guarded_peers(runtime, *, nodes=ENDS, t1=60.0, t2=60.0, timers=QUICK, **times):
    """The peers with their guards, up."""
    handled = timers | {"abnormality": {"handling": "on", "t1": t1, "t2": t2, **times}}
    plan = plan_run(load(COMPOSE), owner=os.getuid(), nodes=nodes, settings=dict.fromkeys(ENDS, handled))
    async with bring_up(plan, await choose(runtime)) as bed:
        yield bed


def ends_of(bed, version, **settings):
    """A tunnel that would do."""
    return tunnel(bed.plan, A, B, credentials(bed.plan, ENDS, "psk"), Settings(version=version, **settings))


async def load_wrong_secret(bed, version, **settings):
    """Load a tunnel whose sender has a secret of its own; the value is what would do."""
    ends = ends_of(bed, version, **settings)
    await bed.node(B).peer.load(ends.responder)
    await bed.node(A).peer.load(msgspec.structs.replace(ends.initiator, auth=Psk(secret="not the partner's")))
    return ends


async def fails(bed, connection=CONNECTION, child=None):
    """Let the sender try; the error that it gets."""
    try:
        await bed.node(A).peer.initiate(connection, child, timeout=20)
    except errors.NegotiationError as error:
        return error
    raise AssertionError(f"{connection} came up")


def seen(bed, node, *kinds):
    """What a node said so far, of these kinds."""
    return [event for event in bed.events.past if event.node == node and event.kind in kinds]


def sides(bed, node):
    """The changes of state at a node: side, state, and reason."""
    states = {INACTIVE: "inactive", ACTIVE: "active"}
    return [(e.data["side"], states[e.kind], e.data["reason"]) for e in seen(bed, node, *STATES)]


async def becomes(bed, node, side, state, reason):
    """Wait for this change of state at a node, which is its last."""
    kind = {"inactive": INACTIVE, "active": ACTIVE}[state]
    this = (side, reason)
    await bed.events.wait_for(
        kind, node=node, where=lambda one: (one.data["side"], one.data["reason"]) == this, timeout=HEARD
    )
    assert sides(bed, node)[-1] == (side, state, reason)


async def table(bed, node):
    """The guard's table in a node's kernel; empty where there is none."""
    done = await bed.node(node).exec(["nft", "list", "table", "ip6", "hopbed_abnormality"], check=False)
    return done.stdout.decode()
