"""The scenario ``tunnel``: bring up, carry, verdict."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from orchestrator.scenarios import tunnel_between_peers as between
from orchestrator.scenarios.scenario import Scenario
from orchestrator.scenarios.stage import Stage
from orchestrator.tunnel import Settings


class TunnelScenario(between.TunnelParameters):
    """The parameters of ``tunnel``."""

    duration: Annotated[float, Field(ge=0.1, le=3600, description="seconds of traffic")] = 3.0


async def play(stage: Stage, parameters: TunnelScenario) -> None:
    """Negotiate, carry traffic both ways for the duration, and expect all of it at the other end."""
    await stage.begin_faults()
    await between.establish(stage, parameters, Settings(version=parameters.version))
    count = max(1, round(parameters.duration * parameters.rate))
    async with stage.traffic(between.probes(stage, parameters, count=count)) as flows:
        await flows.wait_sent()
    for flow in stage.flows:
        between.check_loss(stage, flow, at_most=0)


SCENARIO = Scenario(
    name="tunnel",
    summary="two strongSwan peers negotiate, and a tunnel carries traffic both ways",
    nodes=(between.INITIATOR, between.RESPONDER),
    ends=(between.INITIATOR, between.RESPONDER),
    parameters=TunnelScenario,
    play=play,
    inspect=between.inspect,
)
