"""The applications of ``address-hop``, unmodified, and the same beside them where nothing hops."""

from __future__ import annotations

import dataclasses
import ipaddress
import math
from contextlib import AbstractAsyncContextManager

from nodes.events import Event
from orchestrator.applications import curl, iperf3, ping, ssh
from orchestrator.applications.application import Application, Ends, Finding
from orchestrator.evidence.verdict import Check
from orchestrator.scenarios import address_hop_evidence as evidence
from orchestrator.scenarios.address_hop_flows import STEADY
from orchestrator.scenarios.address_hop_link import steady_address
from orchestrator.scenarios.address_hop_nodes import MOVING, partner_of
from orchestrator.scenarios.address_hop_parameters import AddressHopScenario
from orchestrator.scenarios.stage import Stage

_MB = 1_000_000
_MBIT = 1_000_000
_CHANCE = 0.001


def applications(
    stage: Stage, parameters: AddressHopScenario, first: ipaddress.IPv6Address
) -> list[AbstractAsyncContextManager[Application]]:
    """What was asked for, from the node whose address hops."""
    bed = stage.bed
    client, server = bed.node(MOVING), bed.node(partner_of(parameters))
    ends = Ends(
        runtime=bed.runtime,
        client=client,
        server=server,
        address=server.address,
        source=str(first) if parameters.kind == "ra" else None,  # else the kernel takes the node's own
    )
    steady = dataclasses.replace(ends, address=str(steady_address(bed.plan, server.name)), source=None)
    found: list[AbstractAsyncContextManager[Application]] = []
    if "icmpv6" in parameters.transports:
        found.append(ping.running(ends))
    if "curl" in parameters.applications:
        octets, seconds = parameters.download * _MB, parameters.application_seconds
        found.append(curl.running(ends, octets=octets, seconds=seconds))
    if "iperf3" in parameters.applications:
        for where, port, name in (
            (ends, iperf3.PORT, "iperf3"),
            (steady, iperf3.PORT + 1, f"{STEADY}iperf3"),
        ):
            rate = parameters.bitrate * _MBIT
            found.append(
                iperf3.running(
                    where,
                    bits_per_second=rate,
                    congestion=parameters.congestion,
                    port=port,
                    name=name,
                )
            )
    if "ssh" in parameters.applications:
        found.append(ssh.running(ends))
    return found


def application_checks(
    findings: list[Finding], parameters: AddressHopScenario, events: list[Event]
) -> list[Check]:
    """Each application came through all hops unharmed, and no hop made iperf3 send anything again."""
    checks = [_check(found, parameters, events) for found in findings]
    retransmitted = {found.name: found.figures.get("retransmitted") for found in findings}
    if "iperf3" in retransmitted:
        own, beside = retransmitted["iperf3"], retransmitted[f"{STEADY}iperf3"]
        checks.append(
            Check.of(
                "iperf3: retransmissions caused by hops",
                expected="0: as many as in the undisturbed one beside it, or chance explains it (1 in 1,000)",
                measured=f"{own} with hops, {beside} without",
                passed=own is not None and beside is not None and chance_of_as_many(own, beside) >= _CHANCE,
            )
        )
    return checks


def chance_of_as_many(own: int, beside: int) -> float:
    """How likely at least ``own`` of all are by chance one's own, where both are alike.

    A machine makes TCP send a few segments again by itself, now more of one stream and now of the other; hops
    that cost segments do so again and again.
    """
    total = own + beside
    return sum(math.comb(total, count) for count in range(own, total + 1)) / (1 << total)


def _check(found: Finding, parameters: AddressHopScenario, events: list[Event]) -> Check:
    if found.name.startswith(STEADY):
        return Check.of(found.name, expected=found.expected, measured=found.measured, passed=found.passed)
    hops = evidence.closed(events, MOVING)
    within = sum(found.start_ns <= event.time_ns <= found.end_ns for event in hops)
    return Check.of(
        f"{found.name} through {parameters.hops} hops",
        expected=found.expected,
        measured=f"{found.measured}, through {within} hops",
        passed=found.passed and within >= parameters.hops,
    )
