"""What the scenarios about a tunnel share: the tunnel between the two peers, and traffic through it."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal, Protocol

from pydantic import Field

from nodes.peer.model import Initiated
from orchestrator import tunnel
from orchestrator.capture import checks
from orchestrator.capture.classify import Headers, classify
from orchestrator.capture.pcapng import Packets, read_file
from orchestrator.flows import FlowResult, FlowSpec, Transport
from orchestrator.runtimes.base import BRIDGE
from orchestrator.scenarios.scenario import Parameters
from orchestrator.scenarios.stage import Stage
from orchestrator.tasks import gather

INITIATOR = "peer-a"
RESPONDER = "peer-b"


class Traffic(Protocol):
    """Parameters that say what goes through a tunnel."""

    @property
    def rate(self) -> int:
        """UDP probes per second, each way."""

    @property
    def tcp_rate(self) -> int:
        """TCP records per second, each way; 0: none."""


class TunnelParameters(Parameters):
    """What every scenario about a tunnel can be told."""

    ike: Annotated[Literal["1", "2"], Field(description="version of IKE")] = "2"
    auth: Annotated[Literal["psk", "cert"], Field(description="authentication of the peers")] = "psk"
    rate: Annotated[int, Field(ge=10, le=10_000, description="UDP probes per second, each way")] = 500
    tcp_rate: Annotated[
        int, Field(ge=0, le=10_000, description="TCP records per second, each way; 0: none")
    ] = 50

    @property
    def version(self) -> Literal[1, 2]:
        """The version of IKE, as a number."""
        return 1 if self.ike == "1" else 2


async def establish(stage: Stage, parameters: TunnelParameters, settings: tunnel.Settings) -> Initiated:
    """Load both ends and negotiate; the tunnel's traffic can run when this returns.

    Raises:
        NegotiationError: the peers did not agree.
    """
    both = (INITIATOR, RESPONDER)
    initiator, responder = (stage.bed.node(name).peer for name in both)
    credentials = tunnel.credentials(stage.bed.plan, both, parameters.auth)
    ends = tunnel.tunnel(stage.bed.plan, INITIATOR, RESPONDER, credentials, settings)
    await gather([initiator.load(ends.initiator), responder.load(ends.responder)])
    since = len(stage.bed.events.past)
    initiated = await initiator.initiate(tunnel.CONNECTION, tunnel.CHILD)
    await stage.bed.events.wait_for("child-sa.installed", node=RESPONDER, since=since, timeout=30)
    status = await initiator.status()
    stage.dataplane = status.dataplane
    stage.versions["strongSwan"] = status.version
    stage.check(
        "tunnel established",
        expected=f"a CHILD_SA by IKEv{parameters.ike} with {parameters.auth}",
        measured=f"{initiated.child.encryption} under {initiated.ike.name}, SPI {initiated.child.spi_in}",
        passed=initiated.ike.version == parameters.version,
    )
    return initiated


def probes(
    stage: Stage,
    parameters: Traffic,
    *,
    count: int | None = None,
    ends: tuple[str, str] = (INITIATOR, RESPONDER),
    suffix: str = "",
) -> list[FlowSpec]:
    """UDP and TCP between the inner addresses, both ways; ``count`` UDP probes and TCP for the same time.

    From the initiator, who is the first of ``ends``, a flow is called ``a-b``; ``suffix`` goes behind that.
    """
    near, far = (stage.bed.node(name) for name in ends)
    specs = []
    for transport, rate in ((Transport.UDP, parameters.rate), (Transport.TCP, parameters.tcp_rate)):
        if not rate:
            continue
        there = FlowSpec(
            name=f"{transport}-a-b{suffix}",
            source=near.name,
            destination=far.name,
            source_address=ipaddress.IPv6Address(near.inner_address),
            destination_address=ipaddress.IPv6Address(far.inner_address),
            transport=transport,
            rate=rate,
            count=None if count is None else max(1, count * rate // parameters.rate),
        )
        specs += [there, there.reverse(f"{transport}-b-a{suffix}")]
    return specs


def check_loss(stage: Stage, flow: FlowResult, *, at_most: int | None) -> None:
    """Judge what a flow lost; with ``at_most`` None, report it without judging.

    The longest gap of a TCP flow is known only once its packets are.
    """
    found = flow.continuity
    gap = f", longest gap {found.longest_gap_ms:.1f} ms" if flow.spec.transport is Transport.UDP else ""
    stage.check(
        f"lost on {flow.spec.name}",
        expected="whatever it is" if at_most is None else f"at most {at_most}" if at_most else "0",
        measured=f"{found.lost} of {found.sent}{gap}",
        passed=at_most is None or found.lost <= at_most,
    )


def inspect(stage: Stage, _parameters: TunnelParameters) -> None:
    """Let the bridge's capture say that the traffic was ESP, both ways, and that nothing was in clear."""
    packets = read_file(stage.captures[BRIDGE])
    inspect_esp(stage, packets, classify(packets), (INITIATOR, RESPONDER))


def inspect_esp(stage: Stage, packets: Packets, headers: Headers, ends: tuple[str, str]) -> None:
    """The same for a capture that is read already, and the tunnel between ``ends``."""
    initiator, responder = (stage.bed.plan.node(name) for name in ends)
    stage.add(checks.esp_both_ways(headers, initiator.address.ip, responder.address.ip))
    inner = {node.name: node.inner for node in (initiator, responder) if node.inner is not None}
    stage.add(checks.nothing_in_clear(packets, inner))
