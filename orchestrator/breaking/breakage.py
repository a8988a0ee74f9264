"""Makes a negotiation abnormal on a running testbed, and mends it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import msgspec

from nodes import errors
from nodes.peer.model import Auth, Connection, End, Terminate
from orchestrator import tunnel
from orchestrator.breaking.kinds import MISCONFIGURED, ON_THE_WIRE, WITH_CERTIFICATES, Kind
from orchestrator.breaking.misconfigured import misconfigured, with_children, wrong_certificate
from orchestrator.breaking.wire import DEAF, HEARING, rules
from orchestrator.faults import faults
from orchestrator.pki import Authority
from orchestrator.testbed import Testbed
from orchestrator.topology.plan import RunPlan

CONNECTION = "tried"
"""What the connection is called at both ends, while it is broken and once it is mended."""
ANYBODY = "anybody"
"""The receiver's connection for whoever comes, from wherever, as gateways have for road warriors: without it
charon refuses a forged message at once, and a flood costs next to nothing."""
MADE = "abnormality.made"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Breakage:
    """One abnormality between two peers: the connections that would do, and the sender's that does not.

    Attributes:
        right: the connections of a tunnel that both ends agree on.
        wrong: what the sender loads instead; the same where it is not the sender's that is wrong.
    """

    kind: Kind
    sender: str
    receiver: str
    right: tunnel.Tunnel
    wrong: Connection

    @classmethod
    def of(cls, plan: RunPlan, sender: str, receiver: str, kind: Kind, settings: tunnel.Settings) -> Breakage:
        """A new one, with new credentials.

        Raises:
            UsageError: a node is no tunnel's end, or both are one.
            ParameterError: a setting is out of its range.
        """
        both = (sender, receiver)
        authority = Authority.of_run(plan)
        credentials: dict[str, Auth]
        if kind in WITH_CERTIFICATES:
            credentials = {name: authority.issue(plan.node(name)) for name in both}
        else:
            credentials = tunnel.credentials(plan, both, "psk")
        right = tunnel.tunnel(plan, sender, receiver, credentials, settings, name=CONNECTION)
        wrong = misconfigured(right.initiator, kind, plan)
        auth = wrong_certificate(kind, authority, plan.node(sender))
        if auth is not None:
            wrong = msgspec.structs.replace(wrong, auth=auth)
        return cls(kind=kind, sender=sender, receiver=receiver, right=right, wrong=wrong)

    def trapped(self) -> Breakage:
        """The same with a sender whose traffic asks for the tunnel (``start_action`` trap)."""
        right = dataclasses.replace(
            self.right, initiator=with_children(self.right.initiator, start_action="trap")
        )
        return dataclasses.replace(self, right=right, wrong=with_children(self.wrong, start_action="trap"))

    @property
    def is_left(self) -> bool:
        """Whether it stays made by itself, as what happens on the wire does not."""
        return self.kind not in ON_THE_WIRE | {Kind.THIRD_PARTY_FLOOD}

    async def make(self, bed: Testbed) -> None:
        """Load the connections as they are while it is broken; a dead receiver hears nothing from here on."""
        receiver = bed.node(self.receiver)
        if self.kind is Kind.DEAD_PEER:
            await deafen(bed, self.receiver)
        if self.kind is Kind.UNKNOWN_PEER:
            with contextlib.suppress(errors.ParameterError):  # it was never known
                await receiver.tunnel_end.unload(self.right.responder.name)
        else:
            await receiver.tunnel_end.load(self.right.responder)
        if self.kind is Kind.THIRD_PARTY_FLOOD:
            anybody = End(address="::", id="%any")
            right = self.right.responder
            await receiver.tunnel_end.load(msgspec.structs.replace(right, name=ANYBODY, remote=anybody))
        await bed.node(self.sender).tunnel_end.load(self.wrong)
        bed.events.say(MADE, node=self.sender, abnormality=self.kind.value, receiver=self.receiver)

    async def mend_configuration(self, bed: Testbed) -> None:
        """Load what was wrong anew, as it is right, and nothing else."""
        if self.kind is Kind.UNKNOWN_PEER:
            await bed.node(self.receiver).tunnel_end.load(self.right.responder)
        elif self.kind in MISCONFIGURED:
            await bed.node(self.sender).tunnel_end.load(self.right.initiator)

    @asynccontextmanager
    async def in_force(self, bed: Testbed, *, seed: int = 0) -> AsyncIterator[None]:
        """The abnormality, for the length of the context; a configuration stays wrong after it.

        Raises:
            MachineError: this machine cannot lead packets to a fault engine.
            NodeError: a node refused.
        """
        ends = (self.sender, self.receiver)
        changes = rules(self.kind, self.right.initiator.version, self.sender)
        async with AsyncExitStack() as stack:
            if changes:
                await stack.enter_async_context(
                    faults(bed.runtime, changes, bed.events, ends=ends, seed=seed)
                )
            if self.kind is Kind.DEAD_PEER:
                stack.push_async_callback(_mend_hearing, bed, self.receiver)
            await self.make(bed)
            yield


async def mend(bed: Testbed, sender: str, receiver: str, settings: tunnel.Settings) -> None:
    """Make two peers agree again, whatever was broken between them: new credentials, right at both ends.

    A negotiation that hangs is ended first, for it would go on with what it began with.

    Raises:
        UsageError: a node is no tunnel's end, or both are one.
    """
    both = tunnel.tunnel(
        bed.plan,
        sender,
        receiver,
        tunnel.credentials(bed.plan, (sender, receiver), "psk"),
        settings,
        name=CONNECTION,
    )
    await clear(bed, sender, receiver)
    await bed.node(receiver).tunnel_end.load(both.responder)
    await bed.node(sender).tunnel_end.load(both.initiator)


async def clear(bed: Testbed, *ends: str) -> None:
    """Take away what an earlier breakage left at these nodes, but for connections, which a new one replaces.

    Half-open IKE SAs go, which a receiver has without a name yet.
    """
    for node in ends:
        await mend_hearing(bed, node)
        peer = bed.node(node).tunnel_end
        for sa in await peer.list_sas():
            if sa.name == CONNECTION or sa.state != "ESTABLISHED":
                with contextlib.suppress(errors.ParameterError, errors.NegotiationError):  # it went by itself
                    await peer.terminate(Terminate(ike_id=sa.unique_id, force=True))
        with contextlib.suppress(errors.ParameterError):  # there was no flood
            await peer.unload(ANYBODY)


async def deafen(bed: Testbed, node: str) -> None:
    """Let a node hear no IKE; an ESP tunnel that is up carries on."""
    await bed.node(node).exec(["nft", "-f", "-"], stdin=DEAF.encode())


async def mend_hearing(bed: Testbed, node: str) -> None:
    """Let a node hear IKE again."""
    await bed.node(node).exec(["nft", "-f", "-"], stdin=HEARING.encode())


async def _mend_hearing(bed: Testbed, node: str) -> None:
    with anyio.CancelScope(shield=True):
        await mend_hearing(bed, node)
