"""The scenario ``rekey``: the CHILD_SA of a tunnel is rekeyed again and again under traffic."""

from __future__ import annotations

from typing import Annotated

import anyio
from pydantic import Field

from nodes.peer.model import Rekey
from orchestrator import tunnel
from orchestrator.scenarios import tunnel_between_peers as between
from orchestrator.scenarios.scenario import Scenario
from orchestrator.scenarios.stage import Stage


class RekeyScenario(between.TunnelParameters):
    """The parameters of ``rekey``."""

    count: Annotated[int, Field(ge=1, le=10_000, description="rekeys")] = 5
    pfs: Annotated[bool, Field(description="a Diffie-Hellman exchange with every rekey")] = False
    interval: Annotated[float, Field(ge=0, le=3600, description="seconds from one rekey to the next")] = 0.25
    max_lost: Annotated[
        int | None,
        Field(ge=0, description="probes a flow may lose; by default none with IKEv2, and with IKEv1 any"),
    ] = None

    @property
    def at_most(self) -> int | None:
        """The loss that passes; None reports what stock IKEv1 loses, whatever it is."""
        return self.max_lost if self.max_lost is not None or self.ike == "1" else 0


async def play(stage: Stage, parameters: RekeyScenario) -> None:
    """Rekey ``count`` times under traffic, alternately from each side."""
    settings = tunnel.Settings(
        version=parameters.version, pfs=parameters.pfs, child_rekey_time=0, ike_rekey_time=0
    )
    await between.establish(stage, parameters, settings)
    await stage.begin_faults()
    rekeyed = 0
    async with stage.traffic(between.probes(stage, parameters)):
        for number in range(parameters.count):
            await anyio.sleep(parameters.interval)  # the schedule of the scenario, not a wait for something
            await rekey_once(stage, by=(between.INITIATOR, between.RESPONDER)[number % 2])
            rekeyed += 1
        await anyio.sleep(parameters.interval)
    stage.check(
        "rekeys", expected=str(parameters.count), measured=str(rekeyed), passed=rekeyed == parameters.count
    )
    for flow in stage.flows:
        between.check_loss(stage, flow, at_most=parameters.at_most)


async def rekey_once(stage: Stage, *, by: str) -> None:
    """Rekey the CHILD_SA from one side, and wait until the other side has the new one too."""
    other = between.RESPONDER if by == between.INITIATOR else between.INITIATOR
    since = len(stage.bed.events.past)
    new = await stage.bed.node(by).peer.rekey(Rekey(connection=tunnel.CONNECTION, child=tunnel.CHILD))
    await stage.bed.events.wait_for(
        "child-sa.rekeyed",
        node=other,
        where=lambda event: event.data["new"]["spi_out"] == new.new_spis[0],
        since=since,
        timeout=30,
    )


SCENARIO = Scenario(
    name="rekey",
    summary="the CHILD_SA of a tunnel is rekeyed again and again under traffic",
    nodes=(between.INITIATOR, between.RESPONDER),
    ends=(between.INITIATOR, between.RESPONDER),
    parameters=RekeyScenario,
    play=play,
    inspect=between.inspect,
)
