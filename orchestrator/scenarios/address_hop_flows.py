"""The probe traffic of ``address-hop``, and the judgement of its gaps against undisturbed traffic."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from orchestrator.continuity.result import Interruption
from orchestrator.evidence.verdict import Check
from orchestrator.flows import FlowResult, FlowSpec, Transport
from orchestrator.scenarios.address_hop_link import plain_address, steady_address
from orchestrator.scenarios.address_hop_nodes import HOST
from orchestrator.scenarios.address_hop_parameters import AddressHopScenario
from orchestrator.topology.plan import RunPlan

GAP_MS = 10.0
"""An interruption longer than this counts, unless undisturbed traffic has one at the same time."""
PLAIN = "plain-"
"""Begins the name of the flow of a plain socket, whose address goes."""
STEADY = "steady-"
"""Begins the names of the flows between addresses that stay."""
_NEAR_NS = 20_000_000
"""So near to each other two interruptions are one of the machine."""


def specs(
    plan: RunPlan,
    parameters: AddressHopScenario,
    source: str,
    destination: str,
    source_address: ipaddress.IPv6Address,
) -> list[FlowSpec]:
    """UDP and TCP both ways between the addresses that hop, and the same between those that stay."""
    ends = {
        "": (source_address, plan.node(destination).address.ip),
        STEADY: (steady_address(plan, source), steady_address(plan, destination)),
    }
    found = []
    for prefix, (near, far) in ends.items():
        for transport, rate in ((Transport.UDP, parameters.rate), (Transport.TCP, parameters.tcp_rate)):
            if transport.value not in parameters.transports:
                continue
            there = FlowSpec(
                name=f"{prefix}{transport}-a-b",
                source=source,
                destination=destination,
                source_address=near,
                destination_address=far,
                transport=transport,
                rate=rate,
            )
            found += [there, there.reverse(f"{prefix}{transport}-b-a")]
    if parameters.plain:
        found.append(_plain(plan, parameters, destination))
    return found


def _plain(plan: RunPlan, parameters: AddressHopScenario, destination: str) -> FlowSpec:
    """A connection of a node that knows nothing of hops, and whose address goes."""
    return FlowSpec(
        name=f"{PLAIN}tcp-a-b",
        source=HOST,
        destination=destination,
        source_address=plain_address(plan, HOST),
        destination_address=plain_address(plan, destination),
        transport=Transport.TCP,
        rate=parameters.tcp_rate,
    )


def is_steady(flow: FlowResult) -> bool:
    """Whether it is of the traffic that nothing is done to."""
    return flow.spec.name.startswith(STEADY)


def is_plain(flow: FlowResult) -> bool:
    """Whether it is of a plain socket, whose address went."""
    return flow.spec.name.startswith(PLAIN)


def loss_checks(flows: Sequence[FlowResult], at_most: int | None = 0) -> list[Check]:
    """Nothing may be lost; and a TCP stream is, by its digest, the one that was sent."""
    checks = []
    for flow in flows:
        found = flow.continuity
        if is_plain(flow):
            checks.append(
                Check.of(
                    f"lost on {flow.spec.name}",
                    expected="all, once its address has gone",
                    measured=f"{found.lost} of {found.sent}",
                    passed=found.lost > 0,
                )
            )
            continue
        gap = f", longest gap {found.longest_gap_ms:.1f} ms" if flow.spec.transport is Transport.UDP else ""
        checks.append(
            Check.of(
                f"lost on {flow.spec.name}",
                expected="0" if at_most == 0 else "whatever it is",
                measured=f"{found.lost} of {found.sent}{gap}",
                passed=at_most is None or found.lost <= at_most,
            )
        )
        if flow.spec.transport is Transport.TCP and at_most is not None:
            checks.append(
                Check.of(
                    f"stream of {flow.spec.name}",
                    expected="identical by SHA-256",
                    measured=f"identical, {flow.octets_received} octets"
                    if flow.identical
                    else f"not identical: {flow.octets_received} of {flow.octets_sent} octets"
                    + (f", {flow.broken}" if flow.broken else ""),
                    passed=flow.identical is True,
                )
            )
    return checks


def gap_check(flows: Sequence[FlowResult]) -> Check:
    """No interruption over :data:`GAP_MS` that the undisturbed traffic beside it does not have."""
    flows = [flow for flow in flows if not is_plain(flow)]
    hopping = [flow for flow in flows if not is_steady(flow)]
    steady = [one for flow in flows if is_steady(flow) for one in flow.continuity.interruptions]
    own = {
        flow.spec.name: [
            one
            for one in flow.continuity.interruptions
            if one.outage_ms > GAP_MS and not _near_any(one, steady)
        ]
        for flow in hopping
    }
    measured = {
        "longest gap, ms": {flow.spec.name: round(flow.continuity.longest_gap_ms, 3) for flow in flows},
        "interruptions of hops alone": sum(map(len, own.values())),
        "interruptions of the machine": sum(one.outage_ms > GAP_MS for one in steady),
    }
    for name, interruptions in own.items():
        if interruptions:
            measured[name] = [round(one.outage_ms, 3) for one in interruptions]
    return Check.of(
        "no gap that undisturbed traffic does not have",
        expected=f"none over {GAP_MS:g} ms",
        measured=measured,
        passed=not any(own.values()),
    )


def _near_any(one: Interruption, others: Sequence[Interruption]) -> bool:
    return any(
        other.start_ns - _NEAR_NS <= one.end_ns and one.start_ns <= other.end_ns + _NEAR_NS
        for other in others
    )
