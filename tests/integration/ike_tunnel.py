"""An IKEv1 tunnel with the endpoint at one end or both, under traffic, for tests of its life."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from machine import EMULATED

from nodes.peer.model import Rekey
from orchestrator.faults import faults
from orchestrator.flows import FlowSpec, run_flows
from orchestrator.testbed import Testbed
from orchestrator.topology.plan import RoleName
from orchestrator.tunnel import CHILD, CONNECTION, Settings, at_endpoint, credentials, tunnel

COMPOSE = Path(__file__).parents[2] / "compose.yaml"
CHARON, OURS, OURS_TOO = "peer-a", "endpoint", "endpoint-b"
HEARD = 30.0
"""Seconds after which an event that was due is missing."""
RATE = 100 if EMULATED else 500
"""Probes per second, each way. The kernel holds 100 packets for an SA to come, and no more."""
QUICK = {"retransmit_timeout": 0.5}
"""Whoever hears no answer says it again soon, so that a test of a lost message is short."""


@dataclasses.dataclass
class Ends:
    """A tunnel that is up, or can be: its testbed, and who initiates and responds."""

    bed: Testbed
    initiator: str
    responder: str

    def end(self, name):
        """The node's methods."""
        return self.bed.node(name).tunnel_end

    async def heard(self, kind, node, *, since=0, **data):
        """The event of a node with these values among its data."""

        def fits(event):
            return all(event.data.get(key) == value for key, value in data.items())

        return await self.bed.events.wait_for(kind, node=node, where=fits, since=since, timeout=HEARD)

    async def establish(self):
        """Negotiate, and wait until both ends have the SA."""
        since = len(self.bed.events.past)
        made = await self.end(self.initiator).initiate(CONNECTION)
        await self.heard("child-sa.installed", self.responder, since=since)
        return made

    async def rekey(self, by=None):
        """Rekey the CHILD_SA."""
        return await self.end(by or self.initiator).rekey(Rekey(connection=CONNECTION, child=CHILD))

    async def children(self, name):
        """The CHILD_SAs of a node."""
        return [child for sa in await self.end(name).list_sas() for child in sa.children]

    def told(self, kind, node, since=0):
        """The events of this kind from a node, so far."""
        return [event for event in self.bed.events.past[since:] if (event.kind, event.node) == (kind, node)]

    @asynccontextmanager
    async def traffic(self) -> AsyncIterator[list[int]]:
        """Probes both ways; the list has what was lost there and back once the context is left."""
        lost: list[int] = []
        near, far = self.bed.node(self.initiator).plan, self.bed.node(self.responder).plan
        there = FlowSpec(
            name=f"there-{len(self.bed.events.past)}",
            source=self.initiator,
            destination=self.responder,
            source_address=near.inner_address.ip,
            destination_address=far.inner_address.ip,
            rate=RATE,
        )
        back = there.reverse(there.name.replace("there", "back"))
        async with run_flows(self.bed.runtime, [there, back], publish=self.bed.events.publish) as flows:
            yield lost
        for result in flows.results:
            assert not result.doubts
            lost.append(result.continuity.lost)

    @asynccontextmanager
    async def faults(self, *rules):
        """These faults are in force."""
        ends = (self.initiator, self.responder)
        async with faults(self.bed.runtime, rules, self.bed.events, ends=ends) as engine:
            yield engine


@asynccontextmanager
async def tunnel_ends(
    initiator, responder, runtime="namespaces", *, options=None, initiating=None, responding=None, **settings
):
    """A testbed with a tunnel loaded at both ends.

    Args:
        options: of the endpoints' nodes, beside :data:`QUICK`.
        initiating, responding: what that end is told beside, if it is an endpoint; ``child`` is its child's.
        settings: of the tunnel.
    """
    nodes = (initiator, responder)
    asked = {name: QUICK | ((options or {}) if name != CHARON else {}) for name in nodes}
    async with Testbed.from_compose(COMPOSE, runtime=runtime, nodes=nodes, settings=asked) as bed:
        settings = {"child_rekey_time": 0, "ike_rekey_time": 0} | settings
        ends = tunnel(bed.plan, *nodes, credentials(bed.plan, nodes, "psk"), Settings(version=1, **settings))
        for name, connection, more in (
            (responder, ends.responder, responding),
            (initiator, ends.initiator, initiating),
        ):
            more = dict(more or {})
            if child := more.pop("child", None):
                plain = [msgspec.to_builtins(one) | child for one in connection.children]
                more["children"] = plain
            is_ours = bed.node(name).plan.role is RoleName.IKE
            await bed.node(name).tunnel_end.load(at_endpoint(connection, **more) if is_ours else connection)
        yield Ends(bed, initiator, responder)
