"""Who plays which part in the scenario ``address-hop``."""

from __future__ import annotations

from orchestrator.scenarios.address_hop_parameters import AddressHopScenario

MOVING = "terminal-a"
"""The first terminal: its address hops."""
TERMINAL = "terminal-b"
"""The second terminal."""
HOST = "host"
"""A host without an agent: the scanner and the router, or, as a legacy partner, the other end."""
ALL = (MOVING, TERMINAL, HOST)


def partner_of(parameters: AddressHopScenario) -> str:
    """The node at the other end."""
    return HOST if parameters.partner == "legacy" else TERMINAL


def outsider_of(parameters: AddressHopScenario) -> str:
    """The node that has no part in the hops: the scanner, and the router."""
    return TERMINAL if parameters.partner == "legacy" else HOST


def hopping_nodes(parameters: AddressHopScenario) -> tuple[str, ...]:
    """The nodes whose addresses hop."""
    return (MOVING, TERMINAL) if parameters.side == "both" else (MOVING,)
