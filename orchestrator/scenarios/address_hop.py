"""The scenario ``address-hop``: an address hops under traffic, and the services go on."""

from __future__ import annotations

from typing import Any

from orchestrator.capture.classify import classify
from orchestrator.capture.pcapng import read_file
from orchestrator.capture.retired import bearing_after
from orchestrator.evidence.verdict import Check, Outcome
from orchestrator.runtimes.base import BRIDGE
from orchestrator.scenarios import address_hop_evidence as evidence
from orchestrator.scenarios import address_hop_flows as probes
from orchestrator.scenarios import address_hop_mechanisms as mechanisms
from orchestrator.scenarios import address_hop_story as story
from orchestrator.scenarios.address_hop_link import link_address
from orchestrator.scenarios.address_hop_nodes import ALL, MOVING, TERMINAL, outsider_of
from orchestrator.scenarios.address_hop_parameters import AddressHopScenario
from orchestrator.scenarios.scenario import Scenario
from orchestrator.scenarios.stage import Stage

_SNAPLEN = 320
"""Octets of each packet in the captures: all of a probe, and the headers of a bulk transfer."""
_SHOWN = 3


async def play(stage: Stage, parameters: AddressHopScenario) -> None:
    """Hop under traffic; or change the address under each mechanism that is compared."""
    if parameters.mechanism is None:
        await story.play(stage, parameters)
    else:
        await mechanisms.play(stage, parameters)


def inspect(stage: Stage, parameters: AddressHopScenario) -> None:
    """Judge gaps, by packets for TCP; and let the bridge's capture say who bore a retired address."""
    if parameters.mechanism is not None:
        return
    if stage.flows:
        stage.add(probes.gap_check(stage.flows))
    if parameters.partner == "terminal":
        stage.add(retired_check(stage, parameters))


def retired_check(stage: Stage, parameters: AddressHopScenario) -> Check:
    """No packet after the close of a hop bears its first address, in either direction."""
    retired = evidence.retired(stage.bed.events.past)
    packets = read_file(stage.captures[BRIDGE])
    file = stage.capture_files[BRIDGE]
    found = bearing_after(
        packets,
        classify(packets),
        packets.time_ns - file.clock_offset_ns,
        retired,
        [link_address(stage.bed.events.past, outsider_of(parameters))],
    )
    numbers = found.packets
    measured: dict[str, Any] = {"addresses": len(retired), "judged": found.judged, "packets": len(numbers)}
    if len(numbers):
        measured |= {
            "first": numbers[:_SHOWN].tolist(),
            "last": int(numbers[-1]),
            "as source": len(found.as_source),
            "as destination": len(found.as_destination),
            "as target": len(found.as_target),
        }
    name = "no packet bears a retired address"
    if not retired or not found.judged or file.dropped:
        return Check(name=name, expected="0", measured=measured, outcome=Outcome.INCONCLUSIVE)
    return Check.of(
        name,
        expected=f"0 of {found.judged}, after {parameters.hops} hops",
        measured=measured,
        passed=not len(numbers),
    )


SCENARIO = Scenario(
    name="address-hop",
    summary="an address hops under traffic of unmodified applications; or mechanisms beside each other",
    nodes=ALL,
    ends=(MOVING, TERMINAL),
    parameters=AddressHopScenario,
    play=play,
    inspect=inspect,
    snaplen=_SNAPLEN,
)
