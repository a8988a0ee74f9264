"""The scenario ``address-hop``: an address hops under traffic, and the services go on."""

from __future__ import annotations

from orchestrator.scenarios import address_hop_flows as probes
from orchestrator.scenarios import address_hop_mechanisms as mechanisms
from orchestrator.scenarios import address_hop_packets as packets
from orchestrator.scenarios import address_hop_story as story
from orchestrator.scenarios.address_hop_nodes import ALL, MOVING, TERMINAL
from orchestrator.scenarios.address_hop_parameters import AddressHopScenario
from orchestrator.scenarios.scenario import Scenario
from orchestrator.scenarios.stage import Stage

_SNAPLEN = 320
"""Octets of each packet in the captures: all of a probe, and the headers of a bulk transfer."""


async def play(stage: Stage, parameters: AddressHopScenario) -> None:
    """Hop under traffic; or change the address under each mechanism that is compared."""
    if parameters.mechanism is None:
        await story.play(stage, parameters)
    else:
        await mechanisms.play(stage, parameters)


def inspect(stage: Stage, parameters: AddressHopScenario) -> None:
    """Judge gaps, by packets for TCP; and let the bridge's capture say who bore which address."""
    if parameters.mechanism is not None:
        return
    if stage.flows:
        stage.add(probes.gap_check(stage.flows))
    for check in packets.checks(stage, parameters):
        stage.add(check)


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
