"""The scenarios that Hopbed brings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nodes import errors
from orchestrator.scenarios import address_hop, ike_abnormality, rekey, sa_negotiation, soak, tunnel
from orchestrator.scenarios.scenario import Scenario

SCENARIOS: Mapping[str, Scenario[Any]] = {
    scenario.name: scenario
    for scenario in (
        tunnel.SCENARIO,
        rekey.SCENARIO,
        sa_negotiation.SCENARIO,
        ike_abnormality.SCENARIO,
        address_hop.SCENARIO,
        soak.SCENARIO,
    )
}


def find(name: str) -> Scenario[Any]:
    """The scenario called ``name``.

    Raises:
        UsageError: there is none.
    """
    if name not in SCENARIOS:
        raise errors.UsageError(f"no scenario {name!r}; there are {', '.join(SCENARIOS)} (`hopbed list`)")
    return SCENARIOS[name]
