"""A good tunnel between the same two addresses as a failing negotiation, under traffic all the while."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from nodes.peer.model import Connection, End, Psk
from orchestrator import tunnel
from orchestrator.breaking import Breakage
from orchestrator.breaking.misconfigured import WRONG_ID, subnet, with_children
from orchestrator.flows import FlowSpec
from orchestrator.scenarios import tunnel_between_peers as between
from orchestrator.scenarios.stage import Stage

NAME = "steady"
RATE = 500
_SUBNETS = (0xE0A, 0xE0B)
"""Of the run's site: what the steady tunnel joins, for the nodes' own inner prefixes are the broken one's."""


@asynccontextmanager
async def carried(stage: Stage, wanted: bool, breakage: Breakage) -> AsyncIterator[Breakage]:
    """Where it is wanted, a good tunnel under 500 packets/s each way for the length of the context.

    The context's value is the breakage to play, whose ends are then known by names instead of addresses:
    by them charon tells the secrets of two connections between the same addresses apart. Afterwards the
    tunnel must not have lost a packet.
    """
    if not wanted:
        yield breakage
        return
    ends = (breakage.sender, breakage.receiver)
    prefixes = [subnet(stage.bed.plan, number) for number in _SUBNETS]
    addresses = [prefix.network_address + 1 for prefix in prefixes]
    for node, address in zip(ends, addresses, strict=True):
        add = ["ip", "-6", "address", "add", f"{address}/128", "dev", "lo", "nodad"]
        await stage.bed.node(node).exec(add)
    await _establish(stage, breakage, prefixes)
    there = FlowSpec(
        name="steady-a-b",
        source=ends[0],
        destination=ends[1],
        source_address=addresses[0],
        destination_address=addresses[1],
        rate=RATE,
    )
    async with stage.traffic([there, there.reverse("steady-b-a")]):
        yield _named(breakage)
    for flow in stage.flows:
        between.check_loss(stage, flow, at_most=0)


async def _establish(stage: Stage, breakage: Breakage, prefixes: list[ipaddress.IPv6Network]) -> None:
    """Negotiate it; where the broken one has a pre-shared key, it has the same.

    The responder of a main mode takes the key of the first connection between two addresses that it finds
    (RFC 2409 §5.4: it must have chosen one before it knows who it speaks to).
    """
    plan, bed = stage.bed.plan, stage.bed
    ends = (breakage.sender, breakage.receiver)
    settings = tunnel.Settings(version=breakage.right.initiator.version, child_rekey_time=0, ike_rekey_time=0)
    auth = breakage.right.initiator.auth
    secrets = dict.fromkeys(ends, auth) if isinstance(auth, Psk) else tunnel.credentials(plan, ends, "psk")
    both = tunnel.tunnel(plan, *ends, secrets, settings, name=NAME)
    near, far = (str(prefix) for prefix in prefixes)
    since = len(bed.events.past)
    await bed.node(ends[1]).peer.load(with_children(both.responder, local_ts=(far,), remote_ts=(near,)))
    await bed.node(ends[0]).peer.load(with_children(both.initiator, local_ts=(near,), remote_ts=(far,)))
    await bed.node(ends[0]).peer.initiate(NAME)
    await bed.events.wait_for("child-sa.installed", node=ends[1], since=since, timeout=30)


def _named(breakage: Breakage) -> Breakage:
    """The same with names for the ends, where they authenticate by a pre-shared key."""
    if not isinstance(breakage.right.initiator.auth, Psk):
        return breakage
    names = {end: f"{end}.hopbed.example" for end in (breakage.sender, breakage.receiver)}

    def named(connection: Connection, local: str, remote: str) -> Connection:
        return msgspec.structs.replace(
            connection,
            local=_known_as(connection.local, names[local]),
            remote=_known_as(connection.remote, names[remote]),
        )

    sender, receiver = breakage.sender, breakage.receiver
    right = tunnel.Tunnel(
        initiator=named(breakage.right.initiator, sender, receiver),
        responder=named(breakage.right.responder, receiver, sender),
    )
    return dataclasses.replace(breakage, right=right, wrong=named(breakage.wrong, sender, receiver))


def _known_as(end: End, name: str) -> End:
    return end if end.id == WRONG_ID else msgspec.structs.replace(end, id=name)
