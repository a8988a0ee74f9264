"""The scenario ``ike-abnormality``: a sender that never stops trying, and a negotiation that cannot succeed.

What it costs the network and both daemons is measured from captures and the kernel; then it is mended, and
the time until a tunnel carries ESP both ways is measured too. With ``handling=on`` both ends fall silent for
their set times; without it they do what stock strongSwan does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

import anyio
from pydantic import Field, model_validator

from nodes import errors
from nodes.abnormality.timing import LONGEST, STEEPEST, Timing
from orchestrator import tunnel
from orchestrator.breaking import CONNECTION, Breakage, Kind
from orchestrator.breaking.kinds import WITH_CERTIFICATES
from orchestrator.daemon_watch import DaemonWatch
from orchestrator.retrying import Retrying
from orchestrator.scenarios import asking_traffic, ike_flood, steady_tunnel
from orchestrator.scenarios import ike_abnormality_figures as figures
from orchestrator.scenarios import tunnel_between_peers as between
from orchestrator.scenarios.scenario import Cast, Parameters, Scenario
from orchestrator.scenarios.stage import Stage
from orchestrator.tasks import background

SENDERS = {"strongswan": between.INITIATOR, "hopbed": "endpoint"}
RECEIVERS = {"strongswan": between.RESPONDER, "hopbed": "endpoint-b"}
ENDS = (SENDERS["strongswan"], RECEIVERS["strongswan"])
THIRD_PARTY = "host"
SHORT_TIMERS: Mapping[str, float] = {
    "retransmit_timeout": 1.0,
    "retransmit_base": 1.3,
    "retransmit_tries": 4,
}
"""A negotiation whose messages are lost is over after 9 s; with charon's defaults it is after 165 s."""
GIVES_UP = {"short": 9.0, "default": 165.0}


class IkeAbnormality(Parameters):
    """The parameters of ``ike-abnormality``."""

    kind: Annotated[Kind, Field(description="what is wrong")] = Kind.PSK
    ike: Annotated[Literal["1", "2"], Field(description="version of IKE")] = "1"
    handling: Annotated[Literal["off", "on"], Field(description="both sides fall silent for a set time")] = (
        "off"
    )
    t1: Annotated[float, Field(gt=0, le=LONGEST, description="seconds that the receiver is inactive")] = 30.0
    t2: Annotated[float, Field(gt=0, le=LONGEST, description="seconds that the sender is inactive")] = 30.0
    growth: Annotated[
        float, Field(ge=1, le=STEEPEST, description="factor by which both grow each time; 1: not at all")
    ] = 1.0
    sender: Annotated[
        Literal["strongswan", "hopbed"], Field(description="who begins; hopbed is the IKEv1 endpoint")
    ] = "strongswan"
    receiver: Annotated[Literal["strongswan", "hopbed"], Field(description="who answers")] = "strongswan"
    duration: Annotated[float, Field(ge=1, le=3600, description="seconds for which it stays broken")] = 60.0
    retry: Annotated[
        float, Field(ge=0.1, le=3600, description="seconds after which a sender that failed tries again")
    ] = 2.0
    timers: Annotated[
        Literal["short", "default"],
        Field(description="charon's retransmissions: over after 9 s, or charon's own, over after 165 s"),
    ] = "short"
    repair: Annotated[bool, Field(description="mend it at the end, and wait for the tunnel")] = True
    activate: Annotated[bool, Field(description="with the repair, tell both ends to be active")] = False
    established: Annotated[
        bool, Field(description="another tunnel between the same addresses carries 500 packets/s")
    ] = False
    flood_rate: Annotated[int, Field(ge=1, le=20_000, description="forged messages per second")] = 2000
    flood_count: Annotated[int, Field(ge=1, le=1_000_000, description="forged messages in all")] = 20_000

    @property
    def version(self) -> Literal[1, 2]:
        """The version of IKE, as a number."""
        return 1 if self.ike == "1" else 2

    @property
    def timing(self) -> Timing:
        """The set times."""
        return Timing(t1=self.t1, t2=self.t2, growth=self.growth)

    @property
    def is_on(self) -> bool:
        """Whether the abnormality is handled."""
        return self.handling == "on"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if "hopbed" in (self.sender, self.receiver):
            self._fits_endpoint()
        if self.activate and not self.repair:
            raise errors.ParameterError("ike-abnormality: activate=true goes with repair=true")
        if self.kind is Kind.THIRD_PARTY_FLOOD and self.established:
            raise errors.ParameterError("ike-abnormality: established=true is for the other kinds")
        return self

    def _fits_endpoint(self) -> None:
        if self.ike != "1":
            raise errors.ParameterError("ike-abnormality: the endpoint, hopbed, speaks IKEv1: ike=1")
        if self.kind in WITH_CERTIFICATES:
            raise errors.ParameterError("ike-abnormality: the endpoint, hopbed, has no certificates")
        if self.kind is Kind.THIRD_PARTY_FLOOD or self.established:
            raise errors.ParameterError(
                "ike-abnormality: the endpoint, hopbed, has one connection to a partner, and none to anybody"
            )


def cast(parameters: IkeAbnormality) -> Cast:
    """The two ends, and for a flood the third party that it comes from."""
    ends = (SENDERS[parameters.sender], RECEIVERS[parameters.receiver])
    third = (THIRD_PARTY,) if parameters.kind is Kind.THIRD_PARTY_FLOOD else ()
    return Cast((*ends, *third), ends)


def settings(parameters: IkeAbnormality) -> dict[str, dict[str, Any]]:
    """What the peers are told beside what every run tells them."""
    told: dict[str, Any] = dict(SHORT_TIMERS) if parameters.timers == "short" else {}
    if parameters.is_on:
        times = {"t1": parameters.t1, "t2": parameters.t2, "growth": parameters.growth}
        told["abnormality"] = {"handling": "on", **times}
    return dict.fromkeys(cast(parameters).ends, told)


def warnings(parameters: IkeAbnormality) -> Sequence[str]:
    """What is allowed and yet hardly meant."""
    return parameters.timing.warnings() if parameters.is_on else ()


async def play(stage: Stage, parameters: IkeAbnormality) -> None:
    """Break it, try again and again, measure, mend it."""
    sender, receiver = ends = cast(parameters).ends
    for node in ends:
        await _note(stage, node)
    await stage.begin_faults()
    if parameters.kind is Kind.THIRD_PARTY_FLOOD:
        await ike_flood.play(stage, parameters, *ends, THIRD_PARTY)
        return
    breakage = Breakage.of(
        stage.bed.plan,
        sender,
        receiver,
        parameters.kind,
        tunnel.Settings(version=parameters.version, keyingtries=0, child_rekey_time=0, ike_rekey_time=0),
    )
    async with contextlib.AsyncExitStack() as stack:
        if parameters.sender == "strongswan" and await asking_traffic.raises_acquires(stage.bed, sender):
            breakage = breakage.trapped()
            await stack.enter_async_context(asking_traffic.asking(stage.bed, sender, receiver))
        carried = steady_tunnel.carried(stage, parameters.established, breakage)
        await _break_and_mend(stage, parameters, await stack.enter_async_context(carried))


async def _note(stage: Stage, node: str) -> None:
    """Say in the verdict what plays an end."""
    if node in (SENDERS["hopbed"], RECEIVERS["hopbed"]):
        stage.dataplane = (await stage.bed.node(node).endpoint.status()).dataplane
        return
    status = await stage.bed.node(node).peer.status()
    stage.dataplane, stage.versions["strongSwan"] = status.dataplane, status.version


async def _break_and_mend(stage: Stage, parameters: IkeAbnormality, breakage: Breakage) -> None:
    bed = stage.bed
    peer = bed.node(breakage.sender).tunnel_end
    watch = DaemonWatch(bed, (breakage.sender, breakage.receiver))
    await watch.begin()
    retrying = Retrying(peer, breakage.sender, CONNECTION, parameters.retry, bed.events)
    async with background() as tasks:
        tasks.start_soon(watch.run)
        async with breakage.in_force(bed, seed=stage.random.randrange(2**32)):
            figures.say_begin(bed.events)
            tasks.start_soon(retrying.run)
            await anyio.sleep(parameters.duration)  # the schedule of the scenario, not a wait for something
            for node in watch.figures:
                await watch.look(node)
            figures.say_end(bed.events)
            came_up = retrying.succeeded.is_set()
            since = len(bed.events.past)
        figures.check_daemons(stage, watch.figures, parameters)
        if came_up:
            figures.check_never_up(stage)
        elif parameters.repair:
            await _repair(stage, parameters, breakage, since)


async def _repair(stage: Stage, parameters: IkeAbnormality, breakage: Breakage, since: int) -> None:
    """Mend the configuration, and wait until a tunnel carries ESP both ways, or has had time enough.

    Events from ``since`` on count: what was wrong on the wire is mended already.
    """
    bed, ends = stage.bed, (breakage.sender, breakage.receiver)
    await breakage.mend_configuration(bed)
    figures.say_mended(bed.events, breakage)
    if parameters.activate and parameters.is_on:
        for node in ends:
            await bed.node(node).abnormality.activate()
    with anyio.move_on_after(_patience(parameters)):
        for node in ends:
            await bed.events.wait_for("child-sa.installed", node=node, since=since)
        target = bed.node(breakage.receiver).inner_address
        source = bed.node(breakage.sender).inner_address
        ping = ["ping", "-6", "-n", "-c", "3", "-i", "0.05", "-W", "2", "-I", source, target]
        await bed.node(breakage.sender).exec(ping, check=False)


def _patience(parameters: IkeAbnormality) -> float:
    """Seconds that the tunnel has to come up: a try of the sender's that began before has to end first."""
    longest = GIVES_UP[parameters.timers] + parameters.retry + 10.0
    return longest + (parameters.t1 + parameters.t2 if parameters.is_on else 0.0)


def inspect(stage: Stage, parameters: IkeAbnormality) -> None:
    """Let the bridge's capture say what went over the wire."""
    ends = cast(parameters).ends
    if parameters.kind is Kind.THIRD_PARTY_FLOOD:
        ike_flood.inspect(stage, *ends)
    else:
        figures.inspect(stage, parameters, *ends)


SCENARIO = Scenario(
    name="ike-abnormality",
    summary="a negotiation that cannot succeed, and a sender that never stops trying",
    nodes=(*SENDERS.values(), *RECEIVERS.values(), THIRD_PARTY),
    ends=ENDS,
    parameters=IkeAbnormality,
    play=play,
    cast=cast,
    warnings=warnings,
    settings=settings,
    inspect=inspect,
)
