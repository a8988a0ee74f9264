"""Makes a negotiation abnormal on a running testbed, and mends it."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import msgspec

from nodes.peer.model import Auth, Connection
from orchestrator import tunnel
from orchestrator.breaking.kinds import MISCONFIGURED, WITH_CERTIFICATES, Kind
from orchestrator.breaking.misconfigured import misconfigured, wrong_certificate
from orchestrator.breaking.wire import DEAF, HEARING, rules
from orchestrator.faults import faults
from orchestrator.pki import Authority
from orchestrator.testbed import Testbed
from orchestrator.topology.plan import RunPlan

CONNECTION = "broken"
"""What the connection is called at both ends, while it is broken and once it is mended."""
APPLIED = "abnormality.made"
MENDED = "abnormality.mended"


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

    async def load(self, bed: Testbed) -> None:
        """Load the connections as they are while it is broken."""
        if self.kind is not Kind.UNKNOWN_PEER:
            await bed.node(self.receiver).peer.load(self.right.responder)
        await bed.node(self.sender).peer.load(self.wrong)

    async def mend_configuration(self, bed: Testbed) -> None:
        """Load what was wrong anew, as it is right, and nothing else."""
        if self.kind is Kind.UNKNOWN_PEER:
            await bed.node(self.receiver).peer.load(self.right.responder)
        elif self.kind in MISCONFIGURED:
            await bed.node(self.sender).peer.load(self.right.initiator)

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
                await deafen(bed, self.receiver)
                stack.push_async_callback(_mend_hearing, bed, self.receiver)
            await self.load(bed)
            bed.events.say(APPLIED, node=self.sender, abnormality=self.kind.value, receiver=self.receiver)
            yield


async def deafen(bed: Testbed, node: str) -> None:
    """Let a node hear no IKE; an ESP tunnel that is up carries on."""
    await bed.node(node).exec(["nft", "-f", "-"], stdin=DEAF.encode())


async def mend_hearing(bed: Testbed, node: str) -> None:
    """Let a node hear IKE again."""
    await bed.node(node).exec(["nft", "-f", "-"], stdin=HEARING.encode())


async def _mend_hearing(bed: Testbed, node: str) -> None:
    with anyio.CancelScope(shield=True):
        await mend_hearing(bed, node)
