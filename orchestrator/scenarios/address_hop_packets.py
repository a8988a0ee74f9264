"""What the bridge's capture of ``address-hop`` shows: who bore a retired address, what a partner answered."""

from __future__ import annotations

import ipaddress
from typing import Any

import numpy as np

from nodes.terminal.header import UDP_PORT
from orchestrator.capture.classify import Headers, Kind, Mask, address_is, classify, numbers
from orchestrator.capture.pcapng import Offsets, Packets, read_file
from orchestrator.capture.retired import bearing_after
from orchestrator.evidence.verdict import Check, Outcome
from orchestrator.runtimes.base import BRIDGE
from orchestrator.scenarios import address_hop_evidence as evidence
from orchestrator.scenarios.address_hop_link import link_address
from orchestrator.scenarios.address_hop_nodes import MOVING, outsider_of, partner_of
from orchestrator.scenarios.address_hop_parameters import AddressHopScenario
from orchestrator.scenarios.stage import Stage

_SHOWN = 3
_PARAMETER_PROBLEM, _UNRECOGNISED_OPTION = 4, 2
_PORT_UNREACHABLE = (1, 4)


def checks(stage: Stage, parameters: AddressHopScenario) -> list[Check]:
    """What is to be seen, by who the partner is."""
    packets = read_file(stage.captures[BRIDGE])
    headers = classify(packets)
    if parameters.partner == "terminal":
        return [_retired(stage, parameters, packets, headers)]
    found = [_kept(stage, parameters, headers)]
    if parameters.partner == "legacy" and (parameters.carriage, parameters.option_type) != ("option", "0x1e"):
        found.append(_kernel_answered(stage, parameters, packets, headers))
    return found


def _retired(stage: Stage, parameters: AddressHopScenario, packets: Packets, headers: Headers) -> Check:
    """No packet after the close of a hop bears its first address, in either direction."""
    events, file = stage.bed.events.past, stage.capture_files[BRIDGE]
    retired = evidence.retired(events)
    found = bearing_after(
        packets,
        headers,
        packets.time_ns - file.clock_offset_ns,
        retired,
        [link_address(events, outsider_of(parameters))],
    )
    measured: dict[str, Any] = {"addresses": len(retired), "judged": found.judged, **_told(found.packets)}
    if len(found.packets):
        measured |= {
            "as source": len(found.as_source),
            "as destination": len(found.as_destination),
            "as target": len(found.as_target),
        }
    name, expected = "no packet bears a retired address", f"0 of {found.judged}, after {parameters.hops} hops"
    if not retired or not found.judged or file.dropped:
        return Check(name=name, expected=expected, measured=measured, outcome=Outcome.INCONCLUSIVE)
    return Check.of(name, expected=expected, measured=measured, passed=not len(found.packets))


def _kept(stage: Stage, parameters: AddressHopScenario, headers: Headers) -> Check:
    """What a service sends goes on bearing its first address, to its end."""
    bed = stage.bed
    partner = bed.plan.node(partner_of(parameters)).address.ip
    first = bed.plan.node(MOVING).address.ip
    carried = np.isin(headers.kind, (Kind.TCP, Kind.UDP)) & _between(headers, partner)
    seconds = {
        ipaddress.IPv6Address(event.data["second"]) for event in evidence.closed(bed.events.past, MOVING)
    }
    moved = carried & _any_of(headers, seconds)
    if parameters.carriage == "udp":
        moved &= headers.destination_port != UDP_PORT
    on_first = carried & (address_is(headers.source, first) | address_is(headers.destination, first))
    return Check.of(
        "the services keep their address to their end",
        expected="every packet of theirs bears the first address",
        measured={"with the first address": int(on_first.sum()), **_told(numbers(moved))},
        passed=bool(on_first.any()) and not moved.any(),
    )


def _kernel_answered(
    stage: Stage, parameters: AddressHopScenario, packets: Packets, headers: Headers
) -> Check:
    """The answer of a host that knows nothing of hops is its kernel's own ICMPv6 message."""
    wanted = (
        (_PARAMETER_PROBLEM, _UNRECOGNISED_OPTION) if parameters.carriage == "option" else _PORT_UNREACHABLE
    )
    partner = stage.bed.plan.node(partner_of(parameters)).address.ip
    index = np.flatnonzero((headers.kind == Kind.ICMPV6) & address_is(headers.source, partner))
    at = headers.upper[index]
    answers = index[(packets.octets[at] == wanted[0]) & (packets.octets[at + 1] == wanted[1])]
    return Check.of(
        "the partner's kernel answers",
        expected=f"ICMPv6 type {wanted[0]}, code {wanted[1]}, from {partner}",
        measured=_told(answers + 1),
        passed=bool(len(answers)),
    )


def _between(headers: Headers, address: ipaddress.IPv6Address) -> Mask:
    between: Mask = address_is(headers.source, address) | address_is(headers.destination, address)
    return between


def _any_of(headers: Headers, addresses: set[ipaddress.IPv6Address]) -> Mask:
    found = np.zeros(len(headers.kind), np.bool_)
    for address in addresses:
        found |= _between(headers, address)
    return found


def _told(found: Offsets) -> dict[str, Any]:
    """How many packets, and the numbers by which Wireshark shows the first ones and the last."""
    told: dict[str, Any] = {"packets": len(found)}
    if len(found):
        told |= {"first": found[:_SHOWN].tolist(), "last": int(found[-1])}
    return told
